"""Pictures into a dataset: any source through a pool of actors into Parquet, split in two."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.common.bad_rows import refuse_quarantine, set_aside
from jobs.common.pools import Pool
from jobs.common.records import Record, record_path, remove_records
from jobs.common.row_ranges import RowRanges
from jobs.common.sharded import run_shards
from jobs.ingest.config import IngestConfig
from jobs.ingest.grid import GRID_FILE, draw_grid
from noisestack.command import Command
from noisestack.config import describe
from noisestack.session import ray_session
from pipeline.class_names import refuse_reserved
from pipeline.errors import UserError
from pipeline.formats.claim import claim_output
from pipeline.formats.class_counts import class_notes
from pipeline.formats.dataset import (
    DATASET_FILE,
    DatasetInfo,
    load_dataset,
    write_dataset_info,
)
from pipeline.formats.output import read_json
from pipeline.formats.quarantine import BadRow
from pipeline.formats.shard import Shard, shards_from_json
from pipeline.formats.splits import TEST, TRAIN
from pipeline.sources.base import Source
from pipeline.sources.fit import FitCounts
from pipeline.sources.shape import shape_of
from pipeline.sources.writer import ShardWriter


def main(config: IngestConfig) -> Path:
    """Makes, or finishes, the dataset in ``config.output``; returns its directory."""
    source, decoder = config.open_source(), config.decoder()
    refuse_reserved(source.classes)
    quarantine = config.on_bad_row == "quarantine"
    if not quarantine and (number := source.first_bad_label()) is not None:
        (bad,) = source.read(number, number + 1)
        assert isinstance(bad, BadRow)
        raise UserError(bad.message)
    shape, first = shape_of(source, decoder, quarantine=quarantine)
    origin = _origin(config, source, shape)
    with claim_output(
        config.output, origin, overwrite=config.overwrite, marker=DATASET_FILE
    ) as output:
        if not output.finished:
            worker_args = {
                "source": source,
                "decoder": decoder,
                "shape": shape,
                "first": first,
                "division": config.division(source),
                "output": output.directory,
                "quarantine": quarantine,
            }
            with ray_session():
                records = _write(worker_args, config, source.num_rows)
            bad_rows = shards_from_json(
                [entry for record in records for entry in record["quarantine"]], Path("records")
            )
            num_bad = sum(shard.num_rows for shard in bad_rows)
            refuse_quarantine(config.on_bad_row, num_bad, output.directory)
            splits = _splits(records, source, config.test_fraction, num_bad)
            draw_grid(output.directory, splits[next(iter(splits))], source.classes)
            resized = {"resized": _resized(records).to_json()} if config.resize else {}
            write_dataset_info(
                output.directory,
                shape=shape,
                classes=source.classes,
                splits=splits,
                has_captions=source.has_captions,
                origin={**origin, **resized},
                quarantine=bad_rows,
            )
            remove_records(output.directory)
    info = load_dataset(output.path)
    refuse_quarantine(config.on_bad_row, info.num_quarantined, info.path)
    _tell(info, config, source)
    return output.path


def _origin(config: IngestConfig, source: Source, shape: tuple[int, int, int]) -> dict[str, Any]:
    """All that decides the dataset's bytes."""
    origin = {
        "job": "ingest",
        **describe(config.model_copy(update={"classes": source.classes})),
        "num_rows": source.num_rows,
        "shape": list(shape),
        "splits": config.where_splits_come_from(source),
        "notes": list(source.notes),
    }
    for key in ("output", "overwrite", "num_workers", "on_bad_row"):
        del origin[key]
    if config.resize is None:  # then it decides nothing
        del origin["fit"]
    if config.resize is None or config.fit != "pad":
        del origin["pad_fill"]
    return origin


def _write(worker_args: dict[str, Any], config: IngestConfig, num_rows: int) -> Sequence[Record]:
    directory: Path = worker_args["output"]
    shards = RowRanges(num_rows, config.rows_per_shard)
    try:
        return run_shards(
            Pool(ShardWriter, worker_args, num_workers=config.num_workers),
            shards,
            directory,
            describe="ingest",
        )
    except UserError:
        # Which worker met its bad picture first is chance; a person is told the first in order.
        # Only shards without a record can hold it, and those before it were nearly all finished.
        worker = ShardWriter(**worker_args)
        for shard in shards:
            if not record_path(directory, shard).exists():
                worker.load(shard)
        raise


def _splits(
    records: Sequence[Record], source: Source, test_fraction: float, num_bad: int
) -> dict[str, tuple[Shard, ...]]:
    """The shards of each split, after a check that no row is missing and no split is empty."""
    names = source.splits or ((TRAIN, TEST) if test_fraction else (TRAIN,))
    splits = {
        name: shards_from_json(
            (file for record in records for file in record["files"] if file["split"] == name),
            Path("records"),
        )
        for name in names
    }
    written = sum(shard.num_rows for shards in splits.values() for shard in shards)
    if written + num_bad != source.num_rows:
        raise RuntimeError(
            f"{source.num_rows} rows were read, {written} written and {num_bad} set aside"
        )
    if source.splits:  # a part without a good row, such as one without labels, is left out
        splits = {name: shards for name, shards in splits.items() if shards}
        if not splits:
            raise UserError(f"none of the {source.num_rows} rows is good; see the quarantine")
    for name, shards in splits.items():
        if not shards:
            raise UserError(
                f"none of the {written} good rows fell into the split {name}; give another "
                "--test-fraction (0 for no test split)"
            )
    return splits


def _resized(records: Sequence[Record]) -> FitCounts:
    """From what sizes all pictures came."""
    counts = FitCounts()
    for record in records:
        counts.add(FitCounts.from_json(record["resized"]))
    return counts


def _tell(info: DatasetInfo, config: IngestConfig, source: Source) -> None:
    height, width, channels = info.shape
    rows = ", ".join(f"{split} {info.num_rows(split):,}" for split in info.splits)
    names = ", ".join(info.classes[:12]) + (", ..." if len(info.classes) > 12 else "")
    print(f"rows      {rows}")
    print(f"splits    {config.where_splits_come_from(source)}")
    print(f"pictures  {height}x{width} pixels, {'grey' if channels == 1 else 'RGB'}")
    if config.resize is not None:
        counts = FitCounts.from_json(read_json(info.path / DATASET_FILE)["origin"]["resized"])
        print(f"resized   {counts.words((height, width), config.fit, config.pad_fill)}")
    print(f"classes   {len(info.classes)}{': ' if names else ''}{names}")
    if info.has_captions:
        print("captions  yes")
    gone = [split for split in source.splits if split not in info.splits]
    notes = [f"the split {split} has no good row and is left out" for split in gone]
    for note in (*notes, *source.notes, *class_notes(info)):
        print(f"note      {note}")
    if info.num_quarantined:
        print(f"bad rows  {set_aside(info.num_quarantined, info.path)}")
    print(f"grid      {info.path / GRID_FILE}")
    print(f"dataset   {info.path}")


COMMAND = Command(IngestConfig, main, summary="pictures in folders, idx or Parquet into a dataset")
