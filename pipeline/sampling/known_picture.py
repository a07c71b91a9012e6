"""A picture of which some pixels are known, read from files as an editor of pictures leaves them.

As OpenAI's images.edit has it: what is wholly transparent is to be drawn, in the mask if there is
one, or else in the picture itself.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import UserError
from pipeline.sampling.picture_file import file_bytes, on_white, rgba_of

KNOWN_FILE = "known.png"
"""The picture in a sample set's directory, transparent where its pixels were to be drawn."""

INPAINTING = "inpainting"

_WHOSE = "the model draws"


@dataclass(frozen=True)
class KnownPicture:
    """A picture around which others are drawn.

    Attributes:
        image: uint8 ``[H, W, C]``; 0 where a pixel is not known.
        mask: bool ``[H, W]``, true where it is.
    """

    image: np.ndarray
    mask: np.ndarray

    @cached_property
    def sha256(self) -> str:
        """Over the known pixels and where they are, whatever file they came from."""
        shape = "x".join(map(str, self.image.shape)).encode()
        return hashlib.sha256(shape + self.mask.tobytes() + self.image.tobytes()).hexdigest()

    def rows(self, num: int) -> tuple[np.ndarray, np.ndarray]:
        """The picture and the mask for each of N samples, ``[N, H, W, C]`` and ``[N, H, W]``."""
        return (
            np.broadcast_to(self.image, (num, *self.image.shape)),
            np.broadcast_to(self.mask, (num, *self.mask.shape)),
        )

    def to_png(self) -> bytes:
        """A PNG that `known_picture` reads back as this: transparent where nothing is known."""
        grey = self.image.shape[-1] == 1
        alpha = np.where(self.mask, 255, 0).astype(np.uint8)[:, :, None]
        pixels = np.concatenate((self.image, alpha), axis=-1)
        buffer = io.BytesIO()
        Image.fromarray(pixels, "LA" if grey else "RGBA").save(buffer, format="PNG")
        return buffer.getvalue()


@dataclass(frozen=True)
class InpaintingPlan:
    """What all samples of a set are drawn around.

    Attributes:
        picture: the known pixels.
        resample: how often each layer is drawn.
        moment_steps: by which each call of the denoiser is given the known pixels; 0 for none.
    """

    picture: KnownPicture
    resample: int
    moment_steps: int = 0

    def origin(self) -> dict[str, Any]:
        """What decides it, as JSON; a sample set's manifest has it under `INPAINTING`."""
        told: dict[str, Any] = {"picture_sha256": self.picture.sha256, "resample": self.resample}
        return told | ({"moment_steps": self.moment_steps} if self.moment_steps else {})


def read_known_picture(
    picture: Path, mask: Path | None, shape: tuple[int, int, int]
) -> KnownPicture:
    """`known_picture` of files.

    Raises:
        UserError: a file is not there; or as `known_picture`.
    """
    data = file_bytes(picture)
    said = None if mask is None else file_bytes(mask)
    return known_picture(data, said, shape, str(picture), str(mask))


def known_picture(
    picture: bytes,
    mask: bytes | None,
    shape: tuple[int, int, int],
    picture_name: str = "the picture",
    mask_name: str = "the mask",
) -> KnownPicture:
    """The picture to draw around, at the samples' size and in their colours.

    Pixels that are transparent in part are known: the mask's whatever their share, the picture's
    composed on white.

    Args:
        picture: the bytes of a file that Pillow reads.
        mask: the same of the mask; None where the picture's own transparency says what is to be
            drawn.
        shape: height, width and channels of the samples.
        picture_name, mask_name: how messages begin.

    Raises:
        UserError: a file that is no picture, has another size or no transparency, or is
            transparent everywhere; a picture with colours for grey samples.
    """
    rgba = rgba_of(picture, picture_name, shape, _WHOSE)
    said, name = rgba, picture_name
    if mask is not None:
        said, name = rgba_of(mask, mask_name, shape, _WHOSE), mask_name
    known = said[:, :, 3] > 0
    if known.all():
        raise UserError(
            f"{name} has no transparent pixel; make transparent what is to be drawn"
            + (", or give a mask" if mask is None else "")
        )
    if not known.any():
        raise UserError(f"{name} is transparent everywhere: nothing is known to draw around")
    return KnownPicture(on_white(rgba, picture_name, shape[2], _WHOSE, known), known)


def claimed_picture(
    directory: Path, origin: Mapping[str, Any], shape: tuple[int, int, int]
) -> KnownPicture | None:
    """The picture that a sample set's samples were drawn around; None for whole samples.

    Args:
        directory: the set's.
        origin: of its manifest.
        shape: of the samples.

    Raises:
        UserError: it is missing, damaged, or another than the manifest says.
    """
    if INPAINTING not in origin:
        return None
    found = read_known_picture(directory / KNOWN_FILE, None, shape)
    if found.sha256 != origin[INPAINTING]["picture_sha256"]:
        raise UserError(f"{KNOWN_FILE} is not the picture that the manifest names")
    return found
