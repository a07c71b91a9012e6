"""The vectors that a sample set was drawn on, where pictures gave them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.formats.perturbation.rows import Tally
from pipeline.sampling.picture_vectors import VECTORS
from pipeline.verification.faults import Faults


class VectorClaims:
    """That samples had the vectors whose hashes the manifest lists, in turn.

    Args:
        origin: the manifest's.

    Raises:
        KeyError, TypeError, ValueError: it lists none.
    """

    columns = ("sample_index", "label", "condition_sha256")

    def __init__(self, origin: Mapping[str, Any]) -> None:
        self._hashes = np.array([str(one) for one in origin[VECTORS]["condition_sha256"]])
        if not len(self._hashes):
            raise ValueError("the vectors of the samples have no hashes")

    def of_rows(self, table: pa.Table) -> tuple[dict[str, np.ndarray], Tally]:
        index, label = (table.column(name).to_numpy() for name in self.columns[:2])
        stated = np.array(table.column("condition_sha256").to_pylist(), str)
        return {
            "label of a sample that has none": label != -1,
            "condition_sha256 is not what the manifest's rule gives it": stated
            != self._hashes[index % len(self._hashes)],
        }, {}

    def of_set(self, tallies: list[Tally], faults: Faults) -> None:
        """Nothing is counted."""
