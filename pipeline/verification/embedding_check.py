"""Checks of an embedding set's rows: alone, against its dataset, and embedded again."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nsmallest

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, shards_of
from pipeline.formats.embedding_rows import lengths_of, pooled_of, tokens_of
from pipeline.formats.embedding_set import (
    EmbeddingSet,
    check_embeds,
    check_ids,
    read_embeddings,
)
from pipeline.formats.keyed_sample import sample_key
from pipeline.formats.perturbation.rows import Tally
from pipeline.formats.set_manifest import MANIFEST_FILE
from pipeline.formats.shard import read_part
from pipeline.text.encoder import TextEncoder
from pipeline.verification.faults import Faults

_OFF_UNIT = 2e-3  # of a vector's length, from rounding to float16
_ANOTHER = 5e-3  # of a value beside its vector's largest; another kind of CPU moves the last bits
_READ_ROWS = 512


class EmbeddingClaims:
    """Numbers, lengths and the count of cut texts of an embedding set."""

    def __init__(self, opened: EmbeddingSet) -> None:
        self._opened = opened
        self._width, self._most = opened.encoder.width, opened.encoder.max_length
        self.columns = ("id", "tokens", "pooled") if opened.has_tokens else ("id", "pooled")

    def of_rows(self, table: pa.Table) -> tuple[dict[str, np.ndarray], Tally]:
        table = table.combine_chunks()
        pooled = pooled_of(table, self._width).astype(np.float32)
        off = np.abs(np.linalg.norm(pooled, axis=1) - 1)
        faults = {"pooled is no vector of length 1": ~(off < _OFF_UNIT)}
        tally: Tally = {}
        if self._opened.has_tokens:
            lengths = lengths_of(table)
            faults["tokens are none, or more than the encoder takes"] = (lengths < 1) | (
                lengths > self._most
            )
            finite = np.isfinite(tokens_of(table, self._width)).all(1)
            ends, bad = np.cumsum(lengths), np.concatenate(([0], np.cumsum(~finite)))
            faults["a token's state is no number"] = bad[ends] > bad[ends - lengths]
            tally["full"] = int((lengths == self._most).sum())
        return faults, tally

    def of_set(self, tallies: list[Tally], faults: Faults) -> None:
        full = int(sum(tally.get("full", 0) for tally in tallies))
        if self._opened.num_cut > full:
            what = (
                f"counts {self._opened.num_cut} texts that were cut, and only {full} have as many "
                "tokens as that leaves"
            )
            faults.add("counts that do not add up", MANIFEST_FILE, what)


def dataset_faults(opened: EmbeddingSet, info: DatasetInfo) -> tuple[str, ...]:
    """One line where the set is not the dataset's, or for each shard with other ids."""
    try:
        check_embeds(opened, info, *opened.splits)
    except UserError as error:
        return (str(error),)
    faults: list[str] = []
    for split, shards in opened.splits.items():
        for number, (ours, theirs) in enumerate(zip(shards, shards_of(info, split), strict=True)):
            found = read_part(opened.path / ours.file, 0, ours.num_rows, ["id"])
            due = read_part(info.path / theirs.file, 0, theirs.num_rows, ["id"])
            try:
                ids, due_ids = found.column("id").to_pylist(), due.column("id").to_pylist()
                check_ids(opened, split, number, ids, due_ids)
            except UserError as error:
                faults.append(str(error))
    return tuple(faults)


@dataclass(frozen=True)
class EmbeddedAgain:
    """What came of embedding rows again.

    Attributes:
        num: how many rows.
        exact: of those, how many had the stored bits.
        faults: a line for each that was another embedding.
    """

    num: int
    exact: int
    faults: tuple[str, ...]


def embed_again(
    opened: EmbeddingSet, info: DatasetInfo, encoder: TextEncoder, num: int, seed: int
) -> EmbeddedAgain:
    """Encodes the captions of some rows again; they are drawn by the seed, from all splits.

    A row is told as another embedding only where it differs by more than last bits: another kind of
    CPU rounds otherwise.

    Args:
        num: how many rows; all where there are fewer.
    """
    exact, made, faults = 0, 0, []
    for split, number, row in _drawn(opened, num, seed):
        source = info.path / shards_of(info, split)[number].file
        table = read_part(source, row, row + 1, ["id", "caption"])
        ids, stored = read_embeddings(opened, split, number, start=row, stop=row + 1)
        due = encoder.conditions([str(table.column("caption")[0].as_py())])
        stored = stored.astype(np.float32)
        made += 1
        exact += bool(np.array_equal(stored, due))
        scale = np.abs(due).max(axis=-1, keepdims=True)
        if not (np.abs(stored - due) <= _ANOTHER * scale).all():
            file = opened.splits[split][number].file
            faults.append(f"{file}: row {row}: id {ids[0]!r} is not what its caption gives")
    return EmbeddedAgain(made, exact, tuple(faults))


def _drawn(opened: EmbeddingSet, num: int, seed: int) -> list[tuple[str, int, int]]:
    """Split, shard and row of the rows whose ids have the smallest keys."""

    def keyed() -> Iterator[tuple[bytes, str, int, int]]:
        for split, shards in opened.splits.items():
            for number, shard in enumerate(shards):
                ids = read_part(opened.path / shard.file, 0, shard.num_rows, ["id"]).column("id")
                for row, name in enumerate(ids.to_pylist()):
                    yield sample_key(seed, name), split, number, row

    return [(split, number, row) for _, split, number, row in nsmallest(num, keyed())]
