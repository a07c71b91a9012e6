"""The workers of a Ray Train run, as one of them sees the others."""

from typing import Any

import ray.train
import torch


class TrainRanks:
    """Speaks to the other workers through the process group that Ray Train has set up.

    Attributes:
        rank, world: this worker's number, and how many there are.
    """

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()

    def from_first(self, value: Any) -> Any:
        """What the worker of rank 0 gave."""
        values = [value]
        if self.world > 1:
            torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def of_all(self, value: Any) -> list[Any]:
        """What each worker gave, in the order of their ranks."""
        values = [value] * self.world
        if self.world > 1:
            torch.distributed.all_gather_object(values, value)
        return values
