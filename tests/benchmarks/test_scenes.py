"""Drawn scenes: their captions, what is held out, and that the reader is right and not fooled."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.scenes.drawing import (
    COLOURS,
    COMBINATIONS,
    DIAMETERS,
    GROUND,
    RELATIONS,
    SIDE,
    Combination,
    Object,
    Scene,
    distinct,
    draw,
    placed,
    scene_at,
)
from benchmarks.scenes.parquet import write
from benchmarks.scenes.probe import colours_read
from benchmarks.scenes.reading import Scores, read, score
from benchmarks.scenes.shapes import SHAPES
from pipeline.sources.base import RawRow
from pipeline.sources.decode import Decoder
from pipeline.sources.parquet import ParquetSource

ALL_RIGHT = Scores(True, True, True, True)
NOTHING = Scores(False, False, False, False)
SAID = Combination(Object("circle", "red", "small"), "above", Object("square", "blue", "large"))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene_at(5, index) for index in range(400)]


@pytest.fixture(scope="module")
def pictures(scenes: list[Scene]) -> NDArray[np.uint8]:
    return draw(scenes)


def one(combination: Combination) -> NDArray[np.uint8]:
    """A picture of a combination."""
    return draw([placed(combination, [0.5] * 6)])


def scores(pictures: NDArray[np.uint8], said: Combination) -> Scores:
    return score(read(pictures)[0], said)


def stored(levels: NDArray[np.float64]) -> NDArray[np.uint8]:
    return levels.clip(0, 255).round().astype(np.uint8)


def wrong(pictures: NDArray[np.uint8], scenes: list[Scene]) -> list[str]:
    return [
        scene.combination.caption
        for scene, found in zip(scenes, read(pictures), strict=True)
        if score(found, scene.combination) != ALL_RIGHT
    ]


def test_there_are_5_shapes_8_colours_2_sizes_and_4_relations_and_all_captions_differ() -> None:
    assert [len(each) for each in (SHAPES, COLOURS, DIAMETERS, RELATIONS)] == [5, 8, 2, 4]
    captions = {said.caption for part in COMBINATIONS.values() for said in part}
    assert len(captions) == (5 * 4) * (8 * 7) * 2 * 2 * 4
    assert SAID.caption == "a small red circle above a large blue square"


def test_a_fifth_of_the_pairs_is_held_out_whole_and_each_object_is_still_trained_on() -> None:
    def pairs(part: str) -> set[frozenset[tuple[str, str]]]:
        return {
            frozenset((each.shape, each.colour) for each in said.objects)
            for said in COMBINATIONS[part]  # type: ignore[index]
        }

    assert len(pairs("held out")) == 112
    assert len(pairs("train")) == 448
    assert not pairs("held out") & pairs("train")
    # 32 captions a pair: either first, in all sizes and relations
    assert len(COMBINATIONS["held out"]) == 112 * 32
    seen = set().union(*pairs("train"))
    assert seen == set(product(SHAPES, COLOURS))


def test_a_scene_is_a_function_of_its_seed_and_index_alone(
    scenes: list[Scene], pictures: NDArray[np.uint8]
) -> None:
    assert scene_at(5, 300) == scenes[300]
    assert np.array_equal(draw([scenes[300]])[0], pictures[300])
    assert scene_at(6, 300) != scenes[300]
    assert not any(scene.combination.is_held_out for scene in scenes)


def test_held_out_scenes_are_of_different_combinations_that_are_never_trained_on() -> None:
    found = distinct(1, 500)
    assert len({scene.combination for scene in found}) == 500
    assert all(scene.combination.is_held_out for scene in found)
    assert distinct(1, 20) == found[:20]
    with pytest.raises(ValueError, match="3585 combinations of 3584"):
        distinct(1, 3585)


def test_objects_lie_inside_the_picture_apart_and_as_their_caption_says(
    scenes: list[Scene],
) -> None:
    for scene in scenes:
        for said, (x, y, diameter) in zip(scene.combination.objects, scene.places, strict=True):
            low, high = DIAMETERS[said.size]
            assert low <= diameter < high
            assert min(x, y) - diameter / 2 >= 1 - 1e-9
            assert max(x, y) + diameter / 2 <= SIDE - 1 + 1e-9
        (x0, y0, d0), (x1, y1, d1) = scene.places
        along, across = {
            "above": (y1 - y0, x1 - x0),
            "below": (y0 - y1, x1 - x0),
            "left of": (x1 - x0, y1 - y0),
            "right of": (x0 - x1, y1 - y0),
        }[scene.combination.relation]
        assert along >= (d0 + d1) / 2 + 3 - 1e-9
        assert abs(across) <= 0.3 * along + 1e-9


def test_a_picture_is_a_plain_ground_with_what_its_places_say(
    scenes: list[Scene], pictures: NDArray[np.uint8]
) -> None:
    """Against the shapes' areas, which the drawing does not know."""
    areas = {"circle": 0.7854, "square": 1, "triangle": 0.5, "cross": 0.5556, "ring": 0.589}
    for scene, picture in zip(scenes[:200], pictures, strict=False):
        due = sum(
            areas[said.shape] * place[2] ** 2
            for said, place in zip(scene.combination.objects, scene.places, strict=True)
        )
        drawn = np.abs(picture.astype(float) - GROUND).max(axis=-1).sum() / 97.5
        assert drawn == pytest.approx(due, rel=0.08)
        assert (picture[0] == GROUND).all()


