"""The random numbers of an optimiser step, keyed by the rows of its batch.

So a batch sees the same noise whether one process takes it whole, one takes it in parts, or several
workers share it.
"""

import numpy as np
import torch
from torch import Tensor

# A generator for each row would cost 35 µs a row; Philox in integer tensors 30 times a generator's
# draw. A tile of rows shares one, and a worker draws the tiles that its rows lie in.
_TILE = 16


class RowDraws:
    """Draws for some of the rows that train a stage in one step.

    Each draw depends only on the key, the row and the number of draws before it.

    Args:
        key: the purpose of the draws, such as (seed, step, stage); any integers.
        rows: the positions of these rows among all rows that train the stage in this step.
        total: the number of all those rows, over all workers.
        device: where to draw. A GPU draws other numbers than a CPU.
    """

    def __init__(
        self, key: tuple[int, ...], rows: range, total: int, device: torch.device | str = "cpu"
    ) -> None:
        self.rows, self.total, self._device = rows, total, torch.device(device)
        tiles = range(rows.start // _TILE, -(-rows.stop // _TILE))
        self._generators = [self._generator(key, tile) for tile in tiles]
        self._own = slice(rows.start - tiles.start * _TILE, rows.stop - tiles.start * _TILE)

    def _generator(self, key: tuple[int, ...], tile: int) -> torch.Generator:
        sequence = np.random.SeedSequence((*(part % 2**64 for part in key), tile))
        seed = int(sequence.generate_state(1, np.uint64)[0])
        return torch.Generator(self._device).manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform draws on [0, 1), float32 ``[N, *shape]``."""
        size = (_TILE, *shape)
        return self._joined(
            [torch.rand(size, generator=g, device=self._device) for g in self._generators]
        )

    def normal(self, *shape: int) -> Tensor:
        """Standard normal draws, float32 ``[N, *shape]``."""
        size = (_TILE, *shape)
        return self._joined(
            [torch.randn(size, generator=g, device=self._device) for g in self._generators]
        )

    def strata(self) -> Tensor:
        """Stratified uniform draws, float32 ``[N]``: row i of n in [i / n, (i + 1) / n)."""
        numbers = torch.arange(self.rows.start, self.rows.stop, device=self._device)
        return (numbers + self.uniform()) / self.total

    def dropout_mask(self, num_features: int, dropout: float) -> Tensor | None:
        """Factors for whole feature maps, float32 ``[N, num_features]``, whose mean is 1.

        Args:
            num_features: of a row.
            dropout: the probability of a factor 0, in [0, 1); the others are ``1 / (1 - dropout)``.

        Returns:
            None where ``dropout`` is 0.
        """
        if dropout == 0:
            return None
        return (self.uniform(num_features) >= dropout).float() / (1 - dropout)

    def _joined(self, tiles: list[Tensor]) -> Tensor:
        return torch.cat(tiles)[self._own]


def share_of_batch(batch_size: int, worker: int, num_workers: int) -> range:
    """The rows of each batch that a worker holds: parts of equal size, up to one row."""
    return range(worker * batch_size // num_workers, (worker + 1) * batch_size // num_workers)


def choose_evenly(share: float, rows: range, batch_size: int) -> tuple[list[int], range, int]:
    """Chooses a share of a batch's rows, spread evenly, so that each worker holds its part.

    Args:
        share: the part of the batch to choose, in (0, 1]; at least one row is chosen.
        rows: the rows of the batch that this worker holds.
        batch_size: rows of the batch, over all workers.

    Returns:
        This worker's chosen rows as positions within ``rows``; their numbers among all chosen rows
        of the batch; and how many rows of the batch are chosen.
    """
    total = max(1, round(share * batch_size))
    chosen = [
        row - rows.start
        for row in rows
        if (row + 1) * total // batch_size > row * total // batch_size
    ]
    return chosen, range(rows.start * total // batch_size, rows.stop * total // batch_size), total
