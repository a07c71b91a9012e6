"""What the manifests of sets over a dataset's rows have in common."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import UserError
from pipeline.formats.output import read_json, sha256_of_json, write_json
from pipeline.formats.seal import sealed

MANIFEST_FILE = "manifest.json"
Opened = TypeVar("Opened")


def hash_with_rows(parts: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """A hash over parts of a manifest and all rows.

    The rows that were set aside count too: without them the set would claim to cover rows that it
    does not hold.
    """
    rows = {
        name: [[shard[key] for key in ("file", "num_rows", "sha256")] for shard in manifest[name]]
        for name in ("shards", "quarantine")
    }
    return sha256_of_json({**parts, **rows})


def write_manifest(
    path: Path, manifest: Mapping[str, Any], content_hash: Callable[[dict[str, Any]], str]
) -> None:
    """Writes ``manifest.json`` with its content hash, which completes a set."""
    stated = dict(manifest)
    stated["content_sha256"] = content_hash(stated)
    write_json(path / MANIFEST_FILE, sealed(stated))


def read_manifest(
    path: Path | str,
    opened: Callable[[Path, dict[str, Any]], Opened],
    *,
    marks: Mapping[str, Any],
    what: str,
    job: str,
) -> Opened:
    """What a set's manifest says, unchecked: neither hash nor shards are verified.

    Args:
        path: the set's directory.
        opened: builds the result from the absolute path and the manifest.
        marks: the keys by which such a manifest is known: format and kind.
        what: the kind of set, for messages.
        job: the command that makes it, for messages.

    Raises:
        UserError: the set is missing or unfinished, or is of another kind.
    """
    path = Path(path).absolute()
    if not (path / MANIFEST_FILE).is_file():
        raise UserError(
            f"{path} holds no finished {what} (there is no {MANIFEST_FILE}); "
            f"give the same `{job}` command again to finish it"
        )
    manifest = read_json(path / MANIFEST_FILE)
    try:
        if any(manifest[key] != value for key, value in marks.items()):
            raise KeyError("format")
        return opened(path, manifest)
    except (KeyError, TypeError, ValueError) as error:
        article = "an" if what[0] in "aeiou" else "a"
        raise UserError(
            f"{path / MANIFEST_FILE} is not {article} {what}'s ({error!r}); make it anew"
        ) from None
