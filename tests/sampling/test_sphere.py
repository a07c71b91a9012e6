"""Ways between unit vectors against their geometry."""

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.sampling.sphere import angle, slerp, text_difference, towards, unit

RNG = np.random.default_rng(0)
A, B, C = (unit(RNG.standard_normal((5, 64))) for _ in range(3))
T = np.linspace(0, 1, 9)


def test_every_step_has_unit_length_and_the_ends_are_the_two_vectors() -> None:
    for t in T:
        np.testing.assert_allclose(np.linalg.norm(slerp(A, B, t), axis=-1), 1, atol=1e-6)
    assert np.array_equal(slerp(A, B, 0.0), A.astype(np.float32))
    assert np.array_equal(slerp(A, B, 1.0), B.astype(np.float32))
    assert slerp(A, B, 0.5).dtype == np.float32


def test_the_angle_grows_linearly_and_the_way_stays_in_the_plane() -> None:
    way = slerp(A[0], B[0], T)
    assert way.shape == (9, 64)
    np.testing.assert_allclose(angle(A[0], way), T * angle(A[0], B[0]), atol=1e-6)
    np.testing.assert_allclose(angle(way[:-1], way[1:]), angle(A[0], B[0]) / 8, atol=1e-6)
    across = np.linalg.svd(np.stack((A[0], B[0], *way)))[1]
    assert across[2] < 1e-6 < across[1]


def test_a_t_for_each_row_is_that_row_with_its_own() -> None:
    each = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
    alone = np.stack([slerp(a, b, t) for a, b, t in zip(A, B, each, strict=True)])
    assert np.array_equal(slerp(A, B, each), alone)


def test_an_angle_is_exact_where_the_arc_cosine_is_not_and_at_a_right_angle() -> None:
    e = np.eye(3)
    assert angle(e[0], e[1]) == pytest.approx(np.pi / 2, abs=1e-15)
    near = np.array([np.cos(1e-9), np.sin(1e-9), 0.0])
    assert angle(e[0], near) == pytest.approx(1e-9, rel=1e-6)
    np.testing.assert_allclose(slerp(e[0], near, 0.5), e[0], atol=1e-9)
    np.testing.assert_array_equal(slerp(e[0], e[0], 0.3), e[0])
    np.testing.assert_allclose(slerp(e[0], e[1], 1 / 3), [np.cos(np.pi / 6), 0.5, 0], atol=1e-7)


def test_opposite_vectors_have_no_shortest_way() -> None:
    with pytest.raises(UserError, match="the two vectors are opposite"):
        slerp(A, np.concatenate((B[:4], -A[4:])), 0.5)
    with pytest.raises(UserError, match="has no direction"):
        slerp(np.zeros(64), B[0], 0.5)


def test_a_step_towards_a_difference_of_texts_turns_the_picture_in_that_direction() -> None:
    """Section 3.3 of the DALL-E 2 paper: slerp(z_i, norm(z_t - z_0), t)."""
    difference = (B - C) / np.linalg.norm(B - C, axis=-1, keepdims=True)
    np.testing.assert_allclose(text_difference(B, C), difference, atol=1e-12)
    assert np.array_equal(towards(A, B, C, 0.0), A.astype(np.float32))
    np.testing.assert_allclose(towards(A, B, C, 1.0), difference, atol=1e-6)
    turned = towards(A, B, C, 0.4)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(angle(A, turned), 0.4 * angle(A, difference), atol=1e-6)
    np.testing.assert_allclose(angle(turned, difference), 0.6 * angle(A, difference), atol=1e-6)
    with pytest.raises(UserError, match="the difference of the two texts has no direction"):
        towards(A, B, B, 0.4)
