"""A cache of a dataset's shards: they are read from Parquet once, then as plain bytes.

Unpacking `fixed_shape_tensor` from Parquet takes 4.7 of the 5.9 µs that reading a 28×28 picture for
training costs; from plain bytes it takes a tenth of that.
"""

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from io import FileIO
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.shard import Shard, images_of, labels_of, read_part

_LEAST_FREE = 0.2  # of the disk: Ray stops working on one that is 95 % full


class DecodedShards:
    """Reads whole shards, and keeps what it has read in a file on this machine's disk.

    The file lies in the temporary directory and has no name: it vanishes with the process, and
    nobody else can write into it. Shards that it has no room for are read from Parquet each time.
    Nothing is evicted, since an epoch reads each shard once, in a new order.

    Args:
        directory: the dataset's.
        shards: of the split.
        shape: of a picture: height, width, channels.
        columns: to read: image and, if labels are needed, label; without it all labels are -1.
        limit: bytes to keep at most; 0 keeps nothing. A fifth of the disk is left free anyway.

    Attributes:
        num_cached_bytes: how much of the disk is taken.
    """

    def __init__(
        self,
        directory: Path,
        shards: Sequence[Shard],
        shape: tuple[int, int, int],
        *,
        columns: list[str],
        limit: int,
    ) -> None:
        self._directory, self._shards, self._shape = directory, shards, shape
        self._columns = columns
        self._limit = limit
        self.num_cached_bytes = 0
        self._file: FileIO | None = None  # made where it is used: a reader travels between hosts
        self._places: dict[int, int] = {}  # where each shard's pictures begin in it
        self._labels: dict[int, NDArray[np.int64]] = {}

    def read(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """A shard's pictures, uint8 ``[N, H, W, C]``, and labels, int64 ``[N]``.

        Raises:
            UserError: its file is missing or damaged.
        """
        if number in self._places:
            return self._read_back(number), self._labels[number]
        shard = self._shards[number]
        table = read_part(self._directory / shard.file, 0, shard.num_rows, self._columns)
        images, labels = images_of(table), labels_of(table)
        self._keep(number, images, labels)
        return images, labels

    def _read_back(self, number: int) -> NDArray[np.uint8]:
        assert self._file is not None  # there is a place in it
        self._file.seek(self._places[number])
        size = self._shards[number].num_rows * prod(self._shape)
        return np.fromfile(self._file, np.uint8, size).reshape(-1, *self._shape)

    def _keep(self, number: int, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        place, size = self.num_cached_bytes, images.nbytes
        if place + size > self._limit:
            return
        disk = shutil.disk_usage(tempfile.gettempdir())
        if disk.free - size < _LEAST_FREE * disk.total:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            self._file.seek(place)
            left = np.ascontiguousarray(images).data.cast("B")
            while left:  # (tofile says nothing of a full disk: C's own buffer meets it later)
                left = left[self._file.write(left) :]
        except OSError:  # the disk is full or read-only: Parquet still serves
            self._limit = 0
            return
        self._places[number], self._labels[number] = place, labels.copy()
        self.num_cached_bytes += size
