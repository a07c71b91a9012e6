"""Turns the cells of a Parquet label column into labels: by text, by value, or by a header."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import UserError
from pipeline.formats.hugging_face import class_label_names
from pipeline.sources.base import in_order_of_names
from pipeline.sources.cells import hive_keys, is_boolean
from pipeline.sources.classes import Gathered, alike_note, check_classes, class_name, cleaned_note
from pipeline.sources.parquet_columns import is_text
from pipeline.sources.parquet_files import InputFiles, values_of

Names = tuple[str, ...]


@dataclass(frozen=True)
class Labels:
    """The labels of the cells of a label column.

    Attributes:
        classes: in the order of their labels.
        by_text: labels of cells that are text.
        by_value: labels of whole numbers that are the classes' names; None where a number is the
            label itself, or the header says what it is.
        by_header: for each file whose header names its numbers, the label of each number; -1 for
            none of the classes.
        notes: lines for a person on how the labels were understood.
    """

    classes: Names
    by_text: Mapping[str, int]
    by_value: Mapping[int, int] | None = None
    by_header: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def label_of(self, value: Any, file: str) -> int:
        """The label of a cell of a file; -1 when it has none among the classes."""
        if isinstance(value, str):
            return self.by_text.get(class_name(value), -1)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or value < 0:
            return -1
        if self.by_value is not None:
            return self.by_value.get(value, -1)
        if file in self.by_header:
            codes = self.by_header[file]
            return codes[value] if value < len(codes) else -1
        return value if value < len(self.classes) else -1


def understand_labels(files: InputFiles, column: str, classes: Sequence[str] | None) -> Labels:
    """Reads a column of labels in all files.

    Args:
        files: of the source.
        column: the label column.
        classes: the user's classes, in the order of their labels; None for those in the data.
    """
    schema = files.first.schema()
    where = f"column {column} of {files.first.path}"
    class_names = None if classes is None else tuple(classes)
    cells = (values_of(values.unique()) for _, values in files.batches(column))
    if is_text(schema.field(column).type):
        labels = labels_by_text(where, cells, class_names)
        if class_names is not None and is_boolean(schema.field(column)):
            # The names that are given are those of false and of true, in this order.
            return replace(labels, by_text={"false": 0, "true": 1} | dict(labels.by_text))
        values = {hive_keys(file.name).get(column) or "" for file in files}
        if (
            class_names is not None
            and all(map(str.isdecimal, values))
            and not values & set(class_names)
        ):
            # Folders' names have no types: these are numbers, and with names given, labels.
            numbers = {text: int(text) for text in values if int(text) < len(labels.classes)}
            return replace(labels, by_text=numbers)
        return labels
    names = {file.name: class_label_names(file.schema(), column) for file in files}
    if any(names.values()):
        path_of = {file.name: str(file.path) for file in files}
        return labels_by_header(names, path_of.__getitem__, class_names)
    return labels_by_value(where, cells, class_names)


def labels_by_text(
    where: str, cells: Iterable[Iterable[Any]], user_classes: Names | None
) -> Labels:
    """The labels of a column of text, whose values are the names of classes.

    Args:
        where: the column, for messages.
        cells: values of the column, batch by batch.
        user_classes: the user's classes; None for the values, sorted.
    """
    if user_classes is not None:
        classes, notes = check_classes(user_classes, "--classes")
        return Labels(classes, _index(classes), notes=notes)
    gathered = Gathered(where)
    for batch in cells:
        gathered.add(value for value in batch if isinstance(value, str) and value.strip())
    names = {str(value) for value in gathered.values}
    classes = in_order_of_names(map(class_name, names))
    _refuse_none(classes, where)
    notes = (*cleaned_note(sorted(names), where), *alike_note(classes))
    return Labels(classes, _index(classes), notes=notes)


def labels_by_value(
    where: str, cells: Iterable[Iterable[Any]], user_classes: Names | None
) -> Labels:
    """The labels of a column of whole numbers without names.

    Each value that occurs is a class that is called by it, in rising order; negative values are no
    label. With `user_classes` a number is the label itself.
    """
    if user_classes is not None:
        classes, notes = check_classes(user_classes, "--classes")
        return Labels(classes, {}, notes=notes)
    gathered = Gathered(where)
    for batch in cells:
        gathered.add(int(value) for value in batch if value is not None and value >= 0)
    values = sorted(map(int, gathered.values))
    _refuse_none(values, where)
    return Labels(tuple(map(str, values)), {}, {value: label for label, value in enumerate(values)})


def labels_by_header(
    names_of: Mapping[str, Names], place: Callable[[str], str], user_classes: Names | None
) -> Labels:
    """The labels of whole numbers that each file's header names.

    The same name is the same class in all files, whatever its number in one.

    Args:
        names_of: the names in each file's header, by the file's name; () where it has none.
        place: where a file is, for messages.

    Raises:
        UserError: names in one header are empty or the same, or it is not plain which name of one
            file is which of another.
    """
    notes: list[str] = []
    named: dict[str, Names] = {}
    cleaned: dict[Names, Names] = {}
    for file, names in names_of.items():
        if names and names not in cleaned:
            cleaned[names], more = check_classes(names, f"the header of {place(file)}")
            notes += more
        if names:
            named[file] = cleaned[names]
    first, *others = dict.fromkeys(named.values())
    file_of = {names: file for file, names in reversed(named.items())}
    bare = next((file for file in names_of if file not in named), None)
    classes: Names = first
    if user_classes is not None:
        classes, more = check_classes(user_classes, "--classes")
        notes += more
    by_name = user_classes is None or any(
        name in classes for names in named.values() for name in names
    )
    if bare is not None and (others or (by_name and classes != first)):
        raise UserError(
            f"{place(file_of[first])} names its labels in its header and {place(bare)} does not; "
            "ingest them one by one, or store the names in both"
        )
    if bare is not None and user_classes is None:
        raise UserError(
            f"{place(file_of[first])} names its labels in its header and {place(bare)} does not; "
            f"where the numbers mean the same, give --classes {','.join(first[:3])},..."
        )
    if not by_name:
        if others:
            raise UserError(
                f"{place(file_of[first])} and {place(file_of[others[0]])} name their labels "
                "differently, and --classes names none of theirs; name the classes as they do"
            )
        return Labels(classes, {}, notes=tuple(notes))
    for names in others:
        _refuse_doubtful(classes, names, place(file_of[first]), place(file_of[names]))
        if user_classes is None:
            classes += tuple(name for name in names if name not in classes)
    if others:
        notes.append("the files number their classes differently; they were matched by name")
    index = _index(classes)
    by_header = {
        file: tuple(index.get(name, -1) for name in names) for file, names in named.items()
    }
    return Labels(classes, {}, None, by_header, tuple(notes))


def _refuse_doubtful(ours: Names, theirs: Names, here: str, there: str) -> None:
    """Raises UserError where two lists of names cannot be matched name by name."""
    folded = {name.casefold(): name for name in ours}
    for name in theirs:
        other = folded.get(name.casefold(), name)
        if other != name:
            raise UserError(
                f"{here} has a class {other!r} and {there} a class {name!r}; name them alike, or "
                "apart, or ingest the files one by one"
            )
    if not set(ours) & set(theirs) and all(map(str.isdigit, ours)) != all(map(str.isdigit, theirs)):
        raise UserError(
            f"{here} calls its classes by numbers and {there} by names ({theirs[0]}, ...); name "
            "them alike, or ingest the files one by one"
        )


def _refuse_none(classes: Sequence[object], where: str) -> None:
    if not classes:
        raise UserError(
            f"{where} holds no label, only nulls, empty texts, negative numbers or fractions; "
            "name another with --label-column"
        )


def _index(classes: Names) -> dict[str, int]:
    return {name: label for label, name in enumerate(classes)}