def test_the_reader_is_right_on_every_drawn_scene(
    scenes: list[Scene], pictures: NDArray[np.uint8]
) -> None:
    assert wrong(pictures, scenes) == []


def test_the_reader_is_right_under_noise_of_8_levels_and_a_slight_blur(
    scenes: list[Scene], pictures: NDArray[np.uint8]
) -> None:
    noise = np.random.default_rng(0).normal(0, 8, pictures.shape)
    blurred = ndimage.gaussian_filter(pictures.astype(float), (0, 0.6, 0.6, 0))
    assert wrong(stored(blurred + noise), scenes) == []


@pytest.mark.parametrize(
    ("shown", "due"),
    [
        (SAID, ALL_RIGHT),
        (
            replace(SAID, first=Object("circle", "blue", "small"),
                    second=Object("square", "red", "large")),
            replace(ALL_RIGHT, binding=False),
        ),
        (replace(SAID, relation="below"), replace(ALL_RIGHT, relation=False)),
        (replace(SAID, relation="left of"), replace(ALL_RIGHT, relation=False)),
        (
            replace(SAID, first=Object("circle", "red", "large")),
            replace(ALL_RIGHT, sizes=False),
        ),
        (replace(SAID, first=Object("ring", "red", "small")), NOTHING),
    ],
    ids=["as said", "colours swapped", "upside down", "beside", "too large", "another shape"],
)  # fmt: skip
def test_what_is_shown_is_scored_for_what_was_said(shown: Combination, due: Scores) -> None:
    assert scores(one(shown), SAID) == due


def test_the_same_scene_told_from_its_other_object_is_right_too() -> None:
    turned = Combination(SAID.second, "below", SAID.first)
    assert scores(one(SAID), turned) == ALL_RIGHT


def test_a_missing_an_extra_and_a_spoilt_object_are_seen() -> None:
    whole = one(SAID)
    marked = np.abs(whole[0].astype(int) - GROUND).max(axis=-1) > 0
    top = np.flatnonzero(marked.any(axis=1))[0]
    missing = whole.copy()
    missing[0, top : top + 9] = GROUND  # the small circle
    assert len(read(missing)[0]) == 1
    assert scores(missing, SAID) == NOTHING
    extra = whole.copy()
    extra[0, 2:5, 2:5] = (225, 225, 30)
    assert len(read(extra)[0]) == 3
    assert scores(extra, SAID) == NOTHING
    # half of the square in another colour; then a hue that is none of the eight
    square = np.abs(whole[0].astype(int) - (30, 30, 225)).max(axis=-1) < 40
    halves = whole.copy()
    halves[0, :, : SIDE // 2][square[:, : SIDE // 2]] = (225, 225, 30)
    orange = whole.copy()
    orange[0][square] = (225, 128, 30)
    for spoilt in (halves, orange):
        found = scores(spoilt, SAID)
        assert not found.binding
    # a quarter of the square is gone
    cut = whole.copy()
    rows, columns = np.flatnonzero(square.any(axis=1)), np.flatnonzero(square.any(axis=0))
    cut[0, rows[0] - 1 : rows.mean().astype(int), columns[0] - 1 : columns.mean().astype(int)] = (
        GROUND
    )
    assert not scores(cut, SAID).objects


def test_a_plain_ground_and_pure_noise_show_nothing_that_was_asked_for() -> None:
    blank = np.full((1, SIDE, SIDE, 3), GROUND, np.uint8)
    assert read(blank) == [()]
    noise = np.random.default_rng(0).integers(0, 256, (20, SIDE, SIDE, 3)).astype(np.uint8)
    assert all(score(found, SAID) == NOTHING for found in read(noise))


def test_a_probe_reads_colours_off_vectors_that_bind_them_and_off_no_bag_of_words() -> None:
    words = sorted({word for each in COMBINATIONS["train"] for word in each.caption.split()})
    pairs = sorted(product(SHAPES, COLOURS))

    def bags(said: Sequence[Combination]) -> NDArray[np.float64]:
        return np.array([[each.caption.split().count(word) for word in words] for each in said])

    def bound(said: Sequence[Combination]) -> NDArray[np.float64]:
        there = [{(one.shape, one.colour) for one in each.objects} for each in said]
        mixed = np.random.default_rng(0).normal(size=(len(pairs), 48))
        return np.array([[pair in each for pair in pairs] for each in there]) @ mixed

    train, held_out = COMBINATIONS["train"][::7], COMBINATIONS["held out"][::7]
    assert colours_read(bound(train), train, bound(held_out), held_out).all()
    # which of the two colours is whose, it can only guess
    guessed = colours_read(bags(train), train, bags(held_out), held_out).mean()
    assert guessed < 0.6


def test_the_parquet_file_is_a_source_with_captions_and_splits(tmp_path: Path) -> None:
    file = tmp_path / "scenes.parquet"
    assert write(file, 6, 3) == 9
    source = ParquetSource(file, id_column="id")
    rows = source.read(0, 9)
    assert all(isinstance(row, RawRow) for row in rows)
    assert [row.split for row in rows] == ["train"] * 6 + ["test"] * 3  # type: ignore[union-attr]
    scenes = [*(scene_at(0, index) for index in range(6)), *distinct(1, 3)]
    assert [row.caption for row in rows] == [scene.combination.caption for scene in scenes]  # type: ignore[union-attr]
    decoded = np.stack([Decoder().decode(row) for row in rows])  # type: ignore[arg-type]
    assert np.array_equal(decoded, draw(scenes))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scenes.parquet"]
