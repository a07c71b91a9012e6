"""Pictures between storage, networks and people."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.pictures import (
    display_scale,
    encode_png,
    from_signed,
    from_unit,
    grid,
    to_signed,
    to_unit,
)

LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


def test_every_level_survives_the_way_to_the_networks_and_back() -> None:
    assert np.array_equal(from_unit(to_unit(LEVELS)), LEVELS)
    assert np.array_equal(from_signed(to_signed(LEVELS)), LEVELS)


def test_black_and_white_are_the_ends_of_the_range() -> None:
    assert (to_unit(LEVELS).min(), to_unit(LEVELS).max()) == (0, 1)
    assert (to_signed(LEVELS).min(), to_signed(LEVELS).max()) == (-1, 1)


def test_channels_move_and_values_stay() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 3), dtype=np.uint8)
    x = to_signed(images)
    assert x.shape == (2, 3, 3, 5)
    assert x.dtype == torch.float32
    assert float(x[1, 2, 0, 4]) == pytest.approx(images[1, 0, 4, 2] / 127.5 - 1)
    assert np.array_equal(from_signed(x), images)


def test_read_only_pictures_are_copied() -> None:
    stored = LEVELS.copy()
    stored.setflags(write=False)
    x = to_unit(stored)
    x += 1
    assert stored[0, 0, 0, 0] == 0


def test_values_outside_the_range_are_clipped_and_others_rounded_to_the_nearest_level() -> None:
    x = torch.tensor([-0.2, 0.4 / 255, 0.6 / 255, 1.7]).reshape(1, 1, 2, 2)
    assert from_unit(x).ravel().tolist() == [0, 0, 1, 255]
    assert from_signed(torch.tensor([[[[-9.0, 9.0, 1e-9]]]])).ravel().tolist() == [0, 255, 128]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_decodes_to_the_same_picture(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 6, channels), dtype=np.uint8)
    decoded = np.asarray(Image.open(io.BytesIO(encode_png(image))))
    assert np.array_equal(decoded.reshape(image.shape), image)


def test_a_grid_lays_pictures_row_by_row() -> None:
    images = np.stack([np.full((2, 3, 1), 10 * i, np.uint8) for i in range(5)])
    sheet = np.asarray(grid(images, 3, scale=2, gap=1, background=255))
    assert sheet.shape == (2 * 5 + 1, 3 * 7 + 1)
    for i in range(5):
        top, left = 1 + 5 * (i // 3), 1 + 7 * (i % 3)
        assert (sheet[top : top + 4, left : left + 6] == 10 * i).all()
    assert (sheet[0] == 255).all()
    assert (sheet[6:, 15:] == 255).all()


@pytest.mark.parametrize(("side", "scale"), [(8, 8), (28, 2), (64, 1), (512, 1)])
def test_small_pictures_are_enlarged_for_display(side: int, scale: int) -> None:
    assert display_scale(side) == scale
