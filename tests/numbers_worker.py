"""Workers for tests of the batch machinery: they write each row's number; told so, they fail."""

import errno
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.output import temporary_sibling
from pipeline.formats.shard import write_shard

Shard = dict[str, Any]


def shards(count: int, num_rows: int = 10) -> list[Shard]:
    return [
        {"index": index, "file": f"part-{index:05d}.parquet", "num_rows": num_rows}
        for index in range(count)
    ]


class Failing:
    """Fails at one shard, in a given way."""

    def __init__(self, output: Path, fail_at: int = -1, how: str = "") -> None:
        self._output, self._fail_at, self._how = output, fail_at, how
        if how == "build":
            raise UserError("the model is missing; train one")

    def _fail(self, shard: Shard) -> None:
        if shard["index"] != self._fail_at:
            return
        if self._how == "user":
            raise UserError("row 3 is bad; mend it")
        if self._how == "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._how == "bug":
            raise ZeroDivisionError("a bug")
        if self._how == "die once" and not (self._output / "died").exists():
            (self._output / "died").touch()
            temporary_sibling(self._output / shard["file"]).touch()
            os._exit(1)

    def _write(self, rows: np.ndarray, shard: Shard) -> Shard:
        written = write_shard(pa.table({"row": rows}), self._output, shard["file"])
        return {**asdict(written), "extra": int(rows.sum())}


class Numbers(Failing):
    """The whole of the work in one worker."""

    def __call__(self, shard: Shard) -> Shard:
        self._fail(shard)
        return self._write(numbers_of(shard), shard)


class Starting(Failing):
    """The first pool of a chain: the numbers, half of them at a shape of their own."""

    def __call__(self, shard: Shard, carry: None) -> dict[str, np.ndarray]:
        assert carry is None
        self._fail(shard)
        rows = numbers_of(shard)
        return {"even": rows[::2], "odd": rows[1::2, None]}


class Interleaving(Failing):
    """The middle pool."""

    def __call__(self, shard: Shard, carry: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._fail(shard)
        return {"rows": np.stack([carry["even"], carry["odd"][:, 0]], axis=1).reshape(-1)}


class Ending(Failing):
    """The last pool: what `Numbers` writes, out of the carry."""

    def __call__(self, shard: Shard, carry: dict[str, np.ndarray]) -> Shard:
        self._fail(shard)
        return self._write(carry["rows"], shard)


def numbers_of(shard: Shard) -> np.ndarray:
    return np.arange(shard["num_rows"], dtype=np.int64) + shard["index"] * shard["num_rows"]
