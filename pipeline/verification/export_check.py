"""Whether an export is what its `export.json` says: the files, their hashes and their rows."""

from collections.abc import Callable
from pathlib import Path

from pipeline.errors import UserError
from pipeline.formats.hugging_face import EXPORT_FILE
from pipeline.formats.output import read_json, sha256_of_file
from pipeline.formats.seal import seal_holds
from pipeline.formats.shard import Shard, open_parquet, shards_from_json
from pipeline.verification.faults import Faults


def check_export(
    path: Path, faults: Faults, progress: Callable[[int], Callable[[int], object]]
) -> tuple[Shard, ...]:
    """Notes what is wrong with the files of an export, and returns those that are listed."""
    try:
        stored = read_json(path / EXPORT_FILE)
        if not seal_holds(stored):
            what = "was changed by hand: its seal is broken"
            faults.add("a changed manifest", EXPORT_FILE, what)
        listed = {
            split: shards_from_json(entries, path / EXPORT_FILE)
            for split, entries in stored["splits"].items()
        }
        counts = dict(stored["num_rows"])
    except (UserError, AttributeError, KeyError, TypeError, ValueError) as error:
        faults.add("a manifest that cannot be used", EXPORT_FILE, str(error))
        return ()
    shards = tuple(shard for files in listed.values() for shard in files)
    on_rows = progress(sum(shard.num_rows for shard in shards))
    for split, files in listed.items():
        num_rows = sum(shard.num_rows for shard in files)
        if counts.get(split) != num_rows:
            what = f"says {counts.get(split)} rows of {split}, and its files have {num_rows}"
            faults.add("a count that is not right", EXPORT_FILE, what)
    for shard in shards:
        _check(path, shard, faults)
        on_rows(shard.num_rows)
    return shards


def _check(directory: Path, shard: Shard, faults: Faults) -> None:
    path = directory / shard.file
    if not path.is_file():
        faults.add("a missing file", shard.file, "is missing")
        return
    if sha256_of_file(path) != shard.sha256:
        faults.add("a file with another hash", shard.file, "has not the recorded SHA-256")
    try:
        with open_parquet(path) as opened:
            if opened.metadata.num_rows != shard.num_rows:
                what = f"has {opened.metadata.num_rows} rows where {shard.num_rows} are recorded"
                faults.add("a file with another number of rows", shard.file, what)
    except UserError as error:
        faults.add("a file that cannot be read", shard.file, str(error))
