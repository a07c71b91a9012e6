"""Pictures between uint8 NHWC (storage) and float NCHW (the networks), and pictures for people."""

import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:  # torch takes two seconds, which those who read and write need not spend
    from torch import Tensor

# Steps between 0 and 1 of an 8-bit value.
LEVELS = 255


def to_unit(images: np.ndarray) -> "Tensor":
    """uint8 ``[N, H, W, C]`` to float32 ``[N, C, H, W]`` in [0, 1]."""
    import torch

    # always a copy: stored and streamed pictures are read-only, which torch does not know
    nchw = np.array(np.moveaxis(images, -1, 1), order="C")
    return torch.from_numpy(nchw).float() / 255


def to_signed(images: np.ndarray) -> "Tensor":
    """uint8 ``[N, H, W, C]`` to float32 ``[N, C, H, W]`` in [-1, 1]."""
    return to_unit(images) * 2 - 1


def to_chain(values: np.ndarray) -> "Tensor":
    """What the chain ends at, float32 ``[N, C, H, W]``.

    Args:
        values: pictures, uint8 ``[N, H, W, C]``, which come in [-1, 1]; or vectors, floats
            ``[N, 1, 1, D]``, which keep their values.
    """
    import torch

    if values.dtype == np.uint8:
        return to_signed(values)
    return torch.from_numpy(np.array(np.moveaxis(values, -1, 1), np.float32, order="C"))


def from_unit(x: "Tensor") -> np.ndarray:
    """Floats ``[N, C, H, W]`` in [0, 1] to uint8 ``[N, H, W, C]``: clipped, rounded to nearest."""
    import torch

    levels = (x.detach().cpu().double().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(np.moveaxis(levels.numpy(), 1, -1))


def from_signed(x: "Tensor") -> np.ndarray:
    """Floats ``[N, C, H, W]`` in [-1, 1] to uint8 ``[N, H, W, C]``: clipped, rounded to nearest."""
    return from_unit((x.double() + 1) / 2)


def to_image(image: np.ndarray) -> Image.Image:
    """uint8 ``[H, W, C]`` with C = 1 (grey) or 3 (RGB) to a Pillow picture."""
    return Image.fromarray(image[:, :, 0] if image.shape[-1] == 1 else image)


def encode_png(image: np.ndarray) -> bytes:
    """uint8 ``[H, W, C]`` to the bytes of a PNG that decodes to the same array."""
    buffer = io.BytesIO()
    to_image(image).save(buffer, format="PNG")
    return buffer.getvalue()


def grid(
    images: np.ndarray, columns: int, *, scale: int = 1, gap: int = 2, background: int = 255
) -> Image.Image:
    """A contact sheet of uint8 ``[N, H, W, C]``, row by row.

    Args:
        columns: pictures in a row.
        scale: each pixel becomes a square of this side.
        gap: pixels between pictures.
        background: grey level behind them.
    """
    num, height, width, channels = images.shape
    rows = -(-num // columns)
    cell_h, cell_w = height * scale + gap, width * scale + gap
    sheet = np.full(
        (rows * cell_h + gap, columns * cell_w + gap, channels), background, dtype=np.uint8
    )
    for i, image in enumerate(images):
        top, left = gap + (i // columns) * cell_h, gap + (i % columns) * cell_w
        enlarged = image.repeat(scale, axis=0).repeat(scale, axis=1)
        sheet[top : top + height * scale, left : left + width * scale] = enlarged
    return to_image(sheet)


def display_scale(side: int, target: int = 64) -> int:
    """The whole factor that brings a picture of this side near ``target`` pixels."""
    return max(1, round(target / side))


def picture_hashes(images: np.ndarray) -> list[str]:
    """SHA-256 of the bytes of each picture, uint8 ``[N, H, W, C]``."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
