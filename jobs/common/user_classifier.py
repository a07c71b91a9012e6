"""How a config names a classifier, which may be a person's own."""

from pathlib import Path
from typing import Any

from noisestack.paths import as_path
from pipeline.importable import is_importable

CLASSIFIER = (
    "directory of a classifier, as train-classifier or transformers write it; or module:function, "
    "which returns a torch module from [N, C, H, W] in [0, 1] to logits"
)
WEIGHTS = "safetensors file for a classifier that is module:function; none where it loads its own"
ROWS_PER_CALL = "pictures a call of a classifier that is not Noisestack's; none for 64"


def classifier_spec(value: Any) -> Any:
    """A classifier as it is given, its path made absolute; for use as a validator."""
    if isinstance(value, Path) or (isinstance(value, str) and not is_importable(value)):
        return str(as_path(value))
    return value
