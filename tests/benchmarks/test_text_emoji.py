"""The figures of `benchmarks.text_emoji`: real drawings reach what real drawings reach."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks import text_emoji
from benchmarks.text_emoji import Drawings, read_drawings
from benchmarks.ways.base import Lesson, Painter, Way
from pipeline.formats.encoder_id import EncoderId

NUM = 60


class FakeEncoder:
    """A name's vector is drawn by the name."""

    id = EncoderId("fake", "1", "2", 20, "mean", 8)

    def conditions(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), 21, 8), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:2] = np.random.default_rng([*text.encode()]).normal(size=8)
        return rows


@pytest.fixture(scope="module")
def emoji(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty names in two styles, each a plain colour of its own."""
    rows = []
    for style in ("google", "twitter"):
        for number in range(NUM):
            colour = tuple(np.random.default_rng([number, len(style)]).integers(0, 256, 3).tolist())
            stream = io.BytesIO()
            Image.new("RGB", (64, 64), colour).save(stream, "PNG")
            rows.append({"image": stream.getvalue(), "caption": f"name {number}", "style": style})
    path = tmp_path_factory.mktemp("emoji") / "emoji.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_drawings_are_halved_and_split_by_name_and_style(emoji: Path) -> None:
    drawings = read_drawings(emoji)
    sizes = {split: one.pictures.shape for split, one in drawings.items()}
    assert sizes == {
        "train": (102, 32, 32, 3),
        "validation": (6, 32, 32, 3),
        "test": (12, 32, 32, 3),
    }
    first = drawings["test"].first_of_each()
    assert first.names == [f"name {number}" for number in range(0, NUM, 10)]
    assert np.array_equal(first.pictures, drawings["test"].pictures[:6])


def test_a_way_that_draws_the_real_ones_reaches_them_and_is_asked_only_for_what_it_never_saw(
    emoji: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeEncoder()
    monkeypatch.setattr(text_emoji, "TextEncoder", SimpleNamespace(load=lambda *_, **__: fake))
    drawings = read_drawings(emoji)
    held_out: dict[bytes, tuple[str, NDArray[np.uint8]]] = {}
    for split in ("test", "validation"):
        one: Drawings = drawings[split].first_of_each()
        texts = fake.conditions(one.names).astype(np.float16).astype(np.float32)
        for text, name, picture in zip(texts, one.names, one.pictures, strict=True):
            held_out[text.tobytes()] = (name, picture)
    trained_on: list[str] = []
    asked: list[str] = []

    class Real(Way):
        def learn(self, lesson: Lesson, *_: Any) -> Painter:
            trained_on.extend(lesson.said)

            def paint(embedded: NDArray[np.float32], seed: int) -> NDArray[np.uint8]:
                known = [held_out[text.tobytes()] for text in embedded]
                asked.extend(name for name, _ in known)
                return np.stack([picture for _, picture in known])

            return Painter(paint, 1.0, {"stack": 1})

    monkeypatch.setattr(text_emoji, "WAYS", {"text": Real()})
    text_emoji.main(["--quick", "--emoji", str(emoji), "--ways", "text"])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["targets"] == {"text_unseen_r10_of_real": 0.6, "text_seen_r10_of_real": 0.8}
    # Of six names all are among the ten nearest, whoever judges; the first place is not given.
    assert said["text_unseen_r10_of_real"] == said["text_seen_r10_of_real"] == 1.0
    for k in (1, 5, 10):
        assert said[f"text_seen_r{k}_percent"] == said[f"real_seen_r{k}_percent"]
    assert (said["real_unseen_pictures"], said["real_unseen_names"]) == (12, 6)
    unseen = {name for name in asked if int(name.split()[1]) % 10 == 0}
    assert len(asked) == 12
    assert len(unseen) == 6
    assert not unseen & set(trained_on)
