"""The figures of `benchmarks.text_scenes`: right and wrong pictures are told apart."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import text_scenes
from benchmarks.scenes.drawing import COMBINATIONS, Combination, distinct, draw, placed
from benchmarks.text_scenes import WAYS, ahead, read_scores, shares
from benchmarks.ways.base import QUICK, Captions, Lesson, Painter, Way
from benchmarks.ways.imagen import OneStack
from pipeline.formats.encoder_id import EncoderId


class FakeEncoder:
    """A vector for each word, in its place; the pooled one is their mean."""

    id = EncoderId("fake", "1", "2", 16, "mean", 8)
    asked: list[str]

    def __init__(self) -> None:
        self.asked = []

    def conditions(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        rows = np.zeros((len(texts), 17, 8), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for place, word in enumerate(text.split()):
                row[1 + place] = np.random.default_rng([*word.encode()]).normal(size=8)
            row[0] = row[1:].mean(axis=0)
        return rows


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    fake = FakeEncoder()
    monkeypatch.setattr(text_scenes, "TextEncoder", SimpleNamespace(load=lambda *_, **__: fake))
    return fake


def swapped(said: Combination) -> Combination:
    """With the colours of its objects exchanged."""
    first, second = said.objects
    return Combination(
        replace(first, colour=second.colour), said.relation, replace(second, colour=first.colour)
    )


def test_each_caption_is_embedded_once_and_found_again(encoder: FakeEncoder) -> None:
    captions = Captions.embed(["a b", "c", "a b"], encoder)  # type: ignore[arg-type]
    assert encoder.asked == ["a b", "c"]
    found = captions.of(["c", "a b", "c"])
    assert found.dtype == np.float32
    assert np.array_equal(found, encoder.conditions(["c", "a b", "c"]).astype(np.float16))


def test_the_pooled_way_is_told_the_pooled_vector_alone() -> None:
    embedded = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    text, pooled = OneStack("text"), OneStack("embedding")
    assert np.array_equal(pooled.takes(embedded), embedded[:, 0])
    assert np.array_equal(text.takes(embedded), embedded)
    pictures = draw(distinct(0, 8))
    specs = [QUICK.spec(way.condition, FakeEncoder.id, pictures) for way in (text, pooled)]
    assert [spec.condition.kind for spec in specs] == ["text", "embedding"]
    assert [spec.attends for spec in specs] == [(0, 1), ()]
    assert specs[0].widths == specs[1].widths


def test_shares_are_of_all_pictures_with_exact_intervals() -> None:
    said = [scene.combination for scene in distinct(1, 20)]
    right = draw(distinct(1, 20))
    wrong = draw([placed(swapped(one), [0.5] * 6) for one in said])
    figures = shares("x", read_scores(np.concatenate((right[:15], wrong[15:])), said))
    assert figures["x_rows"] == 20
    assert figures["x_objects_percent"] == figures["x_relation_percent"] == 100.0
    assert figures["x_binding_percent"] == figures["x_everything_percent"] == 75.0
    assert figures["x_objects_interval_95"] == [83.2, 100.0]  # 0.025 ** (1 / 20)
    low, high = figures["x_binding_interval_95"]
    assert low == pytest.approx(50.9)
    assert high == pytest.approx(91.3)
    pooled = shares("pooled", read_scores(wrong, said)) | shares("text", read_scores(right, said))
    assert ahead(pooled) == {"points_binding_text_above_pooled": 100.0}
    assert ahead(figures) == {}


def test_a_run_tells_of_each_way_what_it_reached_beside_the_readers_own_rate(
    encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    text_scenes.main(["--quick"])
    said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["benchmark"] == "text_scenes"
    assert len(encoder.asked) == len(set(encoder.asked)) == said["captions"]
    assert said["real_everything_percent"] == 100.0
    assert said["targets"] == {
        "text_objects_percent": 95.0,
        "text_binding_percent": 90.0,
        "text_relation_percent": 85.0,
        "dalle2_objects_percent": 95.0,
        "dalle2_binding_percent": 90.0,
        "dalle2_relation_percent": 85.0,
        "points_binding_text_above_pooled": 15.0,
    }
    for way in WAYS:
        assert said[f"{way}_rows"] == 4
        assert all(value >= 1 for key, value in said.items() if key.endswith("_steps"))
        assert 0 <= said[f"{way}_binding_percent"] <= said[f"{way}_objects_percent"] <= 100


def test_what_was_trained_is_asked_for_combinations_that_it_never_saw(
    encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A way that paints what it is asked for reaches 100 %, and one that swaps colours none."""
    by_caption = {one.caption: one for part in COMBINATIONS.values() for one in part}
    asked: list[Combination] = []
    trained_on: list[str] = []

    class Painting(Way):
        def __init__(self, change: Callable[[Combination], Combination]) -> None:
            self.change = change

        def learn(self, lesson: Lesson, *_: Any) -> Painter:
            trained_on.extend(lesson.said)
            captions = list(lesson.captions.rows)
            known = lesson.captions.embeddings.astype(np.float32)

            def paint(embedded: NDArray[np.float32], seed: int) -> NDArray[np.uint8]:
                rows = [int((known == one).all(axis=(1, 2)).argmax()) for one in embedded]
                wanted = [by_caption[captions[row]] for row in rows]
                asked.extend(wanted)
                return draw([placed(self.change(one), [0.5] * 6) for one in wanted])

            return Painter(paint, 1.0, {"stack": 1})

    ways = {"text": Painting(lambda said: said), "pooled": Painting(swapped)}
    monkeypatch.setattr(text_scenes, "WAYS", ways)
    text_scenes.main(["--quick", "--ways", "text,pooled"])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["text_everything_percent"] == 100.0
    assert said["pooled_binding_percent"] == 0.0
    assert said["pooled_relation_percent"] == 100.0
    assert said["points_binding_text_above_pooled"] == 100.0
    assert len(asked) == 8
    assert all(one.is_held_out for one in asked)
    assert not {one.caption for one in asked} & set(trained_on)
