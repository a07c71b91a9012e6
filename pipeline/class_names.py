"""Names of classes in texts: one rule for flags, requests, targets and columns.

The rule's parts, in this order: a text that is a class's name is that class, also in another case
or with spaces around it. ``<none>`` and ``-`` mean no condition. A whole number is a label, unless
some class's name is a number other than its label: then numbers are names only.
"""

from collections.abc import Sequence

from pipeline.errors import UserError

NO_LABEL = -1
NO_CONDITION = "<none>"
"""What a person writes for no condition; `refuse_reserved` keeps classes from that name."""
_SHORT = "-"  # the same, where no class is called so
_NAMED_CLASSES = 12  # in messages


def class_by_name(text: str, classes: Sequence[str]) -> int | None:
    """The class that a text names, in any case and with spaces around it.

    None when it names no class, or names several that differ in case only.
    """
    for name in (text, text.strip()):
        if name in classes:
            return list(classes).index(name)
    folded = [name_of_class.strip().casefold() for name_of_class in classes]
    name = text.strip().casefold()
    return folded.index(name) if folded.count(name) == 1 else None


def label_by_name(text: str, classes: Sequence[str]) -> int | None:
    """The class that a text names, or -1 where the text means no condition; else None."""
    label = class_by_name(text, classes)
    if label is None and text.strip().casefold() in (NO_CONDITION, _SHORT):
        return NO_LABEL
    return label


def label_by_name_or_number(text: str, classes: Sequence[str]) -> int | None:
    """The class that a text names, or whose number it is, or -1 for no condition; else None."""
    label = label_by_name(text, classes)
    number = text.strip()
    if label is None and number.isdecimal() and not _named_by_numbers(classes):
        # Python takes no more than 4,300 digits
        label = int(number) if len(number) < 20 and int(number) < len(classes) else None
    return label


def refuse_reserved(classes: Sequence[str]) -> None:
    """Refuses classes whose name means no condition.

    Raises:
        UserError: there is such a class.
    """
    for name in classes:
        if name.strip().casefold() == NO_CONDITION:
            raise UserError(
                f"a class is called {name!r}, which is how no condition is spelled; rename it"
            )


def no_class(value: str | int | None, classes: Sequence[str]) -> str:
    """The message for a value that is no label: why, and which classes there are."""
    if not classes:
        return f"the model has no classes, so nothing but '{_SHORT}' can be asked of it"
    listed = ", ".join(classes[:_NAMED_CLASSES])
    if len(classes) > _NAMED_CLASSES:
        listed += f" and {len(classes) - _NAMED_CLASSES} more"
    if value is None:
        return f"there is no label; the model takes a class: {listed}"
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    text = f"the model takes a class and has no class {shown}, only {listed}"
    if str(value).strip().isdecimal() and _named_by_numbers(classes):
        text += "; where classes are called by numbers, a number is a name"
    return text


def _named_by_numbers(classes: Sequence[str]) -> bool:
    """Whether a class is called by a number that is not its label."""
    return any(
        name.isdecimal() and (len(name) >= 20 or int(name) != label)
        for label, name in enumerate(classes)
    )
