"""One shard of a perturbation set: read, attack, round, store, read back, verify. No Ray.

A shard is known by its file's name, and its rows by their numbers: no column names the shard, so
that the same rows have the same bytes however they are cut.
"""

import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.allocator import keep_freed_memory
from pipeline.attacks.base import Model
from pipeline.attacks.engine.ensemble import AttackedInTurn, attack_in_turn
from pipeline.attacks.engine.eot import Expectation
from pipeline.attacks.engine.loop import Attacked, attack_rows
from pipeline.attacks.engine.rescaled import Rescaled
from pipeline.attacks.engine.towards import attack_towards
from pipeline.attacks.methods.own import AttackedByOther, OwnAttack, attack_with
from pipeline.attacks.methods.universal import Found, UniversalAttack, found
from pipeline.attacks.settings import AttackSettings
from pipeline.classifier import FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, images_of, labels_of, load_dataset, read_rows
from pipeline.formats.perturbation.check import Judge, check_rows
from pipeline.formats.perturbation.set import (
    PerturbationColumns,
    linf_levels,
    perturbation_table,
    squared_l2_levels,
)
from pipeline.formats.perturbation.target import targets_of
from pipeline.formats.perturbation.trivial_pictures import count_trivial
from pipeline.formats.perturbation.universal import read_delta, with_delta
from pipeline.formats.perturbation.verdict import margins_of, stated_threshold
from pipeline.formats.perturbation.warnings import doubtful_rows
from pipeline.formats.quarantine import BadRow, write_quarantine
from pipeline.formats.shard import read_part, write_shard
from pipeline.perturbation.transfer import TransferAttack
from pipeline.perturbation_terms import MARGIN, NO_TARGET
from pipeline.pictures import LEVELS, from_unit, to_unit
from pipeline.precision import full_float32
from pipeline.user_models.load import load_same_classifier

Settings = AttackSettings | OwnAttack | UniversalAttack | TransferAttack

_NOTHING = {  # what the record of a shard counts whose rows are all bad
    "verified": 0, "clean_right": 0, "successes": 0, "unmoved": 0, "gradient_free": 0,
    "last_restart": 0, "within_threshold": 0, "trivial": 0, "lost": 0, "forwards": 0,
    "backwards": 0, "alarming": 0, "audited": 0, "overturned": 0,
    "linf_max": 0, "l2_max": 0.0, "l2_sum": 0.0,
}  # fmt: skip


@full_float32()
def perturb_rows(
    classifier: FrozenClassifier,
    settings: AttackSettings | OwnAttack,
    images: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    *,
    targets: np.ndarray | None = None,
    widened: bool = False,
    logits: np.ndarray | None = None,
    repeat_first: bool = False,
    threshold: float = MARGIN,
) -> tuple[np.ndarray, Attacked, list[str]]:
    """Attack uint8 ``[N, H, W, C]`` pictures, in padded calls of the classifier's fixed size.

    Args:
        labels: int64 ``[N]``, the true ones.
        rows: int64 ``[N]``, row numbers in the dataset's split; they key the randomness.
        targets: int64 ``[N]``, the classes to be answered; see `attack_towards`.
        widened: whether the alarm of an ensemble's audit takes all rows that stand, and not a
            sample.
        logits: the classifier's for the pictures, ``[N, K]``, where they are known; their passes
            count all the same.
        repeat_first: of a user's attack; see `attack_with`.
        threshold: by how much another class must lead, in logits.

    Returns:
        The pictures to store, uint8 ``[N, H, W, C]``, inside the ball and the box; how they were
        found; and by which attack, N names.
    """
    device = classifier.device
    x = to_unit(images).to(device)
    y, row = (torch.from_numpy(values.copy()).to(device) for values in (labels, rows))
    if isinstance(settings, OwnAttack):
        by_other = attack_with(
            settings,
            classifier,
            x,
            y,
            row,
            rows_per_call=classifier.rows_per_call,
            repeat_first=repeat_first,
            threshold=threshold,
        )
        return from_unit(by_other.adversarial), by_other, [settings.attack] * len(images)
    how: dict[str, Any] = {"seed": settings.seed, "rows_per_call": classifier.rows_per_call}
    model: Model = classifier
    if settings.draws > 1:
        model = Expectation(classifier, settings.draws, settings.seed)
        # A row is a call of its own, of as many copies as it has draws.
        how |= {"rows_per_call": 1, "capacity": classifier.rows_per_call}
    seen = Rescaled(model, threshold)
    ensemble = settings.build()
    if widened:
        ensemble = ensemble.widened()

    def run(
        model: Model,
        x: Tensor,
        y: Tensor,
        row: Tensor,
        logits: Tensor | None,
        targets: Tensor | None = None,
    ) -> Attacked:
        given: dict[str, Any] = {"logits": logits, "targets": targets, **how}
        if len(ensemble.names) > 1:
            return attack_in_turn(ensemble, model, x, y, row, **given)
        found = attack_rows(ensemble.attacks[0][1], model, x, y, row, **given)
        return found if logits is None else replace(found, forwards=found.forwards + 1)

    known = None if logits is None else seen.rescale(torch.from_numpy(logits).to(device))
    if targets is None:
        attacked = run(seen, x, y, row, known)
    else:
        aims = torch.from_numpy(targets).to(device)
        attacked = attack_towards(run, seen, x, y, row, aims, how["rows_per_call"], known)
    by = attacked.attack.tolist() if isinstance(attacked, AttackedInTurn) else [0] * len(images)
    return from_unit(attacked.adversarial), attacked, [ensemble.names[number] for number in by]


