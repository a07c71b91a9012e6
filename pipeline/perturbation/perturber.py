"""One shard of a perturbation set: read, attack, round, store, read back, verify. No Ray.

A shard is known by its file's name, and its rows by their numbers: no column names the shard, so
that the same rows have the same bytes however they are cut.
"""

import platform
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipeline.allocator import keep_freed_memory
from pipeline.formats.dataset import images_of, labels_of
from pipeline.formats.labelled_rows import read_labelled
from pipeline.formats.perturbation.check import RowCheck, check_rows
from pipeline.formats.perturbation.distances import linf_levels, squared_l2_levels
from pipeline.formats.perturbation.set import perturbation_table
from pipeline.formats.perturbation.target import targets_of
from pipeline.formats.perturbation.trivial_pictures import count_trivial
from pipeline.formats.perturbation.warnings import doubtful_rows
from pipeline.formats.quarantine import write_quarantine
from pipeline.formats.shard import read_part, write_shard
from pipeline.perturbation.attack import CleanRows, PerturbedRows, SetAttack
from pipeline.perturbation.columns import judged_columns
from pipeline.perturbation.judge import judge_of
from pipeline.perturbation.workplace import Workplace
from pipeline.pictures import LEVELS
from pipeline.precision import full_float32

# What a shard's record counts over its rows.
COUNTED = (
    "verified", "clean_right", "successes", "within_threshold", "unmoved", "gradient_free",
    "last_restart", "trivial", "lost", "forwards", "backwards", "alarming", "audited",
    "overturned",
)  # fmt: skip


class Perturber:
    """Turns row ranges of a dataset into shards of a perturbation set.

    Args:
        attack: what the set is made with.
        split: of the dataset.
        quarantine: whether rows without a label among the classes are set aside; else the first
            one ends the work.
        place: see `Workplace.opened`.

    Raises:
        UserError: the classifier is another one here, or the attack's file is not the one that was
            made.
    """

    def __init__(
        self, *, attack: SetAttack, split: str, quarantine: bool = False, **place: Any
    ) -> None:
        keep_freed_memory()
        self._attack, self._split, self._quarantine = attack, split, quarantine
        self._place = Workplace.opened(**place)
        self._record = {**attack.record(), "threshold": self._place.threshold}
        self._judge = judge_of(self._place.classifier, self._record)
        self._perturb = attack.on(self._place)

    @full_float32()
    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Make one shard.

        Args:
            shard: with ``file`` and ``start``, ``stop``, a range of row numbers.

        Returns:
            The shard's record: file, rows, hash, size (without good rows no file, and none of
            these), and counts over its rows; how many rows were set aside, and their file.

        Raises:
            UserError: a label is not one of the classes, and rows are not set aside.
            RuntimeError: a row read back from the stored shard is not what it claims to be.
        """
        start, stop, file = int(shard["start"]), int(shard["stop"]), str(shard["file"])
        found = read_labelled(
            self._place.info,
            self._split,
            start,
            stop,
            num_classes=len(self._place.classifier.classes),
            need="an attack needs",
            quarantine=self._quarantine,
        )
        record = self._made(found.table, found.rows, file, first=start == 0)
        return {
            "start": start,
            "stop": stop,
            **record,
            "num_quarantined": len(found.bad),
            "quarantine": write_quarantine(found.bad, self._place.output, file),
        }

    def _made(self, clean: pa.Table, rows: np.ndarray, file: str, *, first: bool) -> dict[str, Any]:
        """Perturb rows of the dataset, store them, and verify what was stored.

        Args:
            first: whether it is the split's first shard.
        """
        if not len(rows):
            sizes = {"linf_max": 0, "l2_max": 0.0, "l2_sum": 0.0}
            return {"num_rows": 0, "files": [], **dict.fromkeys(COUNTED, 0), **sizes}
        images, labels = images_of(clean), labels_of(clean)
        settings = self._attack.settings
        logits = self._judge.logits_of(images)
        targets = targets_of(settings.target, logits, labels, rows, settings.seed)
        clean_rows = CleanRows(images, labels, rows, targets, logits, first)
        perturbed = self._perturb(clean_rows)
        columns = judged_columns(
            self._judge,
            clean_rows,
            perturbed,
            ids=[str(value) for value in clean.column("id").to_pylist()],
            split=self._split,
            draws=settings.draws,
        )
        table = perturbation_table(columns, self._record)
        written = write_shard(table, self._place.output, file)
        check = self._checked(clean, file, logits, perturbed)
        return {
            **asdict(written),
            "verified": check.num_verified,
            "alarming": perturbed.alarming,
            "audited": perturbed.audited,
            "overturned": perturbed.overturned,
            "clean_right": check.num_clean_right,
            "successes": check.num_successes,
            **doubtful_rows(table, self._record),
            "trivial": count_trivial(table, self._record),
            "lost": perturbed.lost,
            **({"repeat": asdict(perturbed.repeat)} if perturbed.repeat else {}),
            "device": device_name(self._place.classifier.device),
            "forwards": int(columns.forwards.sum()),
            "backwards": int(columns.backwards.sum()),
            **_sizes(images, perturbed.images),
        }

    def _checked(
        self, clean: pa.Table, file: str, clean_logits: np.ndarray, perturbed: PerturbedRows
    ) -> RowCheck:
        """What a shard is found to hold, read back; RuntimeError where it is not what it claims."""
        path, num = self._place.output / file, clean.num_rows
        check = check_rows(
            read_part(path, 0, num),
            clean,
            self._split,
            self._record,
            self._judge,
            clean_logits=clean_logits,
            delta=perturbed.delta,
        )
        if check.faults or check.num_rows != num:
            raise RuntimeError(
                f"{path}: read back, {check.num_rows - check.num_verified} rows are "
                f"not what they claim to be; first {check.faults[:1]}"
            )
        return check


def _sizes(images: np.ndarray, stored: np.ndarray) -> dict[str, float]:
    """How far pictures were changed: linf_max in levels, l2_max and l2_sum in [0, 1] units."""
    squared = squared_l2_levels(images, stored)
    return {
        "linf_max": int(linf_levels(images, stored).max()),
        "l2_max": float(np.sqrt(squared.max()) / LEVELS),
        "l2_sum": float(np.sqrt(squared.astype(np.float64)).sum() / LEVELS),
    }


def device_name(device: torch.device) -> str:
    """What computed: a GPU's name, or the CPU's instruction set, which decides the last bits."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
