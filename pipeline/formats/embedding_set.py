"""Embedding sets: what a frozen encoder makes of a dataset's captions, or of its pictures.

DIR/train-00000.parquet ...   a file for each shard of the dataset's split, the same rows in the
                              same order: id string, tokens list of float16 [D] (a text's token
                              states, as many as it has tokens; none in a set of pictures),
                              pooled float16 [D], of unit length but for rounding
DIR/manifest.json             encoder, dataset hash, splits with their shards; written last
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, shards_of
from pipeline.formats.embedding_rows import schema, values_of
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.output import read_json, sha256_of_json, write_json
from pipeline.formats.seal import sealed
from pipeline.formats.set_manifest import MANIFEST_FILE, read_manifest
from pipeline.formats.shard import Shard, check_present, read_part, shards_from_json

FORMAT = 1
KIND = "embedding_set"
_MARKS = {"format": FORMAT, "kind": KIND}


@dataclass(frozen=True)
class EmbeddingSet:
    """What an embedding set's manifest says.

    Attributes:
        path: its directory, absolute.
        dataset_sha256: identity of the dataset whose rows were embedded.
        encoder: that made it.
        splits: a shard for each of the dataset's, split by split.
        sha256: hash over encoder, dataset and shards: the set's identity.
        has_tokens: whether there are token states beside the pooled vectors.
        num_cut: texts that were longer than the encoder's maximum.
    """

    path: Path
    dataset_sha256: str
    encoder: EncoderId
    splits: dict[str, tuple[Shard, ...]]
    sha256: str
    has_tokens: bool
    num_cut: int

    def num_rows(self, split: str) -> int:
        """How many rows of a split it has; UserError for a split that it lacks."""
        return sum(shard.num_rows for shard in shards_in(self, split))


def shard_file(split: str, number: int) -> str:
    """The name of the file that goes with a shard of the dataset, the split's ``number``-th."""
    return f"{split}-{number:05d}.parquet"


def shards_to_embed(info: DatasetInfo, splits: Sequence[str]) -> list[dict[str, Any]]:
    """The shards of an embedding set, split by split: what its makers are called with.

    Raises:
        UserError: an unknown split.
    """
    shards: list[dict[str, Any]] = []
    for split in splits:
        start = 0
        for number, source in enumerate(shards_of(info, split)):
            shards.append(
                {
                    "index": len(shards),
                    "file": shard_file(split, number),
                    "split": split,
                    "source": source.file,
                    "start": start,  # the number in the split of its first row
                    "num_rows": source.num_rows,
                }
            )
            start += source.num_rows
    return shards


def write_embedding_manifest(
    path: Path | str,
    *,
    dataset_sha256: str,
    encoder: EncoderId,
    splits: Mapping[str, Sequence[Shard]],
    has_tokens: bool,
    num_cut: int,
    origin: Mapping[str, Any],
) -> None:
    """Writes ``manifest.json``, which completes an embedding set.

    Args:
        path: the directory that holds the shards.
        dataset_sha256, encoder, splits, has_tokens, num_cut: see `EmbeddingSet`.
        origin: the config and versions that made it, for people.
    """
    write_json(
        Path(path) / MANIFEST_FILE,
        sealed(
            {
                **_MARKS,
                "dataset": {"sha256": dataset_sha256},
                "encoder": asdict(encoder),
                "has_tokens": has_tokens,
                "num_rows": {
                    name: sum(shard.num_rows for shard in shards) for name, shards in splits.items()
                },
                "num_cut": num_cut,
                "content_sha256": content_hash(dataset_sha256, encoder, splits),
                "origin": dict(origin),
                "splits": {
                    name: [asdict(shard) for shard in shards] for name, shards in splits.items()
                },
            }
        ),
    )


def open_embedding_set(path: Path | str) -> EmbeddingSet:
    """Opens a finished embedding set.

    Raises:
        UserError: it is missing, unfinished, of another kind or changed by hand, or a shard is
            missing or has another size.
    """
    opened = read_embedding_manifest(path)
    if content_hash(opened.dataset_sha256, opened.encoder, opened.splits) != opened.sha256:
        raise UserError(
            f"{opened.path / MANIFEST_FILE} was changed by hand: its hash is wrong; embed anew"
        )
    for shards in opened.splits.values():
        check_present(opened.path, shards)
    return opened


def read_embedding_manifest(path: Path | str) -> EmbeddingSet:
    """What an embedding set's manifest says, unchecked: neither hash nor shards are verified.

    Raises:
        UserError: it is missing, unfinished or of another kind.
    """
    return read_manifest(path, _opened, marks=_MARKS, what="embedding set", job="embed")


def is_embedding_set(path: Path) -> bool:
    """Whether a directory's manifest says that it is an embedding set's."""
    try:
        return bool(read_json(path / MANIFEST_FILE)["kind"] == KIND)
    except (UserError, KeyError, TypeError):
        return False


