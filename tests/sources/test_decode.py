"""Decoding: each mode to exact levels; what is no picture, or of another shape, is named."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UserError
from pipeline.sources.base import RawRow
from pipeline.sources.decode import Decoder


def row(image: NDArray[np.uint8] | bytes, origin: str = "a.png") -> RawRow:
    return RawRow(origin, image, 0, None, None, origin)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def levels(image: Image.Image, decoder: Decoder | None = None, **options: Any) -> list[int]:
    decoded = (decoder or Decoder()).decode(row(encoded(image, **options)))
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3
    return [int(level) for level in decoded[0, 0]]


def test_a_png_comes_back_as_it_was() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (5, 4), np.uint8)
    colour = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    for array in (grey, colour):
        decoded = Decoder().decode(row(encoded(Image.fromarray(array))))
        assert np.array_equal(decoded, array.reshape(5, 4, -1))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, [255]),
        ("L", 77, [77]),
        ("RGB", (1, 2, 3), [1, 2, 3]),
        ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
        ("RGBA", (10, 20, 30, 0), [255, 255, 255]),
        ("LA", (100, 255), [100]),
        ("LA", (100, 0), [255]),
        ("P", 0, [0, 0, 0]),
        ("I;16", 65535, [255]),
        ("I;16", 257 * 100, [100]),
    ],
)
def test_each_mode_gives_its_levels(
    mode: str, colour: int | tuple[int, ...], expected: list[int]
) -> None:
    assert levels(Image.new(mode, (2, 2), colour)) == expected


def test_half_transparent_black_on_white_is_mid_grey() -> None:
    assert levels(Image.new("RGBA", (2, 2), (0, 0, 0, 128)))[0] in (126, 127)


def test_a_transparent_palette_colour_becomes_white() -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    assert levels(image) == [200, 0, 0]
    assert levels(image, transparency=1) == [255, 255, 255]


def test_channels_are_made_as_asked() -> None:
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    assert levels(red, Decoder(channels=1)) == [76]  # 0.299 of 255, ITU-R 601-2
    assert levels(Image.new("L", (2, 2), 9), Decoder(channels=3)) == [9, 9, 9]


def test_the_rotation_that_a_camera_noted_is_applied() -> None:
    image = Image.new("RGB", (6, 2))
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: to be turned by a quarter
    decoded = Decoder().decode(row(encoded(image, "JPEG", exif=exif)))
    assert decoded.shape == (6, 2, 3)


def test_resizing_gives_the_asked_height_and_width() -> None:
    flat = Image.new("L", (9, 5), 50)
    decoded = Decoder(resize=(4, 2)).decode(row(encoded(flat)))
    assert decoded.shape == (4, 2, 1)
    assert (decoded == 50).all()
    array = np.full((8, 8, 1), 50, np.uint8)
    assert Decoder(resize=(16, 16)).decode(row(array)).shape == (16, 16, 1)
    assert Decoder(resize=(16, 16), channels=3).decode(row(array)).shape == (16, 16, 3)


def test_other_proportions_are_cropped_unless_another_fit_is_asked_for() -> None:
    bars = Image.new("L", (40, 20), 0)
    bars.paste(200, (5, 0, 35, 20))  # the largest centred square, and what the filter sees of it
    for asked, corner in ((Decoder((10, 10)), 200), (Decoder((10, 10), fit="stretch"), 0)):
        decoded = asked.decode(row(encoded(bars)))
        assert decoded.shape == (10, 10, 1)
        assert decoded[0, 0, 0] == corner
    padded = Decoder((10, 10), 3, "pad", 255).decode(row(encoded(bars)))
    assert padded[0, 0].tolist() == [255] * 3
    assert padded[5, 5].tolist() == [200] * 3


def test_shrinking_averages_and_does_not_pick_pixels() -> None:
    checkers = np.indices((32, 32)).sum(0) % 2 * 255
    decoded = Decoder(resize=(4, 4)).decode(row(checkers.astype(np.uint8)[..., None]))
    assert (np.abs(decoded[1:3, 1:3].astype(int) - 127) <= 2).all()


def test_an_array_of_the_asked_form_is_not_touched() -> None:
    array = np.zeros((8, 8, 1), np.uint8)
    assert Decoder(resize=(8, 8), channels=1).decode(row(array)) is array


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_named(content: bytes) -> None:
    with pytest.raises(UserError, match=r"holiday\.png is"):
        Decoder().decode(row(content, "holiday.png"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
def test_a_truncated_picture_is_named(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    with pytest.raises(UserError, match=r"holiday\.png is damaged or cut short"):
        Decoder().decode(row(content[: len(content) // 2], "holiday.png"))


@pytest.mark.parametrize("limit", [100, 50])  # where Pillow warns, and where it refuses
def test_a_decompression_bomb_is_called_one(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("L", (11, 10)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 110)
    assert Decoder().decode(row(content)).shape == (10, 11, 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    told = rf"holiday\.png would unpack to more than {limit} pixels, .* decompression bombs; make"
    with pytest.raises(UserError, match=told):
        Decoder().decode(row(content, "holiday.png"))


def test_pixels_without_a_known_range_are_refused() -> None:
    with pytest.raises(UserError, match="mode F"):
        Decoder().decode(row(encoded(Image.new("F", (2, 2)), "TIFF")))


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((2, 3, 1), r"c is 2x3x1 and a is 4x3x1 .*; give --resize 4,3$"),
        ((4, 3, 3), r"give --channels 1$"),
        ((4, 4, 3), r"give --resize 4,3 --channels 1$"),
    ],
)
def test_a_picture_of_another_shape_is_named_with_the_remedy(
    shape: tuple[int, int, int], told: str
) -> None:
    picture = row(np.zeros(shape, np.uint8), "c")
    with pytest.raises(UserError, match=told):
        Decoder().decode_as(picture, (4, 3, 1), "a")
    image, size = Decoder((4, 3), 1).decode_as(picture, (4, 3, 1), "a")
    assert image.shape == (4, 3, 1)
    assert size == shape[:2]


def test_whatever_pillow_raises_at_damaged_bytes_becomes_one_line() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    rng = np.random.default_rng(1)
    told = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "TGA"):
        whole = encoded(Image.fromarray(noise), kind)
        for _ in range(40):
            content = bytearray(whole)
            for place in rng.integers(0, min(len(content), 300), 6):
                content[place] = rng.integers(256)
            try:
                assert Decoder().decode(row(bytes(content), "holiday")).ndim == 3
            except UserError as error:
                told.append(str(error))
    assert len(told) > 50
    assert [line for line in told if not line.startswith("holiday ")] == []
