"""The writer of shards, without Ray: every row once, in the split that is its own."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from pipeline.formats.dataset import images_of, labels_of
from pipeline.formats.output import sha256_of_file
from pipeline.formats.quarantine import BadRow
from pipeline.formats.shard import iterate, shards_from_json
from pipeline.sources.base import RawRow, Source
from pipeline.sources.decode import Decoder
from pipeline.sources.digits import DigitsSource
from pipeline.sources.division import divide
from pipeline.sources.writer import ShardWriter

DIGITS = (8, 8, 1)


def writer(source: Source, output: Path, seed: int = 0, *, quarantine: bool = False) -> ShardWriter:
    keys = [
        ([row.id for row in rows], np.array([row.label for row in rows]))
        for rows in [source.read(0, source.num_rows)]
    ]
    division = (
        None if source.splits else divide(keys, len(source.classes), seed=seed, test_fraction=0.25)
    )
    return ShardWriter(source, Decoder(), DIGITS, "the first", division, output, quarantine)


def shard(index: int, start: int, num_rows: int) -> dict[str, int | str]:
    file = f"part-{index:05d}.parquet"
    return {"index": index, "file": file, "start": start, "num_rows": num_rows}


def test_every_row_is_written_once_and_in_its_own_split(tmp_path: Path) -> None:
    source = DigitsSource()
    write = writer(source, tmp_path)
    records = [write(shard(0, 0, 500)), write(shard(1, 500, 400))]
    assert [record["num_rows"] for record in records] == [500, 400]
    by_id = {row.id: row for row in source.read(0, 900)}
    seen = []
    for split in ("train", "test"):
        files = [file for record in records for file in record["files"] if file["split"] == split]
        for table in iterate(tmp_path, shards_from_json(files, tmp_path)):
            ids = table["id"].to_pylist()
            seen += ids
            assert {write._split_of(by_id[row]) for row in ids} == {split}
            assert np.array_equal(images_of(table), np.stack([by_id[row].image for row in ids]))
            assert labels_of(table).tolist() == [by_id[row].label for row in ids]
    assert sorted(seen) == sorted(by_id)


def test_the_same_range_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    one = writer(DigitsSource(), tmp_path / "one")(shard(0, 0, 100))
    two = writer(DigitsSource(), tmp_path / "two")(shard(0, 0, 100))
    assert one == two
    assert one["files"][0]["sha256"] == sha256_of_file(tmp_path / "one" / "test/part-00000.parquet")
    assert writer(DigitsSource(), tmp_path / "three", seed=1)(shard(0, 0, 100)) != one


@dataclass
class Captioned(Source):
    """Rows of its own split, with captions and without labels."""

    num_rows: int = 4
    classes: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train", "val")
    has_captions: bool = True
    wrong: set[int] = field(default_factory=set)

    def read(self, start: int, stop: int) -> list[RawRow | BadRow]:
        return [
            RawRow(
                f"row-{row}",
                np.zeros((9, 9, 3) if row in self.wrong else DIGITS, np.uint8),
                -1,
                f"picture {row}",
                "train" if row < 3 else "val",
                f"row {row}",
            )
            for row in range(start, stop)
        ]


def test_given_splits_are_kept_and_empty_ones_get_no_file(tmp_path: Path) -> None:
    record = writer(Captioned(), tmp_path)(shard(0, 0, 3))
    assert [(file["split"], file["num_rows"]) for file in record["files"]] == [("train", 3)]
    record = writer(Captioned(), tmp_path)(shard(1, 2, 2))
    assert [(file["split"], file["num_rows"]) for file in record["files"]] == [
        ("train", 1),
        ("val", 1),
    ]
    (table,) = iterate(tmp_path, shards_from_json(record["files"][1:], tmp_path))
    assert table.column_names == ["id", "image", "caption"]
    assert table.select(["id", "caption"]) == pa.table({"id": ["row-3"], "caption": ["picture 3"]})


def test_a_shard_with_a_picture_of_another_shape_is_not_written(tmp_path: Path) -> None:
    told = r"^bad row row-1: .*: row 1 is 9x9x3 and the first is 8x8x1 .*--on-bad-row quarantine$"
    with pytest.raises(UserError, match=told):
        writer(Captioned(wrong={1, 2}), tmp_path)(shard(0, 0, 4))
    assert list(tmp_path.iterdir()) == []


def test_bad_rows_are_set_aside_with_their_place_and_reason(tmp_path: Path) -> None:
    write = writer(Captioned(wrong={1, 2}), tmp_path, quarantine=True)
    record = write(shard(0, 0, 4))
    assert (record["num_rows"], record["num_quarantined"]) == (2, 2)
    (entry,) = record["quarantine"]
    assert entry["file"] == "quarantine/part-00000.parquet"
    assert entry["sha256"] == sha256_of_file(tmp_path / entry["file"])
    first, second = pq.read_table(tmp_path / entry["file"]).to_pylist()
    assert (first["id"], first["row"], first["origin"]) == ("row-1", 1, "row 1")
    assert "row 1 is 9x9x3 and the first is 8x8x1" in first["reason"]
    assert (second["id"], second["row"]) == ("row-2", 2)
    assert write(shard(0, 0, 4)) == record


def test_a_shard_of_bad_rows_alone_has_a_quarantine_and_no_other_file(tmp_path: Path) -> None:
    record = writer(Captioned(wrong={1, 2}), tmp_path, quarantine=True)(shard(3, 1, 2))
    assert (record["num_rows"], record["num_quarantined"], record["files"]) == (0, 2, [])
    assert [file.name for file in tmp_path.rglob("*.parquet")] == ["part-00003.parquet"]
    table = pq.read_table(tmp_path / record["quarantine"][0]["file"])
    assert table["row"].to_pylist() == [1, 2]


def test_a_shard_of_good_rows_has_no_quarantine(tmp_path: Path) -> None:
    record = writer(Captioned(), tmp_path, quarantine=True)(shard(0, 0, 4))
    assert (record["num_rows"], record["num_quarantined"], record["quarantine"]) == (4, 0, [])
    assert not (tmp_path / "quarantine").exists()
