"""Checks an export against its `export.json`: the files, their hashes and their rows."""

from collections.abc import Callable
from pathlib import Path

from pipeline.errors import UserError
from pipeline.formats.hugging_face import EXPORT_FILE
from pipeline.formats.output import read_json
from pipeline.formats.seal import seal_holds
from pipeline.formats.shard import Shard, shards_from_json
from pipeline.verification.faults import Faults
from pipeline.verification.file_check import check_recorded


def check_export(
    path: Path, faults: Faults, progress: Callable[[int], Callable[[int], object]]
) -> tuple[Shard, ...]:
    """Notes the faults of an export's files, and returns the listed files."""
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
        check_recorded(path, shard, faults, lambda _: None)
        on_rows(shard.num_rows)
    return shards
