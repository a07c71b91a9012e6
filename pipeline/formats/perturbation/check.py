"""Checks all claims of a perturbation set against the dataset and the classifier.

Each row's pictures, labels, distances, predictions and success flag are computed again.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, images_of, labels_of, read_rows
from pipeline.formats.output import sha256_of_file
from pipeline.formats.perturbation.rows import contradictions
from pipeline.formats.perturbation.set import PerturbationSet, open_perturbation_set, schema
from pipeline.formats.perturbation.target import UNTARGETED, are_targets
from pipeline.formats.perturbation.universal import read_delta
from pipeline.formats.perturbation.verdict import (
    THRESHOLD_TOLERANCE,
    margins_of,
    stated_threshold,
    successes,
    threshold_of,
)
from pipeline.formats.rows_at import rows_at
from pipeline.formats.shard import read_part
from pipeline.perturbation_terms import NO_TARGET, UNIVERSAL

# Another machine, or a GPU, may compute other last bits of a logit. A recorded prediction counts as
# a near tie, not as a fault, if its logit is less than this share of the set's threshold below the
# highest: 36 times the difference that was measured between runtimes (see `verdict`).
TIE = 0.5


class Judge(Protocol):
    """A classifier as the check sees it."""

    @property
    def sha256(self) -> str:
        """Its identity."""

    def logits_of(self, images: np.ndarray) -> np.ndarray:
        """uint8 ``[N, H, W, C]`` to logits ``[N, K]``."""


@dataclass(frozen=True)
class RowCheck:
    """The result of checking some rows.

    Attributes:
        num_rows: rows that were checked.
        num_clean_right: rows classified rightly before the attack, by a new forward pass.
        num_successes: rows whose right answer became wrong, by a new forward pass.
        num_near_ties: rows with a recorded prediction that is within `tie` of the highest logit.
        faults: (kind of fault, row number) pairs; empty if every claim holds.
    """

    num_rows: int
    num_clean_right: int
    num_successes: int
    num_near_ties: int
    faults: tuple[tuple[str, int], ...]

    @property
    def num_verified(self) -> int:
        """Rows without any fault."""
        return self.num_rows - len({row for _, row in self.faults})


@dataclass(frozen=True)
class VerificationReport:
    """The result of checking a whole set.

    Attributes:
        num_rows: rows in the set's shards.
        num_verified: rows without a fault.
        num_near_ties: as in `RowCheck`.
        clean_accuracy, robust_accuracy: computed again, 0 to 1.
        faults: one line for each kind of fault; empty if all claims hold.
    """

    num_rows: int
    num_verified: int
    num_near_ties: int
    clean_accuracy: float
    robust_accuracy: float
    faults: tuple[str, ...]


def check_rows(
    table: pa.Table,
    clean: pa.Table,
    split: str,
    attack: dict[str, Any],
    judge: Judge,
    *,
    tie: float = 0.0,
    delta: np.ndarray | None = None,
    clean_logits: np.ndarray | None = None,
    alone: bool = True,
) -> RowCheck:
    """Check a shard's rows.

    Args:
        table: rows in the perturbation set's schema.
        clean: the dataset's rows of the same ids, in the same order.
        split, attack: from the manifest.
        judge: the classifier.
        tie: how far the logit of a recorded prediction may be below the highest; 0 for not at all.
        delta: int16 ``[H, W, C]``, of a set with one perturbation for all pictures.
        clean_logits: the judge's logits for the dataset's rows, if already computed.
        alone: whether to check what rows claim by themselves, too; see `rows`.
    """
    names = ("label", "clean_prediction", "adversarial_prediction", "target", "margin", "row", "id")
    columns = {name: table.column(name).to_numpy() for name in names}
    threshold = stated_threshold(attack)
    images, stored = images_of(table), images_of(table, "adversarial")
    labels = columns["label"]
    if clean_logits is None:
        clean_logits = judge.logits_of(images)
    stored_logits = judge.logits_of(stored)
    clean_recorded = columns["clean_prediction"]
    stored_recorded = columns["adversarial_prediction"]
    clean_holds = _holds(clean_logits, clean_recorded, tie)
    stored_holds = _holds(stored_logits, stored_recorded, tie)
    fresh = clean_logits.argmax(axis=1), stored_logits.argmax(axis=1)
    recorded_targets = columns["target"]
    # A number that is no class is noted as a fault below, and must not end the check.
    targets = np.where(recorded_targets < clean_logits.shape[1], recorded_targets, UNTARGETED)
    known_labels = np.clip(labels, 0, clean_logits.shape[1] - 1)  # noted below, too
    fresh_margins = margins_of(stored_logits, known_labels, targets)
    wrong = {
        **(
            contradictions(table, split, attack, clean_logits.shape[1], delta=delta)
            if alone
            else {}
        ),
        "id is not the dataset's": columns["id"] != clean.column("id").to_numpy(),
        "label is not the dataset's": labels != labels_of(clean),
        "target is not the set's": ~are_targets(
            recorded_targets,
            str(attack.get("target", NO_TARGET)),
            clean_logits,
            labels,
            columns["row"],
            int(attack["seed"]),
            tie=max(tie, TIE * threshold),
        ),
        "image is not the dataset's": (images != images_of(clean)).any(axis=(1, 2, 3)),
        "clean_prediction is not the classifier's": ~clean_holds,
        "adversarial_prediction is not the classifier's": ~stored_holds,
        "margin is not the classifier's": ~(np.abs(columns["margin"] - fresh_margins) <= tie),
    }
    ties = clean_holds & stored_holds
    ties &= (
        (fresh[0] != clean_recorded)
        | (fresh[1] != stored_recorded)
        | ((columns["margin"] > threshold) != (fresh_margins > threshold))
    )
    faults = [
        (kind, int(row)) for kind, mask in wrong.items() for row in columns["row"][mask].tolist()
    ]
    return RowCheck(
        table.num_rows,
        int((fresh[0] == labels).sum()),
        int(successes(labels, fresh[0], fresh_margins, targets, threshold).sum()),
        int(ties.sum()),
        tuple(faults),
    )


def verify_perturbation_set(
    path: Path | str, judge: Judge, info: DatasetInfo, *, alone: bool = True
) -> VerificationReport:
    """Check all of a perturbation set; one shard is in memory at a time.

    Args:
        judge: the classifier that the perturbations were made against.
        info: the dataset that was perturbed.
        alone: whether to check what needs neither of them, too; `verification.directory` does that.

    Raises:
        UserError: the set cannot be read at all. All else that is wrong is in the report.
    """
    opened = open_perturbation_set(path)
    faults: Counter[str] = Counter()
    first: dict[str, str] = {}

    def note(kind: str, where: str) -> None:
        faults[kind] += 1
        first.setdefault(kind, where)

    if judge.sha256 != opened.model_sha256:
        note("the classifier is not the one that the set names", judge.sha256[:12])
    if info.sha256 != opened.dataset_sha256:
        note("the dataset is not the one that the set names", str(info.path))
    delta = None
    if alone and opened.attack.get("attack") == UNIVERSAL:
        delta = read_delta(opened.path, opened.attack, info.shape)
    if line := _threshold_differs(opened, judge, info):
        note("the threshold is not the classifier's", line)
    seen = np.zeros(max(0, opened.stop - opened.start), dtype=np.int64)
    checks = []
    for shard in opened.shards:
        file = opened.path / shard.file
        if alone and sha256_of_file(file) != shard.sha256:
            note("a shard's hash is not the manifest's", shard.file)
        table = read_part(file, 0, shard.num_rows)
        if not table.schema.equals(schema(info.shape)):
            raise UserError(f"{file} has not the columns of a perturbation set; make it anew")
        row = table.column("row").to_numpy()
        in_range = (row >= opened.start) & (row < min(opened.stop, info.num_rows(opened.split)))
        for stray in row[~in_range].tolist():
            note("a row is not one of those that the set covers", f"row {stray}")
        np.add.at(seen, row[in_range] - opened.start, 1)
        if in_range.any():
            check = check_rows(
                table.filter(pa.array(in_range)),
                rows_at(info, opened.split, row[in_range]),
                opened.split,
                opened.attack,
                judge,
                tie=TIE * stated_threshold(opened.attack),
                delta=delta,
                alone=alone,
            )
            checks.append(check)
            for kind, number in check.faults:
                note(kind, f"row {number}")
    for shard in opened.quarantine:
        row = read_part(opened.path / shard.file, 0, shard.num_rows, ["row"])["row"].to_numpy()
        in_range = (row >= opened.start) & (row < opened.stop)
        np.add.at(seen, row[in_range] - opened.start, 1)
    for missing in np.flatnonzero(seen == 0).tolist() if alone else ():
        note("a row is missing", f"row {opened.start + missing}")
    for repeated in np.flatnonzero(seen > 1).tolist() if alone else ():
        note("a row is there more than once", f"row {opened.start + repeated}")
    num_rows = sum(check.num_rows for check in checks)
    clean_right = sum(check.num_clean_right for check in checks)
    won = sum(check.num_successes for check in checks)
    near_ties = sum(check.num_near_ties for check in checks)
    counts = opened.manifest.get("counts", {})
    for name, value in (("rows", num_rows), ("clean_right", clean_right), ("successes", won)):
        if abs(int(counts.get(name, -1)) - value) > (near_ties if name != "rows" else 0):
            note(f"the manifest's count of {name} is wrong", f"{counts.get(name)} is {value}")
    return VerificationReport(
        sum(shard.num_rows for shard in opened.shards),
        sum(check.num_verified for check in checks),
        near_ties,
        clean_right / max(1, num_rows),
        (clean_right - won) / max(1, num_rows),
        tuple(f"{kind}: {number} times, first {first[kind]}" for kind, number in faults.items()),
    )


def _threshold_differs(opened: PerturbationSet, judge: Judge, info: DatasetInfo) -> str:
    """How a set's threshold differs from the one that the classifier's logits give, in words.

    Empty where they agree, or where the set states none.
    """
    rows = int(opened.attack.get("threshold_rows", 0))
    if "threshold" not in opened.attack or not rows:
        return ""
    rows = min(rows, info.num_rows(opened.split))
    stated = stated_threshold(opened.attack)
    try:
        logits = judge.logits_of(images_of(read_rows(info, opened.split, 0, rows)))
        threshold = threshold_of(logits)
    except UserError as error:
        return str(error)
    same = abs(stated - threshold) <= THRESHOLD_TOLERANCE * threshold
    return "" if same else f"{stated:.6g} is {threshold:.6g}"


def _holds(logits: np.ndarray, recorded: np.ndarray, tie: float) -> np.ndarray:
    """Whether each recorded prediction has the highest logit, or one within ``tie`` of it."""
    in_range = (recorded >= 0) & (recorded < logits.shape[1])
    own = logits[np.arange(len(logits)), np.where(in_range, recorded, 0)]
    exact = logits.argmax(axis=1) == recorded
    return np.asarray(in_range & (exact | (logits.max(axis=1) - own < tie)))
