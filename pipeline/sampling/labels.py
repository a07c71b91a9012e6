"""Plans of labels: the same ones in turn, or a number of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.class_names import NO_LABEL, label_by_name, label_by_name_or_number, no_class
from pipeline.errors import UserError
from pipeline.sampling.plan import ConditionPlan, PlannedRows


@dataclass(frozen=True)
class InTurn(ConditionPlan):
    """The same labels over and over: sample i gets label ``i mod len(labels)``.

    Attributes:
        labels: at least one; -1 for no condition.
        captions: the texts that named the labels, or None.
    """

    labels: tuple[int, ...]
    captions: tuple[str, ...] | None = None

    @property
    def num_rows(self) -> None:
        return None

    def rows(self, start: int, stop: int) -> PlannedRows:
        turns = np.arange(start, stop) % len(self.labels)
        captions = self.captions
        return PlannedRows(
            np.array(self.labels, np.int64)[turns],
            None if captions is None else pa.array(captions, pa.string()).take(pa.array(turns)),
        )

    def origin(self) -> dict[str, Any]:
        labels = {"in_turn": list(self.labels)}
        return labels if self.captions is None else labels | {"captions": list(self.captions)}


@dataclass(frozen=True)
class PerClass(ConditionPlan):
    """A number of samples for each label.

    Labels come in turn until each has its number, so that the first n samples of a set hold the
    classes as evenly as the numbers allow, for any n.

    Attributes:
        counts: label to number of samples.
    """

    counts: Mapping[int, int]

    @property
    def num_rows(self) -> int:
        return sum(self.counts.values())

    @cached_property
    def _rounds(self) -> tuple[tuple[int, int, np.ndarray], ...]:
        """Runs of equal rounds: the first sample, the sample behind the last, a round's labels."""
        runs, start, done = [], 0, 0
        for count in sorted({*self.counts.values()} - {0}):
            labels = np.array([label for label, n in self.counts.items() if n >= count], np.int64)
            stop = start + (count - done) * len(labels)
            runs.append((start, stop, labels))
            start, done = stop, count
        return tuple(runs)

    def rows(self, start: int, stop: int) -> PlannedRows:
        parts = [np.empty(0, np.int64)]
        for first, behind, labels in self._rounds:
            inside = np.arange(max(start, first), min(stop, behind))
            parts.append(labels[(inside - first) % len(labels)])
        return PlannedRows(np.concatenate(parts))

    def origin(self) -> dict[str, Any]:
        return {"per_class": [[label, count] for label, count in self.counts.items()]}


def plan_of(origin: Any) -> ConditionPlan | None:
    """The plan that an origin describes, the inverse of `ConditionPlan.origin`.

    None where the labels came from a file, or where it is no origin.
    """
    try:
        if "in_turn" in origin:
            captions = origin.get("captions")
            labels = tuple(int(label) for label in origin["in_turn"])
            return InTurn(labels, None if captions is None else tuple(captions)) if labels else None
        if "per_class" in origin:
            return PerClass({int(label): int(count) for label, count in origin["per_class"]})
    except (TypeError, ValueError, AttributeError):
        pass
    return None


def all_in_turn(classes: Sequence[str], untrained: Sequence[int] = ()) -> InTurn:
    """All classes in turn but the untrained; no condition for a model without classes."""
    return InTurn(tuple(_trained(classes, untrained)) or (NO_LABEL,))


def _trained(classes: Sequence[str], untrained: Sequence[int]) -> list[int]:
    without = set(untrained)
    return [label for label in range(len(classes)) if label not in without]


def refuse_untrained(
    labels: np.ndarray, classes: Sequence[str], untrained: Sequence[int], where: str
) -> None:
    """Refuses labels of classes that the stack was trained on no picture of.

    Args:
        labels: int64 ``[N]``.
        classes: the model's.
        untrained: the labels to refuse.
        where: the beginning of the message.

    Raises:
        UserError: a label is among ``untrained``.
    """
    if untrained and (bad := np.isin(labels, untrained)).any():
        label = int(labels[bad][0])
        raise UserError(
            f"{where}: no picture was trained on for the class {classes[label]}; leave it out"
        )


def labels_in_turn(texts: Sequence[str], classes: Sequence[str], where: str) -> InTurn:
    """Names of classes, or their numbers where no class is called by a number, in turn.

    Raises:
        UserError: begins with ``where``; there is none, or one is no class.
    """
    return InTurn(_resolve(texts, classes, where, label_by_name_or_number))


def captions_in_turn(texts: Sequence[str], classes: Sequence[str], where: str) -> InTurn:
    """Captions that are names of classes, in turn; errors as `labels_in_turn`."""
    return InTurn(_resolve(texts, classes, where, label_by_name), tuple(texts))


def per_class(
    counts: int | Mapping[str, int],
    classes: Sequence[str],
    where: str,
    untrained: Sequence[int] = (),
) -> PerClass:
    """The same number of each class but the untrained, or a number for each class that is named.

    Raises:
        UserError: begins with ``where``; a name that is no class or comes twice, or no sample.
    """
    if isinstance(counts, int):
        plan = PerClass(dict.fromkeys(_trained(classes, untrained), counts))
    else:
        labels = _resolve(tuple(counts), classes, where, label_by_name_or_number)
        if len(set(labels)) < len(labels):
            raise UserError(f"{where} gives a class two numbers; name each class once")
        plan = PerClass(dict(zip(labels, counts.values(), strict=True)))
    if plan.num_rows == 0:
        why = "" if classes else ": the model has no classes; say how many with --count"
        raise UserError(f"{where} asks for no sample at all{why}")
    return plan


def _resolve(
    texts: Sequence[str],
    classes: Sequence[str],
    where: str,
    label_of: Callable[[str, Sequence[str]], int | None],
) -> tuple[int, ...]:
    labels = []
    for text in texts:
        label = label_of(text, classes)
        if label is None:
            raise UserError(f"{where}: {no_class(text, classes)}")
        labels.append(label)
    if not labels:
        raise UserError(f"{where} is empty; name classes, or leave it out for all of them")
    return tuple(labels)
