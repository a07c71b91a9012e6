"""Turns a sampled picture into the file of an answer: its size, resampling and format."""

import io
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from pipeline.pictures import to_image

Resampling = Literal["none", "nearest", "lanczos"]
FileFormat = Literal["png", "jpeg", "webp"]

MAX_SIDE = 2048
"""Pixels: the largest side that a picture is enlarged to."""

MAX_PIXELS = 64 << 20
"""Pixels of all pictures of a request together: 64 of 1024 a side."""


class SizeError(ValueError):
    """A size that the model's pictures cannot have; the message names one that they can have."""


@dataclass(frozen=True)
class Rendering:
    """How a sampled picture becomes a file.

    Attributes:
        width, height: pixels.
        resampling: "none" for the model's own size; "nearest" for a whole multiple of it, where
            each pixel becomes a square; "lanczos" for all others.
        quality: 0 to 100, of jpeg and webp; webp is lossless at 100.
    """

    width: int
    height: int
    resampling: Resampling
    file_format: FileFormat
    quality: int

    @property
    def size(self) -> str:
        """``WIDTHxHEIGHT``, as in the API."""
        return f"{self.width}x{self.height}"

    @property
    def media_type(self) -> str:
        """The file's MIME type."""
        return f"image/{self.file_format}"

    def resized(self, image: np.ndarray) -> Image.Image:
        """uint8 ``[H, W, C]`` to a Pillow picture of ``width`` and ``height``."""
        if self.resampling == "lanczos":
            wanted = (self.width, self.height)
            return to_image(image).resize(wanted, Image.Resampling.LANCZOS)
        scale = self.height // image.shape[0]
        return to_image(image.repeat(scale, axis=0).repeat(scale, axis=1))

    def encode(self, image: np.ndarray) -> bytes:
        """uint8 ``[H, W, C]`` to the bytes of the file."""
        buffer, picture = io.BytesIO(), self.resized(image)
        match self.file_format:
            case "png":
                picture.save(buffer, format="PNG")
            case "jpeg":
                # Pillow takes 0 for "unset"; colours at half the resolution would ruin small ones.
                picture.save(buffer, format="JPEG", quality=max(1, self.quality), subsampling=0)
            case "webp":
                lossless = self.quality == 100
                picture.save(buffer, format="WEBP", quality=self.quality, lossless=lossless)
        return buffer.getvalue()


def parse_size(text: str, own: tuple[int, int]) -> tuple[int, int, Resampling]:
    """The width and height of a request's ``size``, and how pictures are resampled to it.

    Pictures keep their proportions: one factor must give both sides, up to rounding to whole
    pixels.

    Args:
        text: ``auto`` or ``WIDTHxHEIGHT``.
        own: width and height of the model's pictures.

    Raises:
        SizeError: not ``WIDTHxHEIGHT``, too large, or of other proportions; names a close size.
    """
    width, height = own
    if text in ("auto", f"{width}x{height}"):
        return width, height, "none"
    this = f"size {text[:20]!r}: this model's pictures are {width}x{height}"
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if not match:
        example = f"{2 * width}x{2 * height}"
        raise SizeError(f"{this}; send 'auto' or WIDTHxHEIGHT, such as '{example}'")
    wide, high = int(match[1]), int(match[2])
    largest = _within(MAX_SIDE, MAX_SIDE, own)
    if max(wide, high) > MAX_SIDE:
        raise SizeError(f"{this}, and may be enlarged to {MAX_SIDE} a side: to '{largest}'")
    # |wide - s width| <= 1/2 and |high - s height| <= 1/2 for one s
    if 2 * abs(wide * height - high * width) > width + height:
        near = _within(wide, high, own)
        raise SizeError(f"{this}, and {wide}x{high} would stretch them; the nearest is '{near}'")
    scale, rest = divmod(wide, width)
    whole = rest == 0 and high == scale * height
    return wide, high, "nearest" if whole else "lanczos"


def _within(wide: int, high: int, own: tuple[int, int]) -> str:
    """The largest size with the pictures' proportions within a width and a height, as text."""
    width, height = own
    scale = min(wide / width, high / height)
    return f"{max(1, round(scale * width))}x{max(1, round(scale * height))}"
