"""Embedding sets of a dataset's rows without an encoder: each row's vectors are drawn by its id."""

from hashlib import sha256
from pathlib import Path

import numpy as np

from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.embedding_rows import embedding_table, write_embeddings
from pipeline.formats.embedding_set import (
    EmbeddingSet,
    open_embedding_set,
    shard_file,
    write_embedding_manifest,
)
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.shard import read_part

WIDTH, LENGTH = 6, 4
ENCODER = EncoderId("drawn", "0" * 64, "1" * 64, LENGTH, "mean", WIDTH)
PICTURES = EncoderId("drawn pictures", "2" * 64, "", 0, "picture", WIDTH)


def embedded(row_id: str) -> np.ndarray:
    """What a row is embedded as, float16 ``[1 + LENGTH, WIDTH]``; one to all places are taken."""
    generator = np.random.default_rng(list(sha256(row_id.encode()).digest()))
    rows = generator.standard_normal((1 + LENGTH, WIDTH))
    rows[0] /= np.linalg.norm(rows[0])
    rows[2 + int(generator.integers(LENGTH)) :] = 0
    return rows.astype(np.float16)


def write_embedding_set(path: Path, info: DatasetInfo, *, has_tokens: bool = True) -> EmbeddingSet:
    """The embedding set of all splits of a dataset."""
    splits = {}
    for split, shards in info.splits.items():
        written = []
        for number, shard in enumerate(shards):
            table = read_part(info.path / shard.file, 0, shard.num_rows, ["id"])
            ids = table.column("id").to_pylist()
            rows = np.stack([embedded(row_id) for row_id in ids])
            lengths = rows[:, 1:].any(axis=2).sum(axis=1)
            tokens = (rows[:, 1:], lengths) if has_tokens else (None, None)
            table = embedding_table(ids, rows[:, 0], *tokens)
            written.append(write_embeddings(table, path, shard_file(split, number)))
        splits[split] = written
    write_embedding_manifest(
        path,
        dataset_sha256=info.sha256,
        encoder=ENCODER if has_tokens else PICTURES,
        splits=splits,
        has_tokens=has_tokens,
        num_cut=0,
        origin={},
    )
    return open_embedding_set(path)
