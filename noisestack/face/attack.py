"""An attack in memory: pictures, labels and any torch module in, perturbed pictures out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noisestack.config import as_number
from noisestack.face.attack_result import AttackResult
from noisestack.face.classifier import Classifier
from noisestack.face.module import left_as_found, of_module
from noisestack.face.pictures import checked_labels, row_numbers, stored_pictures, whole_number
from pipeline.attacks.base import Norm
from pipeline.attacks.methods.autoattack import ENSEMBLES, EnsembleName
from pipeline.attacks.settings import ATTACKS
from pipeline.classifier import FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.perturbation.set import perturbation_table
from pipeline.formats.perturbation.target import resolved_target, targets_of
from pipeline.formats.perturbation.trivial_pictures import count_trivial
from pipeline.formats.perturbation.verdict import threshold_of
from pipeline.formats.perturbation.warnings import doubtful_rows, row_warnings
from pipeline.perturbation.attack import CleanRows
from pipeline.perturbation.built_in import BuiltIn
from pipeline.perturbation.columns import judged_columns
from pipeline.perturbation.judge import judge_of
from pipeline.perturbation.options import AttackOptions
from pipeline.perturbation.trust import look_at_pictures
from pipeline.perturbation_terms import NO_TARGET
from pipeline.pictures import LEVELS
from pipeline.precision import full_float32

attacks = tuple(ATTACKS)
"""The names that `attack` takes."""

_EACH_ITS_OWN = "next"  # any rule: what a row aims at is then given


def attack(
    model: nn.Module | Classifier,
    x: np.ndarray | Tensor,
    y: Any,
    name: str = "pgd",
    *,
    eps: float | str | None = None,
    norm: str = "linf",
    steps: int | None = None,
    step_size: float | str | None = None,
    restarts: int = 1,
    seed: int = 0,
    targets: str | int | Sequence[int] | np.ndarray | Tensor | None = None,
    ensemble: str | None = None,
    draws: int = 1,
    rows: Sequence[int] | np.ndarray | None = None,
    threshold: float | None = None,
    rows_per_call: int | None = None,
) -> AttackResult:
    """Looks for a small change of each picture that makes a model wrong.

    It is the job `perturb` in memory: the same rows, seed and options give the same bytes on CPUs
    of one kind. The model is asked in evaluation mode with frozen parameters, and is left as it
    was found.

    Args:
        model: any torch module from float32 ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]``, on the
            device that it is on; or what `load_classifier` gave.
        x: the pictures: uint8 ``[N, H, W, C]``; or floats ``[N, C, H, W]`` in [0, 1], all of which
            are whole levels of 1/255.
        y: whole numbers ``[N]``, the true labels, from 0 to K - 1.
        name: one of `ns.attacks`.
        eps: the ball's radius in [0, 1] units, a number or a text such as "8/255", taken in whole
            levels of 1/255, rounded downwards; None for 8/255. Attacks that look for the smallest
            change take none.
        norm: "linf", "l2" or "l1".
        steps: gradient steps, or queries of square; None for the attack's own number.
        step_size: α in [0, 1] units; None for the attack's own.
        restarts: how often an unbroken row begins anew; of apgd_targeted its classes.
        seed: keys all that the attack draws.
        targets: None for any wrong class; "least_likely", "random" or "next"; one class by name or
            number; or a class for each row, whole numbers ``[N]``.
        ensemble: of autoattack: "standard" or "fast"; None for standard.
        draws: of a model that answers by chance: copies whose logits are averaged.
        rows: whole numbers ``[N]`` that key each row's draws; None for 0 to N - 1. Row numbers in a
            dataset's split, and the ``threshold`` of a perturbation set's ``attack``, give the
            bytes that the set has for these rows.
        threshold: by how much another class must lead, in logits; None for a share of the model's
            spread, measured on the first pictures.
        rows_per_call: pictures in a call of a module; None for 64.

    Raises:
        UserError: pictures, labels or options that are wrong, or a model that cannot be attacked:
            no gradient, logits that are not finite, probabilities, another number of classes.
    """
    frozen = model.frozen if isinstance(model, Classifier) else None
    images = stored_pictures(x, "x", None if frozen is None else frozen.shape)
    if frozen is None and not isinstance(model, nn.Module):
        raise UserError(
            f"the model is a {type(model).__name__}; give a torch module, or what "
            "ns.load_classifier gives"
        )
    if frozen is not None and rows_per_call is not None:
        raise UserError("a loaded classifier has its own rows_per_call; leave it out")
    if name not in attacks:
        raise UserError(f"there is no attack {name!r}; choose from {', '.join(sorted(attacks))}")
    with left_as_found(model), torch.inference_mode(False), torch.enable_grad(), full_float32():
        if frozen is None:
            assert isinstance(model, nn.Module)
            frozen = of_module(model, images, rows_per_call)
        labels = checked_labels(y, len(images), len(frozen.classes))
        keys = np.arange(len(images)) if rows is None else row_numbers(rows, len(images))
        aims = _aims(targets, len(images), len(frozen.classes))
        options = AttackOptions(
            attack=name,
            norm=_norm(norm),
            norm_is_said=True,
            eps=None if eps is None else _length(eps, "eps"),
            steps=None if steps is None else whole_number(steps, "steps", 1),
            step_size=None if step_size is None else _length(step_size, "step_size"),
            restarts=whole_number(restarts, "restarts", 1),
            seed=whole_number(seed, "seed", 0),
            ensemble=_ensemble(ensemble),
            target=_rule(targets, frozen.classes) if aims is None else _EACH_ITS_OWN,
            eot_draws=whole_number(draws, "draws", 1),
        )
        options.check_sizes(images.shape[1:])
        return _attack(frozen, BuiltIn.of(options), images, labels, keys, aims, threshold)


def _attack(
    classifier: FrozenClassifier,
    built_in: BuiltIn,
    images: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    aims: np.ndarray | None,
    threshold: float | None,
) -> AttackResult:
    settings, first = built_in.settings, slice(classifier.rows_per_call)
    warnings = look_at_pictures(
        classifier, settings.attack, images[first], labels[first], num_draws=settings.draws
    )
    judge = judge_of(classifier, built_in.record())
    logits = judge.logits_of(images)
    if threshold is None:
        threshold = threshold_of(logits[first])
    threshold = _length(threshold, "threshold")
    if threshold == float("inf"):
        raise UserError("threshold is inf, which no class can lead by; give a finite number")
    targets = aims
    if targets is None:
        targets = targets_of(settings.target, logits, labels, rows, settings.seed)
    clean = CleanRows(images, labels, rows, targets, logits)
    perturbed = built_in.perturbed(classifier, clean, threshold=threshold)
    if perturbed.alarming:  # as the job does it: for all rows that stand
        perturbed = built_in.perturbed(classifier, clean, widened=True, threshold=threshold)
    ids = [str(row) for row in rows]
    columns = judged_columns(judge, clean, perturbed, ids=ids, split="", draws=settings.draws)
    record = {**built_in.record(), "threshold": threshold}
    table = perturbation_table(columns, record)
    won = table.column("success").to_numpy()
    counts = {
        "rows": len(rows),
        "clean_right": int((columns.clean_predictions == labels).sum()),
        "successes": int(won.sum()),
        **doubtful_rows(table, record),
        "trivial": count_trivial(table, record),
    }
    warnings += row_warnings(counts, record, len(classifier.classes))
    return AttackResult(
        attack=settings.attack,
        norm=settings.norm.value,
        eps=settings.eps_levels / LEVELS,
        clean=images,
        adversarial=perturbed.images,
        success=won,
        labels=labels,
        targets=targets,
        clean_predictions=columns.clean_predictions,
        adversarial_predictions=columns.adversarial_predictions,
        margins=columns.margins,
        found_attack=tuple(perturbed.found_by),
        forwards=columns.forwards,
        backwards=columns.backwards,
        threshold=threshold,
        warnings=tuple(warning.text for warning in warnings),
    )


def _norm(norm: str) -> Norm:
    try:
        return Norm(norm)
    except ValueError:
        raise UserError(f"there is no norm {norm!r}; choose from {', '.join(Norm)}") from None


def _length(value: float | str, what: str) -> float:
    """A length in [0, 1] units, of a number or a text such as "8/255"."""
    try:
        if isinstance(value, bool):
            raise TypeError
        length = float(as_number(value))
    except (TypeError, ValueError, RuntimeError):
        raise UserError(
            f"{what} is {value!r}; give a number, or a fraction such as 8/255"
        ) from None
    if not length > 0:
        raise UserError(f"{what} is {value!r}; give a number above 0")
    return length


def _ensemble(ensemble: str | None) -> EnsembleName | None:
    if ensemble is not None and ensemble not in tuple(ENSEMBLES):
        raise UserError(f"there is no ensemble {ensemble!r}; choose from {', '.join(ENSEMBLES)}")
    return ensemble


def _aims(targets: Any, num_rows: int, num_classes: int) -> np.ndarray | None:
    """A class for each row, where that is what was given."""
    if targets is None or isinstance(targets, str | int | np.integer):
        return None
    return checked_labels(targets, num_rows, num_classes, "targets")


def _rule(targets: Any, classes: tuple[str, ...]) -> str:
    """What all rows aim at, as `AttackSettings` has it."""
    if targets is None:
        return NO_TARGET
    if isinstance(targets, str):
        return resolved_target(targets, classes)
    return str(whole_number(targets, "targets", 0, len(classes) - 1))
