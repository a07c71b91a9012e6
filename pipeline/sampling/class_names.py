"""What people call the classes of a model: their names in any case, their numbers, or nothing."""

from collections.abc import Sequence

from pipeline.networks.condition import NO_LABEL

NO_CONDITION = "-"  # what a person writes for no condition
_NAMED_CLASSES = 12  # in messages


def label_named(text: str, classes: Sequence[str]) -> int | None:
    """The class that a text names, in any case and with spaces around it; -1 for "-".

    None when it names none, or, in another case than its own, more than one.
    """
    name = text.strip()
    if name in classes:
        return list(classes).index(name)
    folded = [known.casefold() for known in classes]
    if folded.count(name.casefold()) == 1:
        return folded.index(name.casefold())
    return NO_LABEL if name == NO_CONDITION else None


def label_called(text: str, classes: Sequence[str]) -> int | None:
    """The class that a text names, or whose number it is where no class is called by a number."""
    label = label_named(text, classes)
    number = text.strip()
    if label is None and number.isdecimal() and not any(name.isdecimal() for name in classes):
        label = int(number) if int(number) < len(classes) else None
    return label


def no_class(value: str | int | None, classes: Sequence[str]) -> str:
    """Why a value is no label, and what would be one."""
    if not classes:
        return f"the model has no classes, so nothing but '{NO_CONDITION}' can be asked of it"
    listed = ", ".join(classes[:_NAMED_CLASSES])
    if len(classes) > _NAMED_CLASSES:
        listed += f" and {len(classes) - _NAMED_CLASSES} more"
    if value is None:
        return f"there is no label; the model takes a class: {listed}"
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return f"the model takes a class and has no class {shown}, only {listed}"
