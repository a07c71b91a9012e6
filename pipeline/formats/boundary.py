"""What `boundary` leaves in a directory: the names of its files, and their arrays."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.formats.output import write_bytes

FORMAT = 1
BOUNDARY_FILE = "boundary.json"
MAPS_PICTURE, NOISE_PICTURE, MEASURES_PICTURE = "maps.png", "noise.png", "measures.png"


def maps_file(number: int) -> str:
    """The file with the maps of the classifier with this number in the config."""
    return f"maps-{number}.npz"


def survey_file(number: int) -> str:
    """The file with what was measured of it."""
    return f"survey-{number}.npz"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name, compressed, atomically; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    # numpy's own savez stamps the entries with a fixed date, so the bytes depend on arrays alone.
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name; nothing is unpickled.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} cannot be read ({error}); remove it and run boundary again"
        ) from None