def read_embeddings(
    embeddings: EmbeddingSet,
    split: str,
    number: int,
    *,
    start: int = 0,
    stop: int | None = None,
    pooled_only: bool = False,
) -> tuple[list[str], np.ndarray]:
    """The rows that go with a shard of the dataset, or some of them.

    Args:
        number: of the shard in its split.
        start, stop: rows of the shard, from the first to before the last; only the row groups they
            lie in are read.
        pooled_only: leave the token states where they are.

    Returns:
        N ids, and float16 ``[N, D]``; of a set with tokens ``[N, 1 + L, D]``, the pooled vector
        and then the token states, with zeros after a text's end.

    Raises:
        UserError: the split or the shard is not in the set, or the file cannot be read.
        IndexError: the shard has fewer rows.
    """
    shards = shards_in(embeddings, split)
    if not 0 <= number < len(shards):
        raise UserError(
            f"{embeddings.path} has {len(shards)} shards of {split}, and no number {number}; "
            "embed the dataset anew"
        )
    shard, width = shards[number], embeddings.encoder.width
    with_tokens = embeddings.has_tokens and not pooled_only
    file = embeddings.path / shard.file
    stop = shard.num_rows if stop is None else stop
    columns = schema(width, has_tokens=with_tokens).names
    table = read_part(file, start, stop, columns)
    length = embeddings.encoder.max_length if with_tokens else None
    try:
        return values_of(table, width, length)
    except ValueError as error:
        raise UserError(f"{file} is not what its manifest says: {error}; embed anew") from None


def check_embeds(embeddings: EmbeddingSet, info: DatasetInfo, *splits: str) -> None:
    """That an embedding set is of a dataset, and has some of its splits.

    Raises:
        UserError: it is another's, or lacks a split or rows of one.
    """
    if embeddings.dataset_sha256 != info.sha256:
        raise UserError(
            f"{embeddings.path} was made of another dataset than {info.path} (its hash is "
            f"{embeddings.dataset_sha256[:12]}…, not {info.sha256[:12]}…); embed this one"
        )
    for split in splits:
        ours = [shard.num_rows for shard in shards_in(embeddings, split)]
        theirs = [shard.num_rows for shard in shards_of(info, split)]
        if ours != theirs:
            raise UserError(
                f"{embeddings.path} has other rows of {split} than {info.path} ({sum(ours):,} in "
                f"{len(ours)} shards, not {sum(theirs):,} in {len(theirs)}); embed anew"
            )


def check_ids(
    embeddings: EmbeddingSet, split: str, number: int, ids: Sequence[str], due: Sequence[str]
) -> None:
    """That rows of a shard have the ids of the dataset's rows.

    Args:
        ids: as `read_embeddings` gave them.
        due: those of the dataset, of the same rows.

    Raises:
        UserError: there is another id, or another number of them.
    """
    if len(ids) == len(due):
        wrong = next((n for n, (a, b) in enumerate(zip(ids, due, strict=True)) if a != b), None)
        if wrong is None:
            return
        what = f"id {ids[wrong]!r} where the dataset has {due[wrong]!r}"
    else:
        what = f"{len(ids):,} ids where the dataset has {len(due):,}"
    file = shards_in(embeddings, split)[number].file
    raise UserError(f"{embeddings.path / file} is of other rows: {what}; embed the dataset anew")


def shards_in(embeddings: EmbeddingSet, split: str) -> tuple[Shard, ...]:
    """The shards of a split; UserError, naming the splits there are, for one that it lacks."""
    if split not in embeddings.splits:
        raise UserError(
            f"{embeddings.path} has no split {split!r}, only {', '.join(embeddings.splits)}; "
            "embed that one too"
        )
    return embeddings.splits[split]


def content_hash(
    dataset_sha256: str, encoder: EncoderId, splits: Mapping[str, Sequence[Shard]]
) -> str:
    """The identity of an embedding set: dataset, encoder but for its name, and shards."""
    return sha256_of_json(
        {
            "dataset": dataset_sha256,
            "encoder": {name: value for name, value in asdict(encoder).items() if name != "name"},
            "splits": {
                name: [[shard.file, shard.num_rows, shard.sha256] for shard in shards]
                for name, shards in splits.items()
            },
        }
    )


def _opened(path: Path, manifest: dict[str, Any]) -> EmbeddingSet:
    described = path / MANIFEST_FILE
    return EmbeddingSet(
        path=path,
        dataset_sha256=str(manifest["dataset"]["sha256"]),
        encoder=EncoderId(**manifest["encoder"]),
        splits={
            str(name): shards_from_json(entries, described)
            for name, entries in manifest["splits"].items()
        },
        sha256=str(manifest["content_sha256"]),
        has_tokens=bool(manifest["has_tokens"]),
        num_cut=int(manifest["num_cut"]),
    )
