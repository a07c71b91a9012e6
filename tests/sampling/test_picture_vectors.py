"""Plans of pictures' vectors: which vector each sample gets, and what the set says of it."""

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.formats.sample_set import condition_hashes
from pipeline.pictures import picture_hashes
from pipeline.sampling.picture_vectors import interpolation, text_steps, variation
from pipeline.sampling.sphere import angle, slerp, towards, unit

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (2, 4, 4, 3), np.uint8)
A, B, TEXT, BASE = unit(RNG.standard_normal((4, 16))).astype(np.float32)


def test_a_variation_is_drawn_on_the_pictures_own_vector_any_number_of_times() -> None:
    plan = variation(PICTURES[0], A)
    assert plan.num_rows is None
    rows = plan.rows(5, 9)
    assert rows.labels.tolist() == [-1] * 4
    assert rows.vectors is not None
    assert np.array_equal(rows.vectors, np.stack([A] * 4))
    assert rows.vectors.dtype == np.float32
    assert plan.origin()["variation_of"] == picture_hashes(PICTURES[:1])[0]


def test_positions_of_an_interpolation_come_in_turn_at_equal_angles() -> None:
    plan = interpolation(PICTURES, np.stack((A, B)), 5)
    assert plan.num_rows == 5
    vectors = plan.rows(3, 11).vectors
    assert vectors is not None
    way = slerp(A, B, np.linspace(0, 1, 5))
    assert np.array_equal(vectors, way[[3, 4, 0, 1, 2, 3, 4, 0]])
    np.testing.assert_allclose(angle(way[:-1], way[1:]), angle(A, B) / 4, atol=1e-6)
    origin = plan.origin()
    assert origin["between"] == picture_hashes(PICTURES)
    assert origin["condition_sha256"] == condition_hashes(way)


def test_steps_along_a_difference_of_texts_begin_at_the_picture_and_end_at_the_turn() -> None:
    plan = text_steps(PICTURES[0], A, ("ab", "b"), np.stack((TEXT, BASE)), 0.4, 3)
    vectors = plan.rows(0, 3).vectors
    assert vectors is not None
    np.testing.assert_allclose(vectors[0], A, atol=1e-6)
    assert np.array_equal(vectors[2], towards(A, TEXT, BASE, 0.4))
    assert np.array_equal(vectors[1], towards(A, TEXT, BASE, 0.2))
    told = {key: plan.origin()[key] for key in ("towards", "from", "turn", "positions")}
    assert told == {"towards": "ab", "from": "b", "turn": 0.4, "positions": 3}


def test_one_position_is_no_way() -> None:
    with pytest.raises(UserError, match="1 positions are no way; give 2"):
        interpolation(PICTURES, np.stack((A, B)), 1)
