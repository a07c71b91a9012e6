"""Compares perturbation sets of the same pictures: which rows one attack broke and another did not.

An attack that breaks rows which a stronger attack left shows that the stronger one's accuracy is
too high. If it uses no gradients, or another model's, gradients may be masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError
from pipeline.formats.perturbation.set import PerturbationSet
from pipeline.formats.shard import iterate
from pipeline.perturbation_terms import NO_TARGET


@dataclass(frozen=True)
class Difference:
    """Two sets of one model, norm, ball and target.

    Attributes:
        first, second: their places in the sequence.
        first_alone, second_alone: pictures that one broke and the other left standing.
    """

    first: int
    second: int
    first_alone: int
    second_alone: int


def check_same_rows(sets: Sequence[PerturbationSet]) -> None:
    """Raises UserError unless all sets cover the same rows of one dataset, in one norm."""
    first = _covered(sets[0])
    for one in sets[1:]:
        for name, value in _covered(one).items():
            if value != first[name]:
                raise UserError(
                    f"{one.path} and {sets[0].path} differ in {name}, {value} and {first[name]}; "
                    "compare sets of the same rows in one norm"
                )


def _covered(opened: PerturbationSet) -> dict[str, str]:
    """What sets must have in common, by the words of the message."""
    return {
        "dataset": opened.dataset_sha256[:12],
        "split": opened.split,
        "rows": f"{opened.start:,} to {opened.stop - 1:,}",
        "norm": str(opened.attack["norm"]),
    }


def _task(opened: PerturbationSet) -> tuple[str, int, str]:
    """The model, radius and target of a set: what its rows were to be broken by."""
    attack = opened.attack
    return opened.model_sha256, int(attack["eps"]), str(attack.get("target", NO_TARGET))


def broken_rows(opened: PerturbationSet) -> np.ndarray:
    """Which rows of the range a set broke, bool ``[stop - start]``; one shard is in memory."""
    broken = np.zeros(opened.stop - opened.start, dtype=bool)
    for table in iterate(opened.path, opened.shards, ["row", "success"]):
        broken[table.column("row").to_numpy() - opened.start] = table.column("success").to_numpy()
    return broken


def differences(sets: Sequence[PerturbationSet]) -> list[Difference]:
    """Each pair of sets that had the same task: one model, one ball, and one rule of targets."""
    broken = [broken_rows(opened) for opened in sets]
    tasks = [_task(opened) for opened in sets]
    return [
        Difference(i, j, int((broken[i] & ~broken[j]).sum()), int((broken[j] & ~broken[i]).sum()))
        for i in range(len(sets))
        for j in range(i + 1, len(sets))
        if tasks[i] == tasks[j]
    ]
