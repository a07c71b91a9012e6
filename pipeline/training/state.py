"""What a training run carries from step to step, as tensors by name."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def flat_state(
    network: nn.Module, average: Mapping[str, Tensor], optimizer: torch.optim.AdamW
) -> dict[str, Tensor]:
    """Weights, their average and the optimiser's moments: what a checkpoint holds.

    Args:
        average: by the names of the network's parameters; empty where none is kept.
    """
    tensors = {f"weights.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in average.items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"adam.{key}.{name}"] = torch.as_tensor(value)
    return {name: value.detach().contiguous() for name, value in tensors.items()}


def load_flat_state(
    network: nn.Module,
    average: Mapping[str, Tensor],
    optimizer: torch.optim.AdamW,
    tensors: Mapping[str, Tensor],
) -> None:
    """Goes on from a `flat_state`, in place.

    Raises:
        KeyError, RuntimeError: it is that of another network.
    """
    network.load_state_dict(with_prefix(tensors, "weights."))
    for name, value in average.items():
        value.copy_(tensors[f"ema.{name}"])
    for name, parameter in network.named_parameters():
        optimizer.state[parameter] = {
            key: tensors[f"adam.{key}.{name}"]
            .clone()
            .to("cpu" if key == "step" else parameter.device)
            for key in _MOMENTS
            if f"adam.{key}.{name}" in tensors
        }


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
