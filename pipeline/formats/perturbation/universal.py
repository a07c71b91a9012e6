"""The one perturbation of a universal set: a file of its own beside the shards.

DIR/universal.npy   int16 ``[H, W, C]``, in levels of 1/255; numpy reads it, there is no pickle

Its SHA-256 stands in the manifest, ``attack.delta_sha256``, and so in the set's identity. Every
row's stored picture is the clean one plus it, clipped to 0 to 255.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.formats.output import write_bytes
from pipeline.formats.perturbation.distances import in_ball

DELTA_FILE = "universal.npy"
NOT_DELTA = "adversarial is not the picture plus the set's one perturbation"


def write_delta(directory: Path, delta: np.ndarray) -> tuple[str, int]:
    """Writes a perturbation, int16 ``[H, W, C]``; returns its file's SHA-256 and size in bytes."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(delta, np.dtype("<i2")), allow_pickle=False)
    content = stream.getvalue()
    write_bytes(directory / DELTA_FILE, content)
    return hashlib.sha256(content).hexdigest(), len(content)


def read_delta(directory: Path, attack: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """The perturbation of a set, int16 ``[H, W, C]``.

    Args:
        attack: as the manifest has it; with norm, eps and delta_sha256.
        shape: height, width, channels of the set's pictures.

    Raises:
        UserError: the file is missing, has another hash than the one recorded, or holds no
            perturbation of this shape inside the ball.
    """
    path = directory / DELTA_FILE
    try:
        content = path.read_bytes()
    except OSError:
        raise UserError(f"{path} is missing; copy the set whole, or make it anew") from None
    if hashlib.sha256(content).hexdigest() != attack.get("delta_sha256"):
        raise UserError(f"{path} has not the recorded SHA-256; copy the set whole, or make it anew")
    try:
        delta = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} is not numpy's ({error}); make the set anew") from None
    if not isinstance(delta, np.ndarray) or delta.dtype != np.int16 or delta.shape != shape:
        raise UserError(f"{path} is no int16 {list(shape)}; make the set anew")
    wide = delta[None].astype(np.int64)
    if not in_ball(np.zeros_like(wide), wide, str(attack["norm"]), int(attack["eps"])).all():
        raise UserError(f"{path} lies outside the ball; make the set anew")
    return delta


def with_delta(images: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """uint8 ``[N, H, W, C]`` plus the perturbation, clipped to 0 to 255."""
    return np.asarray(np.clip(images.astype(np.int16) + delta, 0, 255), np.uint8)
