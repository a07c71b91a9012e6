"""A hash over a whole manifest, stored in it, which shows any edit by hand."""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.output import sha256_of_json

SEAL = "manifest_sha256"


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with its seal as last key."""
    return {**manifest, SEAL: sha256_of_json(manifest)}


def seal_holds(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest that was read back has the seal of its own content."""
    rest = {key: value for key, value in manifest.items() if key != SEAL}
    return bool(manifest.get(SEAL) == sha256_of_json(rest))