class Perturber:
    """Holds a classifier and turns row ranges of a dataset into shards of a perturbation set.

    Args:
        dataset: its directory.
        classifier, weights, rows_per_call: see `pipeline.user_models.load.load_classifier`.
        split: of the dataset.
        output: the perturbation set's directory.
        settings: the attack.
        widened: see `perturb_rows`.
        quarantine: whether rows without a label among the classes are set aside; else the first
            one ends the work.
        device: a torch device.
        classifier_sha256: the identity that the classifier must have; None for any.
        threshold: by how much another class must lead, in logits; see
            `formats.perturbation.verdict`.

    Raises:
        UserError: the classifier is another one here, or the perturbation of a universal attack is
            not the one that was made.
    """

    def __init__(
        self,
        *,
        dataset: Path,
        classifier: str,
        split: str,
        output: Path,
        settings: Settings,
        widened: bool = False,
        quarantine: bool = False,
        device: str = "cpu",
        weights: Path | None = None,
        rows_per_call: int | None = None,
        classifier_sha256: str | None = None,
        threshold: float = MARGIN,
    ) -> None:
        keep_freed_memory()
        self._info: DatasetInfo = load_dataset(dataset)
        self._classifier = load_same_classifier(
            str(classifier),
            self._info,
            classifier_sha256,
            weights=weights,
            rows_per_call=rows_per_call,
            device=device,
        )
        self._attack_told = {**attack_record(settings), "threshold": threshold}
        self._judge = judge_of(self._classifier, self._attack_told)
        self._split = split
        self._output = output
        self._settings, self._widened = settings, widened
        self._delta: np.ndarray | None = None
        if isinstance(settings, UniversalAttack):
            self._delta = read_delta(output, self._attack_told, self._info.shape)
        self._quarantine = quarantine

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
        table = read_rows(self._info, self._split, start, stop)
        bad = self._bad_rows(table, start)
        if bad and not self._quarantine:
            raise UserError(bad[0].message)
        rows = np.setdiff1d(np.arange(start, stop, dtype=np.int64), [row.row for row in bad])
        record = self._attack(table.take(pa.array(rows - start)), rows, file, first=start == 0)
        return {
            "start": start,
            "stop": stop,
            **record,
            "num_quarantined": len(bad),
            "quarantine": write_quarantine(bad, self._output, file),
        }

    def _attack(
        self, clean: pa.Table, rows: np.ndarray, file: str, *, first: bool
    ) -> dict[str, Any]:
        """Attack rows of the dataset, store them, and verify what was stored.

        Args:
            first: whether it is the split's first shard, of which a user's attack is tried twice.
        """
        if not len(rows):
            return {"num_rows": 0, "files": [], **_NOTHING}
        images, labels = images_of(clean), labels_of(clean)
        settings = self._settings
        clean_logits = self._judge.logits_of(images)
        targets = targets_of(settings.target, clean_logits, labels, rows, settings.seed)
        stored, attacked, found_by = self._perturbed(
            images, labels, rows, targets, clean_logits, first
        )
        logits = self._judge.logits_of(stored)
        columns = PerturbationColumns(
            ids=[str(value) for value in clean.column("id").to_pylist()],
            split=self._split,
            rows=rows,
            labels=labels,
            images=images,
            adversarial=stored,
            clean_predictions=clean_logits.argmax(axis=1),
            adversarial_predictions=logits.argmax(axis=1),
            margins=margins_of(logits, labels, targets),
            found_attacks=found_by,
            found_restarts=attacked.restart.cpu().numpy(),
            found_steps=attacked.step.cpu().numpy(),
            forwards=attacked.forwards.cpu().numpy() * settings.draws,
            backwards=attacked.backwards.cpu().numpy() * settings.draws,
            targets=targets,
        )
        attack = self._attack_told
        table = perturbation_table(columns, attack)
        written = write_shard(table, self._output, file)
        check = check_rows(
            read_part(self._output / file, 0, written.num_rows),
            clean,
            self._split,
            attack,
            self._judge,
            clean_logits=clean_logits,
            delta=self._delta,
        )
        if check.faults or check.num_rows != len(rows):
            raise RuntimeError(
                f"{self._output / file}: read back, {check.num_rows - check.num_verified} rows are "
                f"not what they claim to be; first {check.faults[:1]}"
            )
        squared = squared_l2_levels(images, stored)
        lost, repeat = 0, None
        if isinstance(attacked, AttackedByOther):
            lost, repeat = int(attacked.lost.sum()), attacked.repeat
        return {
            **asdict(written),
            "verified": check.num_verified,
            **_audit_counts(attacked),
            "clean_right": check.num_clean_right,
            "successes": check.num_successes,
            **doubtful_rows(table, attack),
            "trivial": count_trivial(table, attack),
            "lost": lost,
            **({"repeat": asdict(repeat)} if repeat else {}),
            "device": device_name(self._classifier.device),
            "forwards": int(attacked.forwards.sum()) * settings.draws,
            "backwards": int(attacked.backwards.sum()) * settings.draws,
            "linf_max": int(linf_levels(images, stored).max()),
            "l2_max": float(np.sqrt(squared.max()) / LEVELS),
            "l2_sum": float(np.sqrt(squared.astype(np.float64)).sum() / LEVELS),
        }

    def _perturbed(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        rows: np.ndarray,
        targets: np.ndarray,
        clean_logits: np.ndarray,
        first: bool,
    ) -> tuple[np.ndarray, Attacked | Found, list[str]]:
        """See `perturb_rows`."""
        settings = self._settings
        if isinstance(settings, UniversalAttack):
            assert self._delta is not None
            moved = with_delta(images, self._delta)
            return moved, found(len(rows)), [settings.attack] * len(rows)
        if isinstance(settings, TransferAttack):
            moved = settings.pictures(rows, images)
            return moved, found(len(rows)), [settings.attack] * len(rows)
        return perturb_rows(
            self._classifier,
            settings,
            images,
            labels,
            rows,
            targets=None if settings.target == NO_TARGET else targets,
            widened=self._widened,
            # With several draws the judge's chances are others than the attack's.
            logits=clean_logits if settings.draws == 1 else None,
            repeat_first=first,
            threshold=stated_threshold(self._attack_told),
        )

    def _bad_rows(self, table: pa.Table, start: int) -> list[BadRow]:
        """The rows without a label among the classes; row 0 of the table is row `start`."""
        labels, highest = labels_of(table), len(self._classifier.classes) - 1
        bad = []
        for index in np.flatnonzero((labels < 0) | (labels > highest)).tolist():
            origin = f"row {start + index} of {self._info.path}, split {self._split}"
            reason = (
                f"{origin}, has label {labels[index]}; an attack needs labels from 0 to {highest}"
            )
            name = str(table.column("id")[index].as_py())
            bad.append(BadRow(name, start + index, origin, reason))
        return bad


