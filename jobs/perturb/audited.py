"""A set in one pass, or in two where the alarm of an audit goes off in the first.

Whether an alarm is widened depends on all rows, so no shard can know it: every shard is made
without, and if the sum over all of them says so, made anew with the alarm for all. The second
pass's files have other names, and what the first had counted stands in a marker among the records:
the same command goes on in the pass that it was stopped in.
"""

from collections.abc import Callable
from pathlib import Path

from jobs.common.records import RECORDS, Record, Records
from jobs.common.row_ranges import RowRanges
from pipeline.formats.output import read_json, write_json
from pipeline.formats.quarantine import QUARANTINE

_MARKER = "widened.json"
# Of the shards, and whether their audit's alarm takes all rows.
Pass = Callable[[RowRanges, bool], Records]


def run_audited(
    run: Pass, stop: int, rows_per_shard: int, directory: Path
) -> tuple[Records, Record | None]:
    """The records of the pass that counts, and what the first had counted where that is another.

    Args:
        run: makes a set's shards; their records count the rows that the alarm broke, and those that
            were audited and overturned.
        stop, rows_per_shard: of the rows; see `RowRanges`.
        directory: that the shards are written to.
    """
    marker = directory / RECORDS / _MARKER
    first = RowRanges(stop, rows_per_shard)
    if not marker.is_file():
        records = run(first, False)
        counts = {"alarming": 0, "audited": 0, "overturned": 0}
        for record in records:
            for name in counts:
                counts[name] += record[name]
        if not counts["alarming"]:
            return records, None
        write_json(marker, counts)
    for shard in first:
        for file in (shard["file"], f"{QUARANTINE}/{shard['file']}"):
            (directory / file).unlink(missing_ok=True)
    return run(RowRanges(stop, rows_per_shard, "widened"), True), read_json(marker)
