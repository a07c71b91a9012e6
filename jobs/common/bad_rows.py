"""What a job does with a row that it cannot use: fail at the first one, or set them all aside."""

from pathlib import Path
from typing import Literal

from pipeline.errors import UserError
from pipeline.formats.quarantine import QUARANTINE

OnBadRow = Literal["fail", "quarantine"]
DESCRIPTION = (
    "a row that cannot be used ends the job, or is set aside: its id, where it stands and the "
    f"reason go to OUTPUT/{QUARANTINE}"
)


def refuse_quarantine(on_bad_row: OnBadRow, num_quarantined: int, output: Path) -> None:
    """Raises UserError when an earlier run has set rows aside, and this one is not to.

    The choice does not belong to what decides the results: a job that failed at a bad row goes on
    with `quarantine` where it stopped. So the other way round has to be caught here.
    """
    if on_bad_row == "fail" and num_quarantined:
        raise UserError(
            f"an earlier run has set {num_quarantined:,} bad rows aside in {output / QUARANTINE}; "
            "give --on-bad-row quarantine again, or mend the rows and give --overwrite"
        )


def set_aside(num_quarantined: int, output: Path) -> str:
    """What a person is told of bad rows: how many there are, and where."""
    return f"{num_quarantined:,} set aside in {output / QUARANTINE}"
