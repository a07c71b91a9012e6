"""The split of the emoji: what a text model is asked for was never drawn for it."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.emoji_split import main, splits_of


def test_every_tenth_name_is_unseen_and_another_tenth_in_one_style() -> None:
    names = [f"name {i}" for i in range(40)]
    captions = [*names, *reversed(names), "name 5"]
    styles = ["twitter"] * 40 + ["google"] * 40 + ["google"]
    found = dict(zip(zip(captions, styles, strict=True), splits_of(captions, styles), strict=True))
    for number, name in enumerate(names):
        both = [found[name, style] for style in ("google", "twitter")]
        if number % 10 == 0:
            assert both == ["test", "test"]
        elif number % 10 == 5:  # each style in turn
            assert both == [["validation", "train"], ["train", "validation"]][number // 10 % 2]
        else:
            assert both == ["train", "train"]


def test_the_emoji_are_split_and_otherwise_as_they_were(shared_data: Path, tmp_path: Path) -> None:
    source, output = shared_data / "emoji" / "emoji.parquet", tmp_path / "out" / "emoji.parquet"
    assert main([str(source), str(output)]) == 0
    before, after = pq.read_table(source), pq.read_table(output)
    assert after.drop_columns("split").equals(before)
    rows = list(
        zip(*(after.column(c).to_pylist() for c in ("caption", "style", "split")), strict=True)
    )
    unseen = {caption for caption, _, split in rows if split == "test"}
    trained = {caption for caption, _, split in rows if split == "train"}
    assert not unseen & trained
    assert len(unseen) == 191  # of 1,905
    drawn = Counter(style for caption, style, split in rows if split == "validation")
    assert drawn == {"google": 95, "twitter": 95} or sum(drawn.values()) == 190
    assert {caption for caption, _, split in rows if split == "validation"} <= trained


def test_it_says_what_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: python -m benchmarks.emoji_split" in capsys.readouterr().out
    assert isinstance(pa.table({}), pa.Table)
