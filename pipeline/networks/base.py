"""What a stack needs of a network, and what it gives to one."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.chain.haar import low_pass
from pipeline.conditions import ConditionSpec


@dataclass(frozen=True)
class NetworkSpec:
    """The shape of a network.

    Attributes:
        channels: of the picture, 1 or 3; or a vector's dimensions.
        sides: the resolutions of the levels, coarsest first, each twice the one before.
        widths: feature channels of each level, multiples of 8.
        blocks: residual blocks on each side of each level.
        entrances: the levels at which a picture can enter.
        condition: what the picture or vector is conditioned on.
        embedding: width of the vector that carries noise level and condition.
        attends: the levels whose pixels attend to the condition's tokens.
    """

    channels: int
    sides: tuple[int, ...]
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    entrances: tuple[int, ...]
    condition: ConditionSpec
    embedding: int = 128
    attends: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.sides) == len(self.widths) == len(self.blocks):
            raise ValueError("sides, widths and blocks must have the same length")
        if any(w % 8 for w in self.widths):
            raise ValueError(f"widths must be multiples of 8, got {self.widths}")
        if self.attends and not self.condition.rule.has_tokens:
            raise ValueError(f"the condition {self.condition.kind} has no tokens to attend to")


class Network(nn.Module, ABC):
    """The raw network ``F(c_in z, log sigma, c)`` inside EDM's preconditioning.

    All parameters are trained alike. Its cost is counted by a call with tensors that have shapes
    but no values (`sampling.cost`), so a call must not depend on values.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec

    @staticmethod
    @abstractmethod
    def num_features(spec: NetworkSpec, entrance: int) -> int:
        """How many features dropout can take from a picture that enters at level ``entrance``.

        0 for a network without dropout.
        """

    @abstractmethod
    def forward(
        self,
        pictures: Sequence[Tensor],
        log_sigma: Tensor,
        condition: Tensor | None,
        dropout_mask: Tensor | None = None,
    ) -> Tensor:
        """The raw output at the resolution of the finest picture, ``[N, C, side, side]``.

        Args:
            pictures: the scaled noisy picture and its low-passes, coarsest first, one for each
                level from 0 to the entrance, ``[N, C, side, side]``.
            log_sigma: natural logarithm of the noise level, ``[N]``.
            condition: see `Condition`; None is null for all rows.
            dropout_mask: factors of the feature maps, drawn by the caller,
                ``[N, num_features(spec, entrance)]``; None drops nothing.
        """

    def part_of(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights for this network from those of a network with more entrances."""
        held = self.state_dict()
        return {name: tensor for name, tensor in weights.items() if name in held}


@dataclass(frozen=True)
class NetworkEntry:
    """An entry of `NETWORKS`: what configs and models call a network, and how stages share it.

    Attributes:
        name: what configs and config.json call it.
        help: what ``--help`` says of it, after its name.
        network: its class.
        shared: whether one network serves all stages; else each stage has its own.
        vectors: whether it takes vectors, as pictures of one pixel; else it takes pictures.
    """

    name: str
    help: str
    network: type[Network]
    shared: bool
    vectors: bool = False


def pyramid(z: Tensor, depth: int) -> list[Tensor]:
    """``z`` and its ``depth`` successive Haar low-passes, coarsest first."""
    pictures = [z]
    for _ in range(depth):
        pictures.insert(0, low_pass(pictures[0]))
    return pictures


def level_frequencies() -> Tensor:
    """Angular frequencies ``[32]`` of `level_features`, in log sigma."""
    return torch.exp(torch.linspace(math.log(0.25), math.log(8.0), 32))


def level_features(log_sigma: Tensor, frequencies: Tensor) -> Tensor:
    """How networks see a noise level: cosines and sines ``[N, 2 F]`` of its logarithm ``[N]``."""
    phase = log_sigma[:, None] * frequencies
    return torch.cat((phase.cos(), phase.sin()), dim=1)
