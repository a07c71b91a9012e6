"""Are emoji from sentences found again by their names, as often as real ones?

    python -m benchmarks.text_emoji [--cpu-minutes 45] [--ways text,dalle2] [--emoji FILE]

Each way is trained for so many minutes of one core on the drawings that `emoji_split` leaves to
training, at 32x32 pixels, and asked for names that it never met, and for names that it met in
another style. A picture encoder that no way saw, trained on the same drawings from another seed,
looks for each picture's name among those of its kind. Prints one JSON object last: R@1, R@5 and
R@10 in percent with exact 95 % intervals, those of the real drawings of these names beside them,
and how many times the real ones' R@10 is reached.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.common import Options, report
from benchmarks.emoji_split import splits_of
from benchmarks.ways.base import QUICK, Captions, Lesson, Painter, Setting, Way
from benchmarks.ways.dalle2 import PriorAndDecoder
from benchmarks.ways.encoder import fit_encoder
from benchmarks.ways.imagen import OneStack
from benchmarks.ways.told import taught, way_options
from pipeline.errors import UserError
from pipeline.evaluation.retrieval import Captions as Candidates
from pipeline.evaluation.retrieval import Retrieval, retrieval
from pipeline.formats.splits import TEST, TRAIN, VALIDATION
from pipeline.picture_encoder import PictureEncoder
from pipeline.pictures import grid
from pipeline.sources.base import RawRow
from pipeline.sources.decode import Decoder
from pipeline.text.encoder import TextEncoder

WAYS: dict[str, Way] = {"text": OneStack("text"), "dalle2": PriorAndDecoder()}
UNSEEN, SEEN = "unseen", "seen"  # names; of the latter the drawing is unseen
SPLITS = {UNSEEN: TEST, SEEN: VALIDATION}
TARGETS = {UNSEEN: 0.6, SEEN: 0.8}  # of the real drawings' R@10
SETTING = Setting(
    encoder_pooled=False,
    encoder_batch=256,
    encoder_learning_rate=3e-3,
    encoder_decay=0.1,
    encoder_shift=2,
)
_SIDE = 32
_TOKENS = 20  # of a name; the longest has 18
_JUDGE = 1000  # added to the seed


@dataclass(frozen=True)
class Drawings:
    """Some drawings and their names.

    Attributes:
        pictures: uint8 ``[N, 32, 32, 3]``.
        names: N strings.
    """

    pictures: NDArray[np.uint8]
    names: list[str]

    def first_of_each(self) -> "Drawings":
        """The first drawing of each name."""
        rows = list({name: row for row, name in reversed([*enumerate(self.names)])}.values())[::-1]
        return Drawings(self.pictures[rows], [self.names[row] for row in rows])


def read_drawings(path: Path) -> dict[str, Drawings]:
    """The drawings of each split."""
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the Parquet file of the emoji with --emoji")
    table = pq.read_table(path, columns=["image", "caption", "style"])
    images, names, styles = (column.to_pylist() for column in table.columns)
    decoder = Decoder(resize=(_SIDE, _SIDE), channels=3)
    pictures = np.stack(
        [
            decoder.decode(RawRow(str(row), data, -1, None, None, f"row {row}"))
            for row, data in enumerate(images)
        ]
    )
    splits = np.array(splits_of(names, styles))
    return {
        split: Drawings(pictures[splits == split], [*np.array(names)[splits == split]])
        for split in (TRAIN, VALIDATION, TEST)
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Trains a judge and each way, asks each for names, and prints what was found again."""
    given = _options(argv)
    drawings = read_drawings(given.emoji)
    encoder = TextEncoder.load(given.text_encoder, max_length=_TOKENS)
    captions = Captions.embed([n for one in drawings.values() for n in one.names], encoder)
    train = drawings[TRAIN]
    lesson = Lesson(train.pictures, train.names, captions, encoder.id)
    setting = replace(QUICK, encoder_pooled=False) if given.quick else SETTING
    seconds = 60 * given.judge_cpu_minutes
    judge, steps = fit_encoder(lesson, setting, seconds, given.seed + _JUDGE)
    figures: dict[str, Any] = {"cpu_minutes": given.cpu_minutes, "judge_steps": steps}
    real = {}
    for kind, split in SPLITS.items():
        real[kind] = found(judge, drawings[split], captions)
        figures |= shares(f"real_{kind}", real[kind])
    for name in given.ways:
        painter, spent = taught(name, WAYS[name], lesson, setting, given)
        figures |= spent
        for kind, split in SPLITS.items():
            asked = drawings[split].first_of_each()
            made = painted(painter, asked, captions, given, f"{name}_{kind}")
            one = found(judge, made, captions)
            figures |= shares(f"{name}_{kind}", one)
            if of_real := real[kind].recall[10].rate:
                figures[f"{name}_{kind}_r10_of_real"] = round(one.recall[10].rate / of_real, 3)
    report(
        "text_emoji",
        figures,
        options=Options(given.quick, 1),
        targets={
            f"{name}_{kind}_r10_of_real": least
            for name in given.ways
            for kind, least in TARGETS.items()
        },
    )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = way_options(__doc__, WAYS)
    parser.add_argument("--emoji", type=Path, default=Path("../shared/data/emoji/emoji.parquet"))
    parser.add_argument("--judge-cpu-minutes", type=float, default=4.0, help="of the judge's")
    given = parser.parse_args(argv)
    if given.quick:
        given.cpu_minutes, given.judge_cpu_minutes = 0.005, 0.005
    return given


def painted(
    painter: Painter, asked: Drawings, captions: Captions, given: argparse.Namespace, sheet: str
) -> Drawings:
    """What a way makes of these names; its first pictures go on a sheet, if asked."""
    made = painter.paint(captions.of(asked.names), given.seed)
    if given.sheets:
        given.sheets.mkdir(parents=True, exist_ok=True)
        grid(made[:64], 8, scale=2).save(given.sheets / f"{sheet}.png")
        (given.sheets / f"{sheet}.txt").write_text("\n".join(asked.names[:64]) + "\n")
    return Drawings(made, asked.names)


def found(judge: PictureEncoder, drawings: Drawings, captions: Captions) -> Retrieval:
    """How often the judge finds a drawing's name among those of all of them."""
    texts = captions.of(drawings.names)[:, 0]
    return retrieval(judge.encode(drawings.pictures), texts, Candidates(texts), seed=0)


def shares(name: str, of: Retrieval) -> dict[str, Any]:
    """R@k in percent, each with its exact 95 % interval."""
    figures: dict[str, Any] = {
        f"{name}_pictures": of.num_pictures,
        f"{name}_names": of.num_captions,
    }
    for k, share in of.recall.items():
        figures[f"{name}_r{k}_percent"] = round(100 * share.rate, 1)
        low, high = share.low95, share.high95
        figures[f"{name}_r{k}_interval_95"] = [round(100 * low, 1), round(100 * high, 1)]
    return figures


if __name__ == "__main__":
    main()
