"""A finished set in the layout of Hugging Face's `datasets`, which other tools read as well.

OUTPUT/data/train-00000-of-00003.parquet ...    PNG in struct<bytes, path>, ClassLabel in the header
OUTPUT/export.json                              which set it is; written last
"""

from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg

from jobs.common.pools import Pool
from jobs.common.records import remove_records
from jobs.common.sharded import run_shards
from noisestack.command import Command
from noisestack.config import JobConfig
from noisestack.session import ray_session
from pipeline.errors import UserError
from pipeline.formats.claim import claim_output
from pipeline.formats.hugging_face import (
    EXPORT_FILE,
    FinishedSet,
    HuggingFaceWriter,
    open_set,
    write_export_info,
)
from pipeline.formats.shard import shards_from_json

_FILE_BYTES = 256 << 20  # of pixels; a worker holds a file's twice


class ExportConfig(JobConfig):
    """Write a dataset, a sample set or a perturbation set so that other tools read it.

    Parquet with a PNG a picture and the names of the classes in the header: what Hugging Face's
    `datasets` loads, and what Polars, DuckDB, pandas and Lance read. No pixel changes.
    """

    directory: CliPositionalArg[Path] = Field(description="the finished set")
    output: Path = Field(description="where the files go: data/SPLIT-00000-of-00001.parquet")
    overwrite: bool = Field(False, description="replace another config's results in OUTPUT")
    rows_per_file: int | None = Field(
        None, ge=1, description="rows of a file; none for as many as have 256 MiB of pixels"
    )
    num_workers: int | None = Field(
        None, ge=1, description="actors at most; none for as many as the cluster holds"
    )


def main(config: ExportConfig) -> Path:
    """Makes, or finishes, the export in ``config.output``; returns its directory.

    Raises:
        UserError: no finished set stands in ``config.directory``.
    """
    source = open_set(config.directory)
    if config.output.is_relative_to(source.path):
        raise UserError(f"{config.output} lies in the set itself; choose another directory")
    fingerprint = {
        "job": "export",
        "kind": source.kind,
        "sha256": source.sha256,
        "rows_per_file": config.rows_per_file,
    }
    with claim_output(
        config.output, fingerprint, overwrite=config.overwrite, marker=EXPORT_FILE
    ) as output:
        shards = files_of(source, config.rows_per_file)
        if not output.finished:
            worker_args = {"source": source, "output": output.directory}
            with ray_session():
                records = run_shards(
                    Pool(HuggingFaceWriter, worker_args, num_workers=config.num_workers),
                    shards,
                    output.directory,
                    describe="export",
                )
            written = shards_from_json(records, Path("records"))
            files = {
                split: [
                    file
                    for file, shard in zip(written, shards, strict=True)
                    if shard["split"] == split
                ]
                for split in source.splits
            }
            write_export_info(output.directory, source, files)
            remove_records(output.directory)
    for split in source.splits:
        count = sum(shard["split"] == split for shard in shards)
        print(f"{split:9} {source.num_rows(split):,} rows in {count:,} file{'s'[: count > 1]}")
    print(f"export    {output.path}")
    print(f'read it   datasets.load_dataset("{output.path}")')
    return output.path


def files_of(source: FinishedSet, rows_per_file: int | None) -> list[dict[str, Any]]:
    """Which rows of which split go into which file."""
    height, width, channels = source.shape
    rows_per_file = rows_per_file or max(1, _FILE_BYTES // (height * width * channels))
    files: list[dict[str, Any]] = []
    for split in source.splits:
        num_rows = source.num_rows(split)
        count = -(-num_rows // rows_per_file)
        for number in range(count):
            start = number * rows_per_file
            stop = min(start + rows_per_file, num_rows)
            files.append(
                {
                    "index": len(files),
                    "file": f"data/{split}-{number:05d}-of-{count:05d}.parquet",
                    "split": split,
                    "start": start,
                    "stop": stop,
                    "num_rows": stop - start,
                }
            )
    return files


COMMAND = Command(ExportConfig, main, summary="a set in Hugging Face's layout, for other tools")
if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
