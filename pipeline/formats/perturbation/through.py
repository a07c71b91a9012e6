"""Sets that were made through a purifier: what their manifests say of it."""

from collections.abc import Mapping
from typing import Any


def is_through(manifest: Mapping[str, Any]) -> bool:
    """Whether a set was made through something that answers by chance.

    Its rows are judged by the mean over some draws, so their share that stands is no accuracy.
    """
    return bool(manifest.get("model", {}).get("kind") == "through")
