"""Which tools read our sets, and what `noisestack export` writes, and what do they leave of both?

`python -m docs.tables.readers` asks each tool, and renews the table in docs/formats.md. It needs
the extra `readers`.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from docs.tables.page import as_markdown, replace_table
from pipeline.formats.dataset import dataset_table
from pipeline.formats.hugging_face import hugging_face_table
from pipeline.formats.shard import write_shard

PAGE, TABLE = "formats.md", "readers"
HEADER = (
    "tool",
    "our pictures",
    "their column, written to Parquet again",
    "exported pictures",
    "names of classes",
    "the exported column, written again",
)
CLASSES = ("cat", "dog")
PICTURES: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)


@dataclass(frozen=True)
class Tool:
    """A tool, and how its own documentation reads and writes Parquet.

    column: a file's column `image`, as Python values or arrays. again: a file read and written to
    another place. names: the names of the classes of the column `label`.
    """

    name: str
    package: str
    column: Callable[[Path], Any]
    again: Callable[[Path, Path], object]
    names: Callable[[Path], Sequence[str] | None] = lambda file: None


def _pyarrow(file: Path) -> Any:
    column = pq.read_table(file)["image"].combine_chunks()
    if isinstance(column.type, pa.FixedShapeTensorType):
        return column.to_numpy_ndarray()
    return column.to_pylist()


def _pandas(file: Path) -> Any:
    import pandas

    return list(pandas.read_parquet(file)["image"])


def _pandas_again(file: Path, to: Path) -> None:
    import pandas

    pandas.read_parquet(file).to_parquet(to)


def _polars(file: Path) -> Any:
    import polars

    column = polars.read_parquet(file)["image"]
    return column.to_list() if column.dtype == polars.Struct else column.to_arrow()


def _polars_again(file: Path, to: Path) -> None:
    import polars

    polars.read_parquet(file).write_parquet(to)


def _duckdb(file: Path) -> Any:
    import duckdb

    return [value for (value,) in duckdb.sql(f"select image from '{file}'").fetchall()]


def _duckdb_again(file: Path, to: Path) -> None:
    import duckdb

    duckdb.sql(f"copy (select * from '{file}') to '{to}' (format parquet)")


def _load_dataset(file: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    cache = str(file.parent / "cache")
    return datasets.load_dataset("parquet", data_files=str(file), cache_dir=cache)["train"]


def _datasets(file: Path) -> Any:
    return list(_load_dataset(file)["image"])


def _datasets_names(file: Path) -> Sequence[str]:
    names: Sequence[str] = _load_dataset(file).features["label"].names
    return names


def _lance(file: Path) -> Any:
    import lance

    place = str(file.with_suffix(".lance"))
    written = lance.write_dataset(pq.read_table(file), place, mode="overwrite")
    column = written.to_table()["image"].combine_chunks()
    tensors = isinstance(column.type, pa.FixedShapeTensorType)
    return column.to_numpy_ndarray() if tensors else column.to_pylist()


def _lance_again(file: Path, to: Path) -> None:
    import lance

    place = str(file.with_suffix(".lance"))
    written = lance.write_dataset(pq.read_table(file), place, mode="overwrite")
    pq.write_table(written.to_table(), to)


TOOLS = (
    Tool("pyarrow", "pyarrow", _pyarrow, lambda a, b: pq.write_table(pq.read_table(a), b)),
    Tool("pandas", "pandas", _pandas, _pandas_again),
    Tool("Polars", "polars", _polars, _polars_again),
    Tool("DuckDB", "duckdb", _duckdb, _duckdb_again),
    Tool(
        "datasets",
        "datasets",
        _datasets,
        lambda a, b: _load_dataset(a).to_parquet(b),
        _datasets_names,
    ),
    Tool("Lance", "pylance", _lance, _lance_again),
)


def row_of(tool: Tool, folder: Path) -> list[str]:
    """A tool's row of the table, as it behaves here and now."""
    labels = [row % 2 for row in range(len(PICTURES))]
    table = dataset_table([f"{row}" for row in range(len(PICTURES))], PICTURES, labels, None)
    write_shard(table, folder, "ours.parquet")
    write_shard(hugging_face_table(table, CLASSES), folder, "export.parquet")
    ours, export, again = (folder / f"{name}.parquet" for name in ("ours", "export", "again"))
    return [
        f"{tool.name} {version(tool.package)}",
        _asked(lambda: _told(tool.column(ours))),
        _asked(lambda: _left(tool.again(ours, again), again)),
        _asked(lambda: _told([_pixels(cell) for cell in tool.column(export)])),
        "as names" if tool.names(export) == list(CLASSES) else "as numbers",
        _asked(lambda: _left(tool.again(export, again), again)),
    ]


def _asked(question: Callable[[], str]) -> str:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return question()
    except Exception as error:
        return f"**refused** (`{type(error).__name__}`)"


def _told(found: Any) -> str:
    """What pictures are left as."""
    if isinstance(found, pa.ExtensionArray):
        found = found.to_numpy_ndarray()
    pixels = np.asarray(found)
    if pixels.size != PICTURES.size or not np.array_equal(pixels.reshape(PICTURES.shape), PICTURES):
        return "**other pixels**"
    return "pixels and shape" if pixels.shape == PICTURES.shape else "pixels, **without shape**"


def _pixels(cell: Any) -> NDArray[np.uint8]:
    data = cell["bytes"] if isinstance(cell, dict) else None
    return np.asarray(cell if data is None else Image.open(io.BytesIO(data)))


def _left(_written: object, file: Path) -> str:
    """What a column has become in the file that a tool wrote."""
    schema = pq.read_schema(file)
    kind = schema.field("image").type
    if isinstance(kind, pa.FixedShapeTensorType):
        return "kept"
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return "kept" if b"huggingface" in (schema.metadata or {}) else "kept, without the header"
    return f"**`{kind}`**"


def main() -> None:
    """Asks all and renews the table."""
    rows = []
    for tool in TOOLS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row_of(tool, Path(folder)))
            print(*rows[-1], sep=" | ", flush=True)
    replace_table(PAGE, TABLE, as_markdown(HEADER, rows))


if __name__ == "__main__":
    main()
