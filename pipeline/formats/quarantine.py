"""Bad rows that a job set aside, with their origin and what is wrong with them.

DIR/quarantine/part-00000.parquet   one row for each bad row of the shard part-00000: id string,
                                    row int64, origin string, reason string
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.formats.shard import Shard, write_shard

QUARANTINE = "quarantine"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("row", pa.int64()),  # number of the row in what the job read
        ("origin", pa.string()),  # the file, and where in it
        ("reason", pa.string()),  # what is wrong, and what to do about it
    ]
)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used.

    Attributes:
        id: as it would have been if the row were good.
        row: its number in what the job reads.
        origin: where it stands, for people.
        reason: one line: what is wrong, where, and what to do.
    """

    id: str
    row: int
    origin: str
    reason: str

    @property
    def message(self) -> str:
        """The line for a person whose job fails because of this row."""
        return f"bad row {self.id}: {self.reason}, or set bad rows aside: --on-bad-row quarantine"


def write_quarantine(rows: Sequence[BadRow], directory: Path, file: str) -> list[dict[str, Any]]:
    """Writes the bad rows of the shard `file`; without rows it writes nothing.

    Returns:
        The fields of the file's `Shard` in a list, for the shard's record; empty without rows.
    """
    if not rows:
        return []
    table = pa.Table.from_pylist([asdict(row) for row in rows], SCHEMA)
    return [asdict(write_shard(table, directory, f"{QUARANTINE}/{file}"))]


def counts_of(written: Sequence[Shard], quarantine: Sequence[Shard]) -> dict[str, int]:
    """The counts in a manifest: rows read, written and quarantined."""
    kept, bad = (sum(shard.num_rows for shard in shards) for shards in (written, quarantine))
    return {"read": kept + bad, "written": kept, "quarantined": bad}
