"""Checks of class names in data: they must be clean, distinct and not too many."""

import unicodedata
from collections.abc import Iterable, Sequence

from pipeline.errors import UserError

MAX_CLASSES = 10_000
"""More are taken for ids: a model has a row of weights a class, and a sheet a row of pictures."""
_SHOWN = 4


def class_name(text: str) -> str:
    """A name without spaces around it, its letters composed as most systems write them (NFC)."""
    return unicodedata.normalize("NFC", text).strip()


def check_classes(names: Sequence[str], where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The cleaned names, and a line for a person if cleaning changed any.

    Args:
        names: in the order of their labels.
        where: the names' origin, for messages: "--classes", "the header of a.parquet".

    Raises:
        UserError: a name is empty, two are the same once they are clean, or there are more than
            `MAX_CLASSES`.
    """
    check_number(len(names), where)
    clean = tuple(map(class_name, names))
    label_of: dict[str, int] = {}
    for label, name in enumerate(clean):
        if not name:
            raise UserError(f"{where}: class {label} has an empty name; name it")
        if name in label_of:
            first = label_of[name]
            raise UserError(
                f"{where}: classes {first} and {label} are both called {name!r} "
                f"({names[first]!r} and {names[label]!r}); give them different names"
            )
        label_of[name] = label
    return clean, tuple(cleaned_note(names, where))


def check_number(count: int, where: str) -> None:
    """Raises UserError where there are more classes than `MAX_CLASSES`."""
    if count > MAX_CLASSES:
        raise UserError(
            f"{where} has more than {MAX_CLASSES:,} different classes, the most there may be; are "
            "these ids? name another column with --label-column, or group them into classes"
        )


def cleaned_note(names: Iterable[str], where: str) -> list[str]:
    """A line on which names were cleaned; empty if none was."""
    changed = [name for name in names if class_name(name) != name]
    if not changed:
        return []
    shown = ", ".join(map(repr, changed[:_SHOWN])) + (", ..." if len(changed) > _SHOWN else "")
    return [f"{where}: spaces around names of classes, or letters in parts, were mended: {shown}"]


def alike_note(classes: Iterable[str]) -> tuple[str, ...]:
    """A line on classes that differ only in case; empty if there are none."""
    seen: dict[str, str] = {}
    for name in classes:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            return (f"the classes {other} and {name} differ in case alone; are they one?",)
    return ()


class Gathered:
    """A set of distinct values that is filled in batches, and refuses too many for classes.

    Args:
        where: the values' origin, for messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self.values: set[str | int] = set()

    def add(self, values: Iterable[str | int]) -> None:
        """Adds values; UserError if there are more than `MAX_CLASSES` distinct ones."""
        self.values.update(values)
        check_number(len(self.values), self._where)
