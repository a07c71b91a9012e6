"""The prompts of a sample set, and what the networks were given for them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from pipeline.conditions import ConditionSpec
from pipeline.errors import UserError
from pipeline.formats.perturbation.rows import Tally
from pipeline.formats.sample_set import (
    MANIFEST_FILE,
    condition_hashes,
    iterate_samples,
    read_sample_manifest,
)
from pipeline.sampling.prompt_reader import PromptReader, open_prompt_reader
from pipeline.sampling.prompts import PromptsInTurn
from pipeline.verification.faults import Faults

_ENCODED_AT_ONCE = 64  # prompts; the states of one have up to a few MB
WRONG_HASH = "condition_sha256 is not that of its caption"


class PromptClaims:
    """Captions by the manifest's rule, where it states one; a hash for each, equal for equal ones.

    Args:
        origin: the manifest's, of a set of a model that takes sentences.
    """

    columns = ("sample_index", "label", "caption", "condition_sha256")

    def __init__(self, origin: Mapping[str, Any]) -> None:
        prompts = origin["prompts"].get("prompts")
        self._plan = PromptsInTurn(tuple(map(str, prompts))) if prompts else None

    def of_rows(self, table: pa.Table) -> tuple[dict[str, np.ndarray], Tally]:
        caption, hashes = table.column("caption"), table.column("condition_sha256")
        wrong = {
            "label of a sample that has none": table.column("label").to_numpy() != -1,
            "condition_sha256 is no SHA-256": ~_true(
                pc.match_substring_regex(hashes, "^[0-9a-f]{64}$")
            ),
            "condition_sha256 differs from that of an equal caption": _differs(caption, hashes),
        }
        if self._plan is not None and len(table):
            turns = table.column("sample_index").to_numpy() % self._plan.num_rows
            due = pa.array(self._plan.prompts, pa.string()).take(pa.array(turns))
            wrong["caption is not what the manifest's rule gives it"] = _true(
                pc.not_equal(caption, due)
            )
        return wrong, {}

    def of_set(self, tallies: list[Tally], faults: Faults) -> None:
        """Nothing is counted."""


def open_conditions_of(path: Path, text_encoder: str) -> PromptReader:
    """The encoder that a sample set's prompts were read with.

    Raises:
        UserError: the set has no prompts, or the encoder is another or not at hand.
    """
    condition = read_sample_manifest(path).origin.get("condition")
    if condition is None:
        raise UserError(f"{path} was not drawn on sentences; leave out --text-encoder")
    try:
        spec = TypeAdapter(ConditionSpec).validate_python(condition)
    except ValidationError:
        raise UserError(f"{path / MANIFEST_FILE} does not say what its prompts became") from None
    return open_prompt_reader(spec, text_encoder)


def condition_faults(
    path: Path, reader: PromptReader, on_rows: Callable[[int], object] = lambda rows: None
) -> list[str]:
    """A line for each row whose hash is not that of what its caption becomes, encoded again.

    Args:
        path: of a sample set.
        reader: from `open_conditions_of`.
        on_rows: called with the number of rows of each shard when it is done.

    Raises:
        UserError: a shard cannot be read.
    """
    samples, lines = read_sample_manifest(path), []
    shards = iterate_samples(samples, ["caption", "condition_sha256"])
    for shard, table in zip(samples.shards, shards, strict=True):
        captions = table.column("caption").to_pylist()
        stated = table.column("condition_sha256").to_pylist()
        distinct = list(dict.fromkeys(captions))
        due: dict[str, str] = {}
        for start in range(0, len(distinct), _ENCODED_AT_ONCE):
            some = distinct[start : start + _ENCODED_AT_ONCE]
            due |= zip(some, condition_hashes(reader.conditions(some)), strict=True)
        for row, (caption, hash_) in enumerate(zip(captions, stated, strict=True)):
            if due[caption] != hash_:
                lines.append(f"{shard.file}: row {row}: {WRONG_HASH}")
        on_rows(shard.num_rows)
    return lines


def _differs(captions: pa.ChunkedArray, hashes: pa.ChunkedArray) -> np.ndarray:
    """Rows whose hash is not that of the first row with the same caption, bool ``[N]``."""
    codes = captions.combine_chunks().dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    texts = hashes.combine_chunks()
    return _true(pc.not_equal(texts, texts.take(pa.array(first[codes]))))


def _true(mask: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A mask of Arrow's without nulls, bool ``[N]``."""
    return np.array(mask.to_pylist(), bool)
