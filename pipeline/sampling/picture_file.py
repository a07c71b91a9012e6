"""A person's picture from the bytes of a file: at the size and in the colours that it is needed."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.errors import UserError
from pipeline.sources.decode import open_image


def file_bytes(path: Path) -> bytes:
    """What a file holds.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path") from None


def rgba_of(data: bytes, name: str, shape: tuple[int, int, int], whose: str) -> np.ndarray:
    """The picture with its transparency, uint8 ``[H, W, 4]``.

    Args:
        data: of a file that Pillow reads.
        name: how messages begin.
        shape: height, width and channels that are needed.
        whose: who needs them, such as "the model draws".

    Raises:
        UserError: it is no picture, or has another size.
    """
    image = open_image(data, name)
    if (image.height, image.width) != shape[:2]:
        raise UserError(
            f"{name} is {image.height}x{image.width}, and {whose} "
            f"{shape[0]}x{shape[1]} (height x width); resize it"
        )
    return np.asarray(image.convert("RGBA"))


def on_white(
    rgba: np.ndarray, name: str, channels: int, whose: str, known: np.ndarray | None = None
) -> np.ndarray:
    """The picture without its transparency, composed on white, uint8 ``[H, W, C]``.

    Args:
        rgba: of `rgba_of`.
        name, whose: as there.
        channels: 1 for grey, 3 for RGB; a grey picture serves as either.
        known: bool ``[H, W]``, the pixels that count, the others being 0; None for all.

    Raises:
        UserError: it has colours and should be grey.
    """
    height, width, _ = rgba.shape
    white = Image.new("RGBA", (width, height), "white")
    image = np.asarray(Image.alpha_composite(white, Image.fromarray(rgba, "RGBA")))[:, :, :3]
    if known is not None:
        image = np.where(known[:, :, None], image, 0).astype(np.uint8)
    if channels == 1 and (image != image[:, :, :1]).any():
        raise UserError(f"{name} has colours, and {whose} grey pictures")
    return np.ascontiguousarray(image[:, :, :channels])


def picture_of(data: bytes, name: str, shape: tuple[int, int, int], whose: str) -> np.ndarray:
    """`rgba_of`, then `on_white`: uint8 ``[H, W, C]``; arguments and errors as there."""
    return on_white(rgba_of(data, name, shape, whose), name, shape[2], whose)