def attack_record(settings: Settings) -> dict[str, Any]:
    """The settings as the set's columns and manifest hold them: eps in levels of 1/255."""
    told = {
        "attack": settings.attack,
        "norm": settings.norm.value,
        "eps": settings.eps_levels,
        "seed": settings.seed,
        "target": settings.target,
        "draws": settings.draws,
    }
    if isinstance(settings, OwnAttack):
        once = {"steps": 1, "step_size": None, "restarts": 1}
        return {**told, **once, "source_sha256": settings.source_sha256}
    if isinstance(settings, UniversalAttack | TransferAttack):
        return {**told, **settings.record()}
    return {
        **told,
        "steps": settings.steps,
        "step_size": settings.step_size,
        "restarts": settings.restarts,
        "ensemble": settings.ensemble,
    }


class MeanJudge:
    """A classifier that answers by chance, by its mean logits over draws that no attack met."""

    def __init__(self, classifier: FrozenClassifier, draws: int, seed: int) -> None:
        self._classifier = classifier
        self._mean = Expectation(classifier, draws, seed, use="judgement")

    @property
    def sha256(self) -> str:
        """The classifier's."""
        return self._classifier.sha256

    def logits_of(self, images: np.ndarray) -> np.ndarray:
        """uint8 ``[N, H, W, C]`` to float32 mean logits ``[N, K]``."""
        with torch.inference_mode():
            return np.asarray(self._mean(to_unit(images)).cpu().numpy())


def judge_of(classifier: Judge, attack: dict[str, Any]) -> Judge:
    """Who says whether rows are broken: the classifier, or its mean over the attack's draws.

    Args:
        attack: as `attack_record` gives it.

    Raises:
        UserError: draws are wanted of a classifier that makes none, such as an ONNX file.
    """
    draws = int(attack.get("draws", 1))
    if draws == 1:
        return classifier
    if not isinstance(classifier, FrozenClassifier):
        raise UserError(
            f"the set's verdicts are means over {draws} draws, which this classifier does not "
            "make; give the one that was attacked"
        )
    return MeanJudge(classifier, draws, int(attack["seed"]))


def _audit_counts(attacked: Attacked | Found) -> dict[str, int]:
    if not isinstance(attacked, AttackedInTurn):
        return {"alarming": 0, "audited": 0, "overturned": 0}
    return {
        "alarming": int(attacked.alarming.sum()),
        "audited": int(attacked.audited.sum()),
        "overturned": int(attacked.overturned.sum()),
    }


def device_name(device: torch.device) -> str:
    """What computed: a GPU's name, or the CPU's instruction set, which decides the last bits."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
