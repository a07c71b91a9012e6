"""The files that a manifest lists, in one form for datasets and sets of all kinds.

Contradictions within a manifest are noted as its faults.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats import embedding_rows, embedding_set, quarantine, sample_set
from pipeline.formats.certificate import set as certificate_set
from pipeline.formats.dataset import (
    DATASET_FILE,
    content_holds,
    dataset_table,
    read_dataset_info,
)
from pipeline.formats.output import read_json, sha256_of_file
from pipeline.formats.perturbation import set as perturbation_set
from pipeline.formats.seal import seal_holds
from pipeline.formats.shard import Shard
from pipeline.sampling.picture_vectors import VECTORS
from pipeline.verification.certificate_claims import CertificateClaims
from pipeline.verification.claims import Claims, PerturbationClaims, SampleClaims
from pipeline.verification.embedding_check import EmbeddingClaims
from pipeline.verification.faults import Faults
from pipeline.verification.inpainting_claims import with_known_pixels
from pipeline.verification.prompt_claims import PromptClaims
from pipeline.verification.vector_claims import VectorClaims

MANIFEST_FILE = sample_set.MANIFEST_FILE


@dataclass(frozen=True)
class RowRules:
    """Rules for the rows of a file.

    Attributes:
        schema: names and types of the columns.
        optional: those that may be absent.
        labels: the lowest label and the first above the highest; None where there are none.
        number: the column that numbers the rows, ascending; None where there is none.
        seed: of a sample set, whose ids are "seed-number"; None for other sets.
        claims: further checks of the rows, or None.
    """

    schema: pa.Schema
    labels: tuple[int, int] | None
    number: str | None
    seed: int | None = None
    optional: tuple[str, ...] = ()
    claims: Claims | None = None


@dataclass(frozen=True)
class Listing:
    """The content of a manifest.

    Attributes:
        kind: "dataset", "sample set", "perturbation set", "certificate set" or "embedding set".
        manifest: the file's name.
        shards, quarantine: the files, in order.
        rows: rules for the rows of the shards.
        numbers: the range of row numbers, end exclusive; each number must be in one row of the
            shards or the quarantine. None if rows are not numbered.
    """

    kind: str
    manifest: str
    shards: tuple[Shard, ...]
    quarantine: tuple[Shard, ...]
    rows: RowRules
    numbers: tuple[int, int] | None


QUARANTINE_ROWS = RowRules(quarantine.SCHEMA, None, "row")


def read_listing(directory: Path, faults: Faults) -> Listing | None:
    """The listing of the set in a directory.

    None when there is no manifest, or none that says enough; the latter is a fault.
    """
    for name, kind in ((DATASET_FILE, "dataset"), (MANIFEST_FILE, None)):
        if (directory / name).is_file():
            try:
                stored = read_json(directory / name)
                kind = kind or stored.get("kind")
                if kind not in _READERS:
                    raise UserError(f"its kind is {kind!r}, which is none of ours")
                if not seal_holds(stored):
                    faults.add(
                        "a changed manifest", name, "was changed by hand: its seal is broken"
                    )
                return _READERS[kind](directory, stored, faults)
            except (UserError, AttributeError, KeyError, TypeError, ValueError) as error:
                faults.add("a manifest that cannot be used", name, str(error))
                return None
    return None


def _dataset(directory: Path, stored: dict[str, Any], faults: Faults) -> Listing:
    info = read_dataset_info(directory)
    if not content_holds(info):
        _content_differs(faults, DATASET_FILE)
    shards = tuple(shard for shards in info.splits.values() for shard in shards)
    for split, listed in info.splits.items():
        _compare(faults, DATASET_FILE, f"rows of {split}", stored["num_rows"][split], _rows(listed))
    counts = quarantine.counts_of(shards, info.quarantine)
    for name, value in counts.items():
        _compare(faults, DATASET_FILE, f"rows {name}", stored["counts"][name], value)
    in_source = stored["origin"].get("num_rows", counts["read"])
    _compare(faults, DATASET_FILE, "rows in its source", in_source, counts["read"])
    table = dataset_table(
        [],
        np.empty((0, *info.shape), np.uint8),
        [] if info.classes else None,
        [] if info.has_captions else None,
    )
    labels = (0, len(info.classes)) if info.classes else None
    rows = RowRules(table.schema, labels, None)
    return Listing("dataset", DATASET_FILE, shards, info.quarantine, rows, None)


def _samples(directory: Path, stored: dict[str, Any], faults: Faults) -> Listing:
    samples = sample_set.read_sample_manifest(directory)
    if sample_set.content_hash(samples.shards) != samples.sha256:
        _content_differs(faults, MANIFEST_FILE)
    _compare(faults, MANIFEST_FILE, "rows", stored["num_rows"], samples.num_rows)
    asked = samples.origin.get("count", samples.num_rows)
    _compare(faults, MANIFEST_FILE, "rows asked for", asked, samples.num_rows)
    none = np.empty(0, np.int64)
    images, captions = np.empty((0, *samples.shape), np.uint8), pa.array([], pa.string())
    of_sentences, of_vectors = "condition" in samples.origin, VECTORS in samples.origin
    hashes: list[str] | None = [] if of_sentences or of_vectors else None
    table = sample_set.sample_table(0, none, none, images, None if of_vectors else captions, hashes)
    kind = VectorClaims if of_vectors else PromptClaims if of_sentences else SampleClaims
    claims: Claims = kind(samples.origin)
    rows = RowRules(
        table.schema,
        (-1, len(samples.classes)),
        "sample_index",
        int(samples.origin["seed"]),
        optional=() if of_sentences else ("caption",),
        claims=with_known_pixels(claims, directory, samples, faults),
    )
    numbers = (0, int(stored["num_rows"]))
    return Listing("sample set", MANIFEST_FILE, samples.shards, (), rows, numbers)


def _perturbations(directory: Path, stored: dict[str, Any], faults: Faults) -> Listing:
    opened = perturbation_set.read_perturbation_manifest(directory)
    if perturbation_set.content_hash(stored) != stored.get("content_sha256"):
        _content_differs(faults, MANIFEST_FILE)
    _compare_counts(opened.shards, opened.quarantine, stored, faults)
    _check_onnx(directory, stored["model"], faults)
    schema = perturbation_set.schema(tuple(int(size) for size in stored["dataset"]["shape"]))
    claims: Claims | None = None
    try:
        claims = PerturbationClaims(opened, tuple(schema.names), faults)
    except (KeyError, TypeError, ValueError) as error:
        faults.add("a manifest that cannot be used", MANIFEST_FILE, str(error))
    rows = RowRules(schema, (0, len(stored["model"]["classes"])), "row", claims=claims)
    numbers = (opened.start, opened.stop)
    return Listing(
        "perturbation set", MANIFEST_FILE, opened.shards, opened.quarantine, rows, numbers
    )


def _certificates(directory: Path, stored: dict[str, Any], faults: Faults) -> Listing:
    opened = certificate_set.read_certificate_manifest(directory)
    if certificate_set.content_hash(stored) != stored.get("content_sha256"):
        _content_differs(faults, MANIFEST_FILE)
    _compare_counts(opened.shards, opened.quarantine, stored, faults)
    schema = certificate_set.schema(len(opened.classes))
    claims: Claims | None = None
    try:
        claims = CertificateClaims(opened, tuple(schema.names))
    except (UserError, KeyError, TypeError, ValueError) as error:
        faults.add("a manifest that cannot be used", MANIFEST_FILE, str(error))
    rows = RowRules(schema, (0, len(opened.classes)), "row", claims=claims)
    numbers = (opened.start, opened.stop)
    return Listing(
        "certificate set", MANIFEST_FILE, opened.shards, opened.quarantine, rows, numbers
    )


def _embeddings(directory: Path, stored: dict[str, Any], faults: Faults) -> Listing:
    opened = embedding_set.read_embedding_manifest(directory)
    content = embedding_set.content_hash(opened.dataset_sha256, opened.encoder, opened.splits)
    if content != opened.sha256:
        _content_differs(faults, MANIFEST_FILE)
    for split, listed in opened.splits.items():
        _compare(
            faults, MANIFEST_FILE, f"rows of {split}", stored["num_rows"][split], _rows(listed)
        )
    shards = tuple(shard for shards in opened.splits.values() for shard in shards)
    schema = embedding_rows.schema(opened.encoder.width, has_tokens=opened.has_tokens)
    rows = RowRules(schema, None, None, claims=EmbeddingClaims(opened))
    return Listing("embedding set", MANIFEST_FILE, shards, (), rows, None)


def _check_onnx(directory: Path, model: dict[str, Any], faults: Faults) -> None:
    """Checks the ONNX file of the classifier beside the set."""
    file = perturbation_set.CLASSIFIER_FILE
    if "onnx_sha256" not in model:
        return
    if not (directory / file).is_file():
        faults.add("a missing file", file, "is missing")
    elif sha256_of_file(directory / file) != model["onnx_sha256"]:
        faults.add("a file with another hash", file, "has not the recorded SHA-256")


_READERS: dict[str, Callable[[Path, dict[str, Any], Faults], Listing]] = {
    "dataset": _dataset,
    sample_set.KIND: _samples,
    perturbation_set.KIND: _perturbations,
    certificate_set.KIND: _certificates,
    embedding_set.KIND: _embeddings,
}


def _content_differs(faults: Faults, file: str) -> None:
    faults.add("a changed manifest", file, "was changed by hand: its content hash is wrong")


def _compare(faults: Faults, file: str, what: str, stated: Any, actual: int) -> None:
    if stated != actual:
        faults.add(
            "counts that do not add up", file, f"says {stated} {what}, and its files hold {actual}"
        )


def _compare_counts(
    shards: tuple[Shard, ...], set_aside: tuple[Shard, ...], stored: dict[str, Any], faults: Faults
) -> None:
    counts = quarantine.counts_of(shards, set_aside)
    for key, name in (("read", "read"), ("rows", "written"), ("quarantined", "quarantined")):
        _compare(faults, MANIFEST_FILE, f"rows {name}", stored["counts"][key], counts[name])


def _rows(shards: tuple[Shard, ...]) -> int:
    return sum(shard.num_rows for shard in shards)
