"""Checks of a set's rows beyond their ids, labels and numbers."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.perturbation.rows import (
    Tally,
    add_tally,
    check_attack_record,
    contradictions,
    tally_of,
    wrong_figures,
)
from pipeline.formats.perturbation.set import PerturbationSet
from pipeline.formats.perturbation.universal import DELTA_FILE, read_delta
from pipeline.formats.perturbation.warnings import NOT_REPEATABLE, ROW_CODES, row_warnings
from pipeline.formats.set_manifest import MANIFEST_FILE
from pipeline.perturbation_terms import UNIVERSAL
from pipeline.sampling.labels import plan_of
from pipeline.verification.faults import Faults


class Claims(Protocol):
    """Checks that are specific to one kind of set."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the checks need."""

    def of_rows(self, table: pa.Table) -> tuple[dict[str, np.ndarray], Tally]:
        """Checks N rows that have no missing value.

        Returns:
            The rows with a fault, bool ``[N]``, for each kind of fault; and this part's share of
            the figures that are added up over all rows.
        """

    def of_set(self, tallies: list[Tally], faults: Faults) -> None:
        """Notes where the manifest contradicts the sums over all rows."""


class PerturbationClaims:
    """Ball, distances, hashes, success, figures and warnings of a perturbation set.

    Args:
        opened: what the manifest says.
        columns: of the set's rows.
        faults: gets a fault if the perturbation of a universal set cannot be read.

    Raises:
        KeyError, TypeError, ValueError: the manifest's attack lacks something or is wrong.
    """

    def __init__(self, opened: PerturbationSet, columns: tuple[str, ...], faults: Faults) -> None:
        self._opened, self.columns = opened, columns
        check_attack_record(opened.attack)
        self._num_classes = len(opened.manifest["model"]["classes"])
        self._delta = None
        if opened.attack.get("attack") == UNIVERSAL:
            try:
                shape = tuple(int(size) for size in opened.manifest["dataset"]["shape"])
                self._delta = read_delta(opened.path, opened.attack, shape)
            except UserError as error:
                faults.add("a perturbation that cannot be used", DELTA_FILE, str(error))

    def of_rows(self, table: pa.Table) -> tuple[dict[str, np.ndarray], Tally]:
        attack = self._opened.attack
        faults = contradictions(
            table, self._opened.split, attack, self._num_classes, delta=self._delta
        )
        return faults, tally_of(table, attack)

    def of_set(self, tallies: list[Tally], faults: Faults) -> None:
        manifest, whole = self._opened.manifest, Tally()
        for tally in tallies:
            add_tally(whole, tally)
        for line in wrong_figures(manifest, whole):
            faults.add("a figure that its rows do not give", MANIFEST_FILE, line)
        self._check_warnings(manifest, whole, faults)

    def _check_warnings(
        self, manifest: Mapping[str, Any], whole: Mapping[str, float], faults: Faults
    ) -> None:
        counts = {name: value for name, value in whole.items() if isinstance(value, int)}
        due = row_warnings(counts, self._opened.attack, self._num_classes) if whole else []
        entries = manifest.get("warnings", [])
        listed = (
            [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
        )
        stated = {
            str(one.get("code")): one.get("count") for one in listed if one.get("code") in ROW_CODES
        }
        for warning in due:
            if stated.pop(warning.code, None) != warning.count:
                what = f"leaves out a warning: {warning.text}"
                faults.add("a warning that is left out", MANIFEST_FILE, what)
        codes = {str(one.get("code")) for one in listed}
        reproducible = manifest.get("reproducible")
        if (NOT_REPEATABLE in codes) != (reproducible is False):
            there = "a" if NOT_REPEATABLE in codes else "no"
            what = f"says reproducible: {reproducible}, and has {there} warning {NOT_REPEATABLE}"
            faults.add("a warning that is left out", MANIFEST_FILE, what)
        for code in stated:
            what = f"has a warning, {code}, for which its rows give no reason"
            faults.add("a warning without a reason", MANIFEST_FILE, what)


class SampleClaims:
    """The labels of a sample set, where the manifest states a rule for them."""

    columns = ("sample_index", "label")

    def __init__(self, origin: Mapping[str, Any]) -> None:
        self._plan = plan_of(origin.get("labels"))

    def of_rows(self, table: pa.Table) -> tuple[dict[str, np.ndarray], Tally]:
        index, label = (table.column(name).to_numpy() for name in self.columns)
        if self._plan is None or not len(index):
            return {}, {}
        # A number out of range is noted by `Numbering`; the plan has no label for it.
        first = int(index.min())
        if first < 0 or int(index.max()) - first >= 2 * len(index):
            return {}, {}
        due = self._plan.rows(first, int(index.max()) + 1).labels
        place = index - first
        in_range = place < len(due)
        same = (
            due[np.where(in_range, place, 0)] == label if len(due) else np.zeros(len(index), bool)
        )
        return {"label is not what the manifest's rule gives it": ~(in_range & same)}, {}

    def of_set(self, tallies: list[Tally], faults: Faults) -> None:
        """Nothing is counted."""
