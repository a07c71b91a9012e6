"""Checks of a certificate set's rows: every bound and radius counted again from its votes."""

import math

import numpy as np
import pyarrow as pa

from pipeline.formats.certificate.rows import COUNTED, contradictions, tally_of, wrong_figures
from pipeline.formats.certificate.set import CertificateSet
from pipeline.formats.certificate.warnings import ROW_CODES, row_warnings
from pipeline.formats.perturbation.rows import Tally, add_tally
from pipeline.formats.set_manifest import MANIFEST_FILE
from pipeline.smoothing.record import RuleRecount
from pipeline.verification.faults import Faults


class CertificateClaims:
    """Votes, bounds, radii, abstention, figures and warnings of a certificate set.

    Args:
        opened: what the manifest says.
        columns: of the set's rows.

    Raises:
        KeyError, TypeError, ValueError, UserError: the manifest's certificate lacks something, or
            is wrong.
    """

    def __init__(self, opened: CertificateSet, columns: tuple[str, ...]) -> None:
        self._opened, self.columns = opened, columns
        num_values = math.prod(int(size) for size in opened.manifest["dataset"]["shape"])
        self._recount = RuleRecount(opened.certificate, num_values)

    def of_rows(self, table: pa.Table) -> tuple[dict[str, np.ndarray], Tally]:
        opened = self._opened
        faults = contradictions(
            table, opened.split, opened.certificate, len(opened.classes), self._recount
        )
        return faults, tally_of(table, opened.certificate)

    def of_set(self, tallies: list[Tally], faults: Faults) -> None:
        whole: Tally = {}
        for tally in tallies:
            add_tally(whole, tally)
        try:
            for line in wrong_figures(self._opened.manifest, whole):
                faults.add("a figure that its rows do not give", MANIFEST_FILE, line)
            self._check_warnings(whole, faults)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = f"lacks or spoils a figure: {error!r}"
            faults.add("figures that cannot be used", MANIFEST_FILE, what)

    def _check_warnings(self, whole: Tally, faults: Faults) -> None:
        if not whole.get("rows"):
            return
        counts = {name: int(whole[name]) for name in COUNTED}
        listed = [one for one in self._opened.manifest["warnings"] if one["code"] in ROW_CODES]
        stated = [(one["code"], one["count"], one["of"]) for one in listed]
        for due in row_warnings(counts, self._opened.certificate, len(self._opened.classes)):
            if (one := (due.code, due.count, due.of)) in stated:
                stated.remove(one)
            else:
                what = f"leaves out a warning: {due.text}"
                faults.add("a warning that is left out", MANIFEST_FILE, what)
        for code, *_ in stated:
            what = f"has a warning, {code}, for which its rows give no reason"
            faults.add("a warning without a reason", MANIFEST_FILE, what)
