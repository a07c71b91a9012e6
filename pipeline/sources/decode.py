"""Raw rows into pictures of one shape: decoding, grey or RGB, alpha on white, resizing."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import UserError
from pipeline.sources.base import RawRow
from pipeline.sources.fit import Fit, resized

_GREY = ("1", "L", "LA", "La")
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_WITHOUT_A_RANGE = ("I", "F")


@dataclass(frozen=True)
class Decoder:
    """Turns raw rows into pictures.

    Transparent pixels are composed on white, 16-bit grey is scaled to 8 bits, and the rotation in a
    camera's metadata is applied.

    Attributes:
        resize: the height and width of all pictures in pixels; None keeps each picture's own.
        channels: 1 for grey (ITU-R 601-2 luma), 3 for RGB; None keeps each picture's own.
        fit: how a picture of other proportions is resized (see `fit.resized`).
        fill: the level, 0 to 255, that pad puts around a picture.
    """

    resize: tuple[int, int] | None = None
    channels: int | None = None
    fit: Fit = "crop"
    fill: int = 0

    def decode(self, row: RawRow) -> NDArray[np.uint8]:
        """The picture of a row, uint8 [H, W, C].

        Raises:
            UserError: it is truncated, or no picture that Pillow can read.
        """
        return self._decode(row)[0]

    def decode_as(
        self, row: RawRow, shape: tuple[int, int, int], first: str
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """The picture of a row, uint8 [H, W, C], and its height and width before it was resized.

        Args:
            first: the origin of a picture of that shape, for messages.

        Raises:
            UserError: as `decode` does, and for another shape.
        """
        image, size = self._decode(row)
        if image.shape != shape:
            raise UserError(
                f"the pictures differ in shape: {row.origin} is {_times(image.shape)} and "
                f"{first} is {_times(shape)} (height x width x channels); "
                f"give {_remedy(image.shape, shape)}"
            )
        return image, size

    def _decode(self, row: RawRow) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        if isinstance(row.image, bytes):
            image = open_image(row.image, row.origin)
            return self._finish(image), (image.height, image.width)
        height, width, channels = row.image.shape
        if self.resize in (None, (height, width)) and self.channels in (None, channels):
            return row.image, (height, width)
        image = Image.fromarray(row.image[:, :, 0] if channels == 1 else row.image)
        return self._finish(image), (height, width)

    def _finish(self, image: Image.Image) -> NDArray[np.uint8]:
        grey = image.mode in _GREY
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image).convert("RGB")
        channels = self.channels or (1 if grey else 3)
        image = image.convert("L" if channels == 1 else "RGB")
        if self.resize is not None:
            image = resized(image, *self.resize, self.fit, self.fill)
        return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)


def open_image(data: bytes, origin: str) -> Image.Image:
    """A file that Pillow reads, turned as its camera says, 16-bit grey scaled to 8 bits.

    Args:
        origin: what messages call it.

    Raises:
        UserError: it is truncated or damaged, unpacks to too much, or is no picture.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data))
            image.load()
        image = ImageOps.exif_transpose(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(
            f"{origin} would unpack to more than {Image.MAX_IMAGE_PIXELS:,} pixels, Pillow's limit "
            "against decompression bombs; make it smaller, or remove it"
        ) from None
    except UnidentifiedImageError:
        raise UserError(
            f"{origin} is not a picture that Pillow can read; remove or replace it"
        ) from None
    except MemoryError:  # this machine's fault, and perhaps not another's
        raise
    except Exception as error:  # on damaged bytes Pillow's plugins raise whatever comes up
        raise UserError(f"{origin} is damaged or cut short ({error}); replace it") from None
    if image.mode in _SIXTEEN_BITS:
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in _WITHOUT_A_RANGE:
        raise UserError(
            f"{origin} has pixels of mode {image.mode}, whose range is not known; "
            "convert it to 8 or 16 bits"
        )
    return image


def _remedy(shape: Sequence[int], wanted: Sequence[int]) -> str:
    resize = f"--resize {wanted[0]},{wanted[1]}" if shape[:2] != wanted[:2] else ""
    channels = f"--channels {wanted[2]}" if shape[2] != wanted[2] else ""
    return " ".join(part for part in (resize, channels) if part)


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
