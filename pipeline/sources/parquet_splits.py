"""The splits of Parquet files, from their paths or from a column."""

from pipeline.errors import UserError
from pipeline.sources.parquet_columns import Columns
from pipeline.sources.parquet_files import InputFiles, values_of
from pipeline.sources.splits import REMEDY


def splits_of_files(files: InputFiles, columns: Columns) -> tuple[list[str], str]:
    """The splits of all rows, and where they are stated; empty if nowhere.

    Raises:
        UserError: some files have a split and others none, or a cell of the column is no split, or
            is another split than its file's path has.
    """
    if columns.split is not None:
        return _in_column(files, columns, columns.split), f"column {columns.split}"
    splits = [file.split for file in files]
    if not any(splits):
        return [], ""
    if not all(splits):
        one, other = files.files[splits.index(None)], next(f for f in files if f.split)
        raise UserError(
            f"{other.path} says the split {other.split}, and {one.path} says none; {REMEDY}"
        )
    return [name for name in splits if name], " and ".join(
        dict.fromkeys(file.split_origin for file in files)
    )


def _in_column(files: InputFiles, columns: Columns, column: str) -> list[str]:
    splits = set()
    for number, values in files.batches(column):
        file, first = files.file_of(number)
        for value in values_of(values.unique()):
            split = columns.split_of(value)
            if split is not None and file.split in (None, split):
                splits.add(split)
                continue
            row = file.origin(first + values_of(values).index(value))
            if split is None:
                raise UserError(
                    f"{row} has {value!r} in column {column}, no split that is known; correct "
                    "it, or say where splits come from with --splits-from"
                )
            raise UserError(
                f"{row} has {value!r} in column {column}, and the path says {file.split}; "
                "say which counts: --splits-from column or --splits-from names"
            )
    return sorted(splits)
