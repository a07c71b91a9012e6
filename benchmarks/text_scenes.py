"""Do pictures from sentences show what was asked for? Drawn scenes have a right answer.

    python -m benchmarks.text_scenes [--cpu-minutes 45] [--rows 500] [--ways text,pooled,dalle2]

Each way is trained on drawn scenes of 32x32 pixels (`benchmarks.scenes`), for so many minutes of
one core, and asked for held-out combinations: two objects, each in its colour, that no training
picture shows together. What it makes is read back by colour and shape.

- ``text``: Imagen's way. The words' states through cross-attention, and their pooled vector;
- ``pooled``: the pooled vector alone;
- ``dalle2``: DALL-E 2's way. A prior from the words to a picture's vector, a decoder from that.

Captions are embedded once, by a frozen encoder, before any clock runs. Prints one JSON object last:
shares in percent with exact 95 % intervals, beside the reader's own on real held-out pictures.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Options, report
from benchmarks.scenes.drawing import Combination, Scene, distinct, draw, scene_at
from benchmarks.scenes.probe import colours_read
from benchmarks.scenes.reading import Scores, read, score
from benchmarks.ways.base import QUICK, Captions, Lesson, Painter, Setting, Way
from benchmarks.ways.dalle2 import PriorAndDecoder
from benchmarks.ways.imagen import OneStack
from benchmarks.ways.told import taught, way_options
from pipeline.intervals import clopper_pearson
from pipeline.pictures import grid
from pipeline.text.encoder import TextEncoder

WAYS: dict[str, Way] = {
    "text": OneStack("text"),
    "pooled": OneStack("embedding"),
    "dalle2": PriorAndDecoder(),
}
TARGETS = {"objects": 95.0, "binding": 90.0, "relation": 85.0}  # percent
AHEAD = 15.0  # points of binding: what the words are worth beside the pooled vector
_TOKENS = 16  # of a caption; the longest has 14


def main(argv: Sequence[str] | None = None) -> None:
    """Trains each way, asks each for held-out combinations, and prints what was right."""
    given = _options(argv)
    scenes = [scene_at(given.seed, index) for index in range(given.scenes)]
    asked = distinct(given.seed + 1, given.rows)
    seen = distinct(given.seed + 1, given.seen_rows, "train")
    encoder = TextEncoder.load(given.text_encoder, max_length=_TOKENS)
    start = time.process_time()
    captions = Captions.embed(_captions((*scenes, *asked, *seen)), encoder)
    figures: dict[str, Any] = {
        "cpu_minutes": given.cpu_minutes,
        "train_scenes": len(scenes),
        "captions": len(captions.rows),
        "embed_cpu_seconds": round(time.process_time() - start, 1),
        **shares("real", read_scores(draw(asked), _combinations(asked))),
    }
    figures |= readable(captions, scenes, asked)
    lesson = Lesson(draw(scenes), _captions(scenes), captions, encoder.id)
    for name in given.ways:
        setting = QUICK if given.quick else Setting()
        painter, spent = taught(name, WAYS[name], lesson, setting, given)
        figures |= spent
        figures |= asked_for(name, painter, captions, asked, given)
        if seen:
            figures |= asked_for(f"{name}_seen", painter, captions, seen, given)
    report(
        "text_scenes",
        figures | ahead(figures),
        options=Options(given.quick, 1),
        targets=_targets(given.ways),
    )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = way_options(__doc__, WAYS)
    parser.add_argument("--scenes", type=int, default=20_000, help="to train on")
    parser.add_argument("--rows", type=int, default=500, help="held-out combinations asked for")
    parser.add_argument("--seen-rows", type=int, default=100, help="combinations of training")
    given = parser.parse_args(argv)
    if given.quick:
        given.cpu_minutes, given.scenes, given.rows, given.seen_rows = 0.005, 32, 4, 0
    return given


def _combinations(scenes: Sequence[Scene]) -> list[Combination]:
    return [scene.combination for scene in scenes]


def _captions(scenes: Sequence[Scene]) -> list[str]:
    return [scene.combination.caption for scene in scenes]


def asked_for(
    name: str,
    painter: Painter,
    captions: Captions,
    scenes: Sequence[Scene],
    given: argparse.Namespace,
) -> dict[str, Any]:
    """What a way makes of these scenes' captions; its first pictures go on a sheet, if asked."""
    start = time.process_time()
    made = painter.paint(captions.of(_captions(scenes)), given.seed)
    spent = (time.process_time() - start) / len(scenes)
    if given.sheets:
        given.sheets.mkdir(parents=True, exist_ok=True)
        grid(made[:64], 8, scale=3).save(given.sheets / f"{name}.png")
    found = shares(name, read_scores(made, _combinations(scenes)))
    return {f"{name}_sample_cpu_ms": round(1000 * spent, 1), **found}


def read_scores(pictures: NDArray[np.uint8], wanted: Sequence[Combination]) -> list[Scores]:
    """What of each combination is in its picture."""
    return [score(found, said) for found, said in zip(read(pictures), wanted, strict=True)]


def shares(name: str, scores: Sequence[Scores]) -> dict[str, Any]:
    """The shares of pictures that are right, in percent, each with its exact 95 % interval."""
    figures: dict[str, Any] = {f"{name}_rows": len(scores)}
    for what in ("objects", "binding", "relation", "sizes", "everything"):
        right = sum(getattr(one, what) for one in scores)
        low, high = clopper_pearson(right, len(scores))
        figures[f"{name}_{what}_percent"] = round(100 * right / len(scores), 1)
        figures[f"{name}_{what}_interval_95"] = [round(100 * low, 1), round(100 * high, 1)]
    return figures


def readable(captions: Captions, scenes: Sequence[Scene], asked: Sequence[Scene]) -> dict[str, Any]:
    """Of how many captions a linear map reads the colour of each shape off the pooled vector.

    It is fitted to the captions of training: what lies in the vector, if a model learns to use it.
    """
    known = list(dict.fromkeys(_combinations(scenes)))
    vectors, read_off = (
        captions.of([one.caption for one in said])[:, 0] for said in (known, _combinations(asked))
    )
    right = colours_read(vectors, known, read_off, _combinations(asked))
    return {"pooled_vector_binding_percent": round(100 * float(right.mean()), 1)}


def ahead(figures: Mapping[str, Any]) -> dict[str, float]:
    """By how many points the words bind colours better than the pooled vector alone."""
    ours, theirs = (figures.get(f"{name}_binding_percent") for name in ("text", "pooled"))
    if ours is None or theirs is None:
        return {}
    return {"points_binding_text_above_pooled": round(ours - theirs, 1)}


def _targets(ways: Sequence[str]) -> dict[str, float]:
    targets = {
        f"{name}_{what}_percent": least
        for name in ways
        if name != "pooled"
        for what, least in TARGETS.items()
    }
    if {"text", "pooled"} <= set(ways):
        targets["points_binding_text_above_pooled"] = AHEAD
    return targets


if __name__ == "__main__":
    main()
