"""The file of the one perturbation is taken as recorded, or not at all."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.formats.perturbation.universal import DELTA_FILE, read_delta, with_delta, write_delta

SHAPE = (3, 4, 1)
DELTA = np.random.default_rng(0).integers(-6, 7, SHAPE).astype(np.int16)


def attack(path: Path, **change: Any) -> dict[str, Any]:
    """As a manifest would have it for the file that is there."""
    digest = sha256((path / DELTA_FILE).read_bytes()).hexdigest()
    return {"norm": "linf", "eps": 6, "delta_sha256": digest, **change}


def test_it_is_read_as_it_was_written_and_by_numpy_alone(tmp_path: Path) -> None:
    digest, size = write_delta(tmp_path, DELTA.transpose(1, 0, 2).transpose(1, 0, 2))
    told = attack(tmp_path)
    assert (digest, size) == (told["delta_sha256"], (tmp_path / DELTA_FILE).stat().st_size)
    for delta in (read_delta(tmp_path, told, SHAPE), np.load(tmp_path / DELTA_FILE)):
        assert delta.dtype == np.int16
        assert np.array_equal(delta, DELTA)


def test_adding_it_is_clipped_to_the_box() -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, *SHAPE)).astype(np.uint8)
    images[0], images[1] = 0, 255
    expected = [
        min(255, max(0, int(value) + int(change)))
        for image in images
        for value, change in zip(image.flat, DELTA.flat, strict=True)
    ]
    moved = with_delta(images, DELTA)
    assert moved.dtype == np.uint8
    assert moved.flatten().tolist() == expected


@pytest.mark.parametrize(
    ("delta", "change", "message"),
    [
        (None, {}, "is missing"),
        (DELTA, {"delta_sha256": "0" * 64}, "has not the recorded SHA-256"),
        (DELTA, {"delta_sha256": None}, "has not the recorded SHA-256"),
        (b"no numbers", {}, "is not numpy's"),
        (DELTA[:2], {}, "is no int16"),
        (DELTA.astype(np.float32), {}, "is no int16"),
        (DELTA, {"eps": 5}, "lies outside the ball"),
        (DELTA, {"norm": "l2"}, "lies outside the ball"),
    ],
)
def test_a_file_that_is_not_what_was_recorded_is_refused(
    tmp_path: Path, delta: Any, change: dict[str, Any], message: str
) -> None:
    if isinstance(delta, bytes):
        (tmp_path / DELTA_FILE).write_bytes(delta)
    elif delta is not None:
        np.save(tmp_path / DELTA_FILE, delta)
    told = {"norm": "linf", "eps": 6} if delta is None else attack(tmp_path)
    with pytest.raises(UserError, match=message):
        read_delta(tmp_path, {**told, **change}, SHAPE)
