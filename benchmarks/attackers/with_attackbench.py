"""AttackBench (attackbenchlib, MIT), which calls an attack and measures it.

It imports torchvision for data sets that are downloaded, and wandb for results that others have
uploaded; neither is needed here, and PyPI's torchvision does not load beside torch's CPU build.
"""

import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

_NOT_NEEDED = ("torchvision", "torchvision.datasets", "torchvision.transforms", "wandb")


class _StandIn(types.ModuleType):
    """A module that has a class of any name."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextmanager
def _stand_ins() -> Iterator[None]:
    missing = [name for name in _NOT_NEEDED if name not in sys.modules]
    sys.modules.update({name: _StandIn(name) for name in missing})
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def run(
    attack: Callable[..., Tensor], network: nn.Module, x: Tensor, y: Tensor, batch: int
) -> dict[str, Any]:
    """What AttackBench's `run_attack` says of an attack in L2.

    The attack is wrapped by its `create_custom_attack`.

    Args:
        attack: called as ``attack(model, inputs, labels, norm=…)``.
        x, y: float32 ``[N, C, H, W]`` in [0, 1] and int64 ``[N]``.
        batch: pictures that the attack is given at a time.
    """
    with _stand_ins():
        import attackbench
    loader = DataLoader(TensorDataset(x, y), batch_size=batch)
    with warnings.catch_warnings():
        # Of hooks that see no gradient by the parameters: they are frozen.
        warnings.filterwarnings("ignore", "Full backward hook")
        results: dict[str, Any] = attackbench.run_attack(
            network, loader, attackbench.create_custom_attack(attack), "l2", debug=True
        )
    return results
