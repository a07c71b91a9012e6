"""Which emoji a text model never sees: writes them with a column that says each row's split.

`python -m benchmarks.emoji_split ../shared/data/emoji/emoji.parquet runs/emoji_text/emoji.parquet`,
and then `noisestack ingest --config ingest_emoji_text`. Of the names, in the order in which they
first come, every tenth is `test` in all styles: unseen captions. Another tenth is `validation` in
one style, each in turn, and `train` in the others: captions that were seen, unseen drawings.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.formats.output import atomic_path
from pipeline.formats.splits import TEST, TRAIN, VALIDATION

_EVERY = 10
_IN_ALL_STYLES, _IN_ONE_STYLE = 0, 5  # places within each ten names


def splits_of(captions: Sequence[str], styles: Sequence[str]) -> list[str]:
    """The split of each of N drawings.

    Args:
        captions: their names.
        styles: who drew them.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(captions))}
    drawers = sorted(set(styles))

    def split(caption: str, style: str) -> str:
        ten, place = divmod(numbers[caption], _EVERY)
        if place == _IN_ALL_STYLES:
            return TEST
        held_out = place == _IN_ONE_STYLE and style == drawers[ten % len(drawers)]
        return VALIDATION if held_out else TRAIN

    return [split(*row) for row in zip(captions, styles, strict=True)]


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the file; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if len(arguments) != 2:
        print("usage: python -m benchmarks.emoji_split EMOJI.parquet OUTPUT.parquet")
        return 2
    source, output = map(Path, arguments)
    if not source.is_file():
        raise UserError(f"there is no file {source}; give the Parquet file of the emoji")
    table = pq.read_table(source)
    splits = splits_of(*(table.column(name).to_pylist() for name in ("caption", "style")))
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as temporary:
        pq.write_table(table.append_column("split", pa.array(splits)), temporary)
    counts = ", ".join(f"{splits.count(name):,} {name}" for name in (TRAIN, VALIDATION, TEST))
    print(f"{len(splits):,} drawings are in {output}: {counts}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
