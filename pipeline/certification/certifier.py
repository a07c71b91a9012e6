"""One shard of a certificate set: read, vote, bound, store, read back, recount. No Ray."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.allocator import keep_freed_memory
from pipeline.certification.opened import open_base
from pipeline.formats.certificate.rows import contradictions, tally_of
from pipeline.formats.certificate.set import CertificateColumns, certificate_table
from pipeline.formats.dataset import images_of, labels_of, load_dataset
from pipeline.formats.labelled_rows import read_labelled
from pipeline.formats.quarantine import write_quarantine
from pipeline.formats.shard import read_part, write_shard
from pipeline.smoothing.bases.entry import BaseOptions
from pipeline.smoothing.certifier import certify_rows
from pipeline.smoothing.noise import row_keys_of
from pipeline.smoothing.record import RuleRecount, record_of
from pipeline.smoothing.settings import CertifySettings


class Certifier:
    """Turns row ranges of a dataset into shards of a certificate set.

    Args:
        settings: of the certificates.
        kind: of the base.
        record: the base's identity.
        dataset: its directory.
        split: of the dataset.
        output: the set's directory.
        device: a torch device.
        quarantine: whether rows without a label among the classes are set aside; else the first
            one ends the work.
        options: of the base, see `BaseOptions`.

    Raises:
        UserError: the base is another one here.
    """

    def __init__(
        self,
        *,
        settings: CertifySettings,
        kind: str,
        record: Mapping[str, Any],
        dataset: Path,
        split: str,
        output: Path,
        device: str = "cpu",
        quarantine: bool = False,
        **options: Any,
    ) -> None:
        keep_freed_memory()
        self._settings, self._split, self._output = settings, split, output
        self._quarantine = quarantine
        self._info = load_dataset(dataset)
        opened = BaseOptions(self._info, **options)
        self._base = open_base(kind, opened, settings.sigma, device, record=record)
        num_values = int(np.prod(self._info.shape))
        self._certificate = record_of(settings, num_values)
        self._recount = RuleRecount(self._certificate, num_values)

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Make one shard.

        Args:
            shard: with ``file`` and ``start``, ``stop``, a range of row numbers.

        Returns:
            The shard's record: file, rows, hash, size (without good rows no file, and none of
            these), counts over its rows, seconds; how many rows were set aside, and their file.

        Raises:
            UserError: a label is not one of the classes, and rows are not set aside; the base gives
                no answers.
            RuntimeError: a row read back from the stored shard is not what it claims to be.
        """
        start, stop, file = int(shard["start"]), int(shard["stop"]), str(shard["file"])
        found = read_labelled(
            self._info,
            self._split,
            start,
            stop,
            num_classes=len(self._base.classes),
            need="certified accuracy needs",
            quarantine=self._quarantine,
        )
        made = self._made(found.table, found.rows, file)
        return {
            "start": start,
            "stop": stop,
            **made,
            "num_quarantined": len(found.bad),
            "quarantine": write_quarantine(found.bad, self._output, file),
        }

    def _made(self, clean: pa.Table, rows: np.ndarray, file: str) -> dict[str, Any]:
        """Certify rows of the dataset, store them, and recount what was stored."""
        images = images_of(clean)
        ids = [str(value) for value in clean.column("id").to_pylist()]
        found = certify_rows(self._base, images, row_keys_of(ids), self._settings)
        columns = CertificateColumns(
            ids,
            self._split,
            rows,
            labels_of(clean),
            images,
            found.predicted,
            found.n0_counts,
            found.n,
            found.n_a,
            found.p_lower,
            found.radius,
            found.abstained,
        )
        table = certificate_table(columns, self._certificate)
        tally = tally_of(table, self._certificate)
        if not len(rows):
            return {"num_rows": 0, "files": [], **tally}
        written = write_shard(table, self._output, file)
        self._check(file, len(rows))
        return {**asdict(written), **tally}

    def _check(self, file: str, num: int) -> None:
        """Recounts a shard that was read back; RuntimeError where it is not what it claims."""
        faults = contradictions(
            read_part(self._output / file, 0, num),
            self._split,
            self._certificate,
            len(self._base.classes),
            self._recount,
        )
        wrong = [kind for kind, mask in faults.items() if mask.any()]
        if wrong:
            raise RuntimeError(f"{self._output / file}, read back: {wrong[0]}")
