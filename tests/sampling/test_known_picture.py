"""Pictures and masks as OpenAI's images.edit means them, and in one line what they lack."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.sampling.known_picture import (
    INPAINTING,
    KNOWN_FILE,
    InpaintingPlan,
    claimed_picture,
    known_picture,
    read_known_picture,
)

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (4, 6, 3), np.uint8)
GREY = RNG.integers(0, 256, (4, 6), np.uint8)
KNOWN = RNG.random((4, 6)) < 0.5


def png(*channels: np.ndarray, mode: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.dstack(channels).squeeze(), mode).save(buffer, format="PNG")
    return buffer.getvalue()


def alpha(known: np.ndarray) -> np.ndarray:
    return np.where(known, 255, 0).astype(np.uint8)


MASK = png(COLOURS, alpha(KNOWN), mode="RGBA")
OPAQUE = png(COLOURS, mode="RGB")


def test_transparent_pixels_of_the_picture_itself_are_to_be_drawn() -> None:
    found = known_picture(MASK, None, (4, 6, 3))
    assert np.array_equal(found.mask, KNOWN)
    assert np.array_equal(found.image, np.where(KNOWN[:, :, None], COLOURS, 0))


def test_a_mask_says_it_instead_and_only_what_is_wholly_transparent_counts() -> None:
    found = known_picture(OPAQUE, png(GREY, alpha(KNOWN), mode="LA"), (4, 6, 3))
    assert np.array_equal(found.mask, KNOWN)
    assert found.sha256 == known_picture(MASK, None, (4, 6, 3)).sha256
    faint = np.where(KNOWN, 1, 0).astype(np.uint8)
    assert np.array_equal(known_picture(OPAQUE, png(GREY, faint, mode="LA"), (4, 6, 3)).mask, KNOWN)


def test_a_grey_picture_is_drawn_around_by_a_model_of_either_kind() -> None:
    grey = png(GREY, alpha(KNOWN), mode="LA")
    assert np.array_equal(known_picture(grey, None, (4, 6, 1)).image[KNOWN, 0], GREY[KNOWN])
    in_rgb = known_picture(grey, None, (4, 6, 3)).image
    assert np.array_equal(in_rgb[KNOWN], np.repeat(GREY[KNOWN][:, None], 3, axis=1))
    rgb = png(GREY, GREY, GREY, alpha(KNOWN), mode="RGBA")  # as editors save grey pictures
    assert np.array_equal(known_picture(rgb, None, (4, 6, 1)).image[KNOWN, 0], GREY[KNOWN])


def test_the_palette_of_a_png_may_hold_the_transparency() -> None:
    image = Image.fromarray(np.where(KNOWN, 1, 0).astype(np.uint8), "P")
    image.putpalette([9, 9, 9, 50, 60, 70])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=0)
    found = known_picture(buffer.getvalue(), None, (4, 6, 3))
    assert np.array_equal(found.mask, KNOWN)
    assert (found.image[KNOWN] == (50, 60, 70)).all()


def test_what_is_hidden_under_the_mask_is_no_part_of_the_identity_and_what_is_seen_is() -> None:
    ours = known_picture(MASK, None, (4, 6, 3))
    hidden = np.where(KNOWN[:, :, None], COLOURS, 7)
    other = known_picture(png(hidden, alpha(KNOWN), mode="RGBA"), None, (4, 6, 3))
    assert other.sha256 == ours.sha256
    assert InpaintingPlan(ours, 3).origin() == {"picture_sha256": ours.sha256, "resample": 3}
    seen = np.where(KNOWN[:, :, None], 255 - COLOURS, COLOURS)
    assert (
        known_picture(png(seen, alpha(KNOWN), mode="RGBA"), None, (4, 6, 3)).sha256 != ours.sha256
    )
    turned = png(COLOURS, alpha(~KNOWN), mode="RGBA")
    assert known_picture(turned, None, (4, 6, 3)).sha256 != ours.sha256


@pytest.mark.parametrize("shape", [(4, 6, 1), (4, 6, 3)])
def test_the_file_in_a_set_reads_back_as_the_same_picture(
    shape: tuple[int, int, int], tmp_path: Path
) -> None:
    picture = MASK if shape[2] == 3 else png(GREY, alpha(KNOWN), mode="LA")
    ours = known_picture(picture, None, shape)
    (tmp_path / KNOWN_FILE).write_bytes(ours.to_png())
    origin = {INPAINTING: InpaintingPlan(ours, 1).origin()}
    found = claimed_picture(tmp_path, origin, shape)
    assert found is not None
    assert np.array_equal(found.image, ours.image)
    assert claimed_picture(tmp_path, {}, shape) is None


@pytest.mark.parametrize(
    ("picture", "mask", "shape", "message"),
    [
        (MASK, None, (4, 4, 3), "p is 4x6, and the model draws 4x4"),
        (OPAQUE, png(GREY[:2], alpha(KNOWN[:2]), mode="LA"), (4, 6, 3), "m is 2x6, and the model"),
        (OPAQUE, None, (4, 6, 3), "p has no transparent pixel; .* or give a mask"),
        (MASK, OPAQUE, (4, 6, 3), "m has no transparent pixel; make transparent what is to be"),
        (png(COLOURS, alpha(KNOWN & ~KNOWN), mode="RGBA"), None, (4, 6, 3), "p is transparent ev"),
        (MASK, None, (4, 6, 1), "p has colours, and the model draws grey pictures"),
        (b"text", None, (4, 6, 3), "p is not a picture that Pillow can read"),
        (MASK, b"text", (4, 6, 3), "m is not a picture"),
        (MASK[:60], None, (4, 6, 3), "p is damaged or cut short"),
    ],
)
def test_what_cannot_be_drawn_around_is_one_clear_line(
    picture: bytes, mask: bytes | None, shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        known_picture(picture, mask, shape, "p", "m")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.png cannot be read \(No such file"):
        read_known_picture(tmp_path / "no.png", None, (4, 6, 3))
