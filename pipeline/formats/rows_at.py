"""Rows of a dataset by their numbers."""

import numpy as np
import pyarrow as pa

from pipeline.formats.dataset import DatasetInfo, read_rows

# Rows between two that are wanted, which are read in vain rather than a file opened once more.
_FAR_APART = 1024


def rows_at(info: DatasetInfo, split: str, rows: np.ndarray) -> pa.Table:
    """The rows of these numbers, in their order; in memory are the runs that they lie in.

    Args:
        info: the dataset.
        split: of the dataset.
        rows: int64 ``[N]``, N >= 1; one may come twice.

    Raises:
        IndexError, UserError: as `read_rows`.
    """
    wanted, place = np.unique(rows, return_inverse=True)
    runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > _FAR_APART) + 1)
    parts = [
        read_rows(info, split, int(run[0]), int(run[-1]) + 1).take(pa.array(run - run[0]))
        for run in runs
    ]
    return pa.concat_tables(parts).take(pa.array(place.reshape(-1))).combine_chunks()
