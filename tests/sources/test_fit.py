"""Resizing: circles stay circles unless stretched; what was cut or filled is counted exactly."""

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.sources.fit import Fit, FitCounts, resized


def disc(height: int, width: int, radius: float) -> Image.Image:
    """A white disc in the middle of black."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 <= radius**2
    return Image.fromarray(np.where(inside, 255, 0).astype(np.uint8))


def spread(image: Image.Image) -> tuple[float, float]:
    """The standard deviation of the white along height and width, in pixels."""
    ink: NDArray[np.float64] = np.asarray(image, float) / np.asarray(image, float).sum()
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]]

    def deviation(place: NDArray[np.int64]) -> float:
        mean = (ink * place).sum()
        return float(np.sqrt((ink * (place - mean) ** 2).sum()))

    return deviation(y), deviation(x)


@pytest.mark.parametrize("size", [(120, 240), (240, 120)])
@pytest.mark.parametrize(("fit", "scale"), [("crop", 60 / 120), ("pad", 60 / 240)])
def test_a_circle_stays_a_circle_of_the_scaled_radius(
    size: tuple[int, int], fit: Fit, scale: float
) -> None:
    image = resized(disc(*size, radius=50), 60, 60, fit, 0)
    # The deviation of a disc's ink along an axis is half of its radius.
    assert spread(image) == pytest.approx((50 * scale / 2,) * 2, rel=0.01)


def test_stretch_makes_an_ellipse() -> None:
    tall, wide = spread(resized(disc(120, 240, 50), 60, 60, "stretch", 0))
    assert tall / wide == pytest.approx(2, rel=0.02)


def test_crop_takes_the_largest_centred_part_of_the_targets_proportions() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 50, 3), np.uint8)
    image = Image.fromarray(pixels)
    assert np.array_equal(resized(image, 20, 30, "crop", 0), pixels[:, 10:40])
    assert np.array_equal(resized(image, 10, 50, "crop", 0), pixels[5:15])


def test_pad_keeps_every_pixel_and_fills_the_rest() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 50, 3), np.uint8)
    framed = np.asarray(resized(Image.fromarray(pixels), 50, 50, "pad", 7))
    assert np.array_equal(framed[15:35], pixels)
    assert (framed[:15] == 7).all()
    assert (framed[35:] == 7).all()


@pytest.mark.parametrize("fit", get_args(Fit))
@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
@pytest.mark.parametrize("target", [(32, 32), (1, 16), (16, 1)])
def test_the_longest_pictures_come_to_the_asked_size(
    fit: Fit, size: tuple[int, int], target: tuple[int, int]
) -> None:
    image = resized(Image.new("L", size[::-1], 50), *target, fit, 50)
    assert image.size == target[::-1]
    assert np.asarray(image).min() == np.asarray(image).max() == 50


@pytest.mark.parametrize("fit", get_args(Fit))
def test_equal_proportions_lose_nothing_and_no_fit_differs(fit: Fit) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8))
    assert np.array_equal(resized(image, 20, 30, fit, 9), resized(image, 20, 30, "stretch", 0))
    assert FitCounts.of([(40, 60)] * 3, (20, 30)).words((20, 30), fit, 0) == (
        "3 pictures from 40x60 to 20x30 (height x width), their proportions kept"
    )


SIZES = [(480, 640)] * 6 + [(640, 480)] * 3 + [(100, 100)]


@pytest.mark.parametrize(
    ("fit", "told"),
    [
        (
            "crop",
            "the sides of 6 and the top and bottom of 3 cropped, 25.0 % of each "
            "(--fit pad keeps all)",
        ),
        ("pad", "the top and bottom of 6 and the sides of 3 filled with level 9, 25.0 % of each"),
        (
            "stretch",
            "the height stretched of 6 and the width stretched of 3, up to 1.33 times "
            "(--fit crop or pad keeps circles round)",
        ),
    ],
)
def test_a_person_is_told_what_became_of_differing_shapes(fit: Fit, told: str) -> None:
    assert FitCounts.of(SIZES, (32, 32)).words((32, 32), fit, 9) == (
        "10 pictures of 3 shapes (480x640: 6, 640x480: 3, 100x100: 1) to 32x32 (height x width): "
        + told
    )


def test_one_shape_is_told_shortly_and_unequal_shares_by_mean_and_most() -> None:
    assert FitCounts.of([(480, 640)] * 5, (32, 32)).words((32, 32), "crop", 0) == (
        "5 pictures from 480x640 to 32x32 (height x width): the sides cropped, 25.0 % of each "
        "(--fit pad keeps all)"
    )
    told = FitCounts.of([(100, 200), (100, 125)], (8, 8)).words((8, 8), "crop", 0)
    assert "the sides cropped, 35.0 % on average and 50.0 % at most" in told


def test_counts_of_parts_add_up_to_those_of_the_whole_also_by_way_of_json() -> None:
    rng = np.random.default_rng(0)
    for kinds in (3, 40):  # few sizes are named, many are given by their ends
        some = [(int(h), int(w)) for h, w in rng.integers(1, 1000, (kinds, 2))]
        sizes = [some[k] for k in rng.integers(0, kinds, 200)]
        whole = FitCounts.of(sizes, (32, 48))
        added = FitCounts()
        for start in range(0, 200, 30):
            part = FitCounts.of(sizes[start : start + 30], (32, 48))
            added.add(FitCounts.from_json(part.to_json()))
        assert added.total == pytest.approx(whole.total)
        assert {**added.to_json(), "total": 0} == {**whole.to_json(), "total": 0}
        assert (whole.sizes is None) == (kinds == 40)
    smallest, largest = min(sizes, key=np.prod), max(sizes, key=np.prod)
    assert f"from {'x'.join(map(str, smallest))} up to {'x'.join(map(str, largest))} to" in (
        whole.words((32, 48), "crop", 0)
    )
