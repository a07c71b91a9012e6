"""What datasets and sets of all kinds have in common: rows in Parquet files."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.shard import Shard, images_of, open_parquet, read_range

if TYPE_CHECKING:
    from PIL.Image import Image

    from noisestack.face.torch_rows import TorchRows


class PictureSet:
    """Rows of a finished set on disk, read when they are asked for and never all at once.

    Rows are told as Python tells slices: ``start`` to ``stop`` (exclusive), counted from the end
    where negative, and cut where there are no more.

    Attributes:
        path: the set's directory, absolute.
        shape: height, width and channels of a picture.
        classes: the names of the classes, in the order of their labels; empty without labels.
        manifest: what the set's own JSON file says, all of it.
    """

    picture_column = (
        "image"  # the column of pictures that `picture` and `torch` take unless told otherwise
    )

    def __init__(
        self,
        path: Path,
        shards: Sequence[Shard],
        *,
        shape: tuple[int, int, int],
        classes: tuple[str, ...],
        manifest: Mapping[str, Any],
    ) -> None:
        self.path, self.shape, self.classes = path, shape, classes
        self.manifest = dict(manifest)
        self._shards = tuple(shards)

    def __len__(self) -> int:
        return sum(shard.num_rows for shard in self._shards)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        if not self._shards:
            return ()
        with open_parquet(self.path / self._shards[0].file) as file:
            return tuple(file.schema_arrow.names)

    def table(
        self, start: int = 0, stop: int | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Rows as an Arrow table; only the row groups that hold them are read.

        Args:
            start, stop: the rows; None for the set's end.
            columns: names of columns, in the order wanted; None for all.

        Raises:
            UserError: there is no such column, or a file is missing or damaged.
        """
        chosen = self._known(columns)
        first, last, _ = slice(start, stop).indices(len(self))
        return read_range(self.path, self._shards, first, max(first, last), chosen)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The set file by file, an Arrow table each; one is in memory at a time."""
        chosen, first = self._known(columns), 0
        for shard in self._shards:
            yield read_range(self.path, self._shards, first, first + shard.num_rows, chosen)
            first += shard.num_rows

    def arrays(
        self, start: int = 0, stop: int | None = None, columns: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Rows as arrays by the names of their columns; arguments and errors as `table`.

        Returns:
            Pictures uint8 ``[N, H, W, C]``, numbers in their own type ``[N]`` (lists of K of them
            ``[N, K]``), texts as objects.
        """
        table = self.table(start, stop, columns)
        return {name: _array(table, name) for name in table.column_names}

    def picture(self, index: int, column: str | None = None) -> "Image":
        """One picture as Pillow has it, of mode L (one channel) or RGB (three).

        Args:
            index: the row; from the end where negative.
            column: a column of pictures; None for the set's own.

        Raises:
            IndexError: there is no such row.
            UserError: the column holds no pictures.
        """
        from pipeline.pictures import to_image  # torch comes with it

        row = operator.index(index)
        row = row + len(self) if row < 0 else row
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of {len(self)} in {self.path}")
        name = column or self.picture_column
        return to_image(images_of(self.table(row, row + 1, [name]), name)[0])

    def torch(
        self,
        columns: Sequence[str] | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
        cache_bytes: int = 256 << 20,
    ) -> "TorchRows":
        """Rows as a torch ``Dataset``, for ``torch.utils.data.DataLoader``; read when asked for.

        Args:
            columns: what an item is made of, in this order; None for the set's pictures and, where
                there are labels, the label.
            start, stop: the rows.
            cache_bytes: of row groups as they were read last, kept in memory. Rows in random order
                are read many times over in a set that is larger.

        Returns:
            A map-style data set of tuples: pictures float32 ``[C, H, W]`` in [0, 1], numbers and
            texts as Python has them.

        Raises:
            UserError: there is no such column.
        """
        from noisestack.face.torch_rows import TorchRows

        wanted = columns
        if wanted is None:
            wanted = [name for name in (self.picture_column, "label") if name in self.columns]
        self._known(wanted)
        first, last, _ = slice(start, stop).indices(len(self))
        return TorchRows(self.path, self._shards, wanted, range(first, last), cache_bytes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,} rows in {self.path}>"

    def _known(self, columns: Sequence[str] | None) -> list[str] | None:
        if columns is None:
            return None
        for name in columns:
            if name not in self.columns:
                there = ", ".join(self.columns)
                raise UserError(f"{self.path} has no column {name!r}, only {there}")
        return list(columns)


def _array(table: pa.Table, name: str) -> np.ndarray:
    if isinstance(table.schema.field(name).type, pa.FixedShapeTensorType):
        return images_of(table, name)
    if isinstance(kind := table.schema.field(name).type, pa.FixedSizeListType):
        return np.concatenate(
            [np.empty((0, kind.list_size), kind.value_type.to_pandas_dtype())]
            + [c.flatten().to_numpy().reshape(-1, kind.list_size) for c in table[name].chunks]
        )
    return np.asarray(table.column(name).to_numpy())
