"""Everything about a stack but its weights, and its form in a model's config.json."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from pipeline.chain.schedule import Layer, Stage
from pipeline.chain.transition import tuned_variance
from pipeline.conditions import ConditionSpec
from pipeline.errors import UserError
from pipeline.formats.encoder_id import EncoderId
from pipeline.networks import NETWORKS, NetworkName
from pipeline.networks.base import NetworkEntry, NetworkSpec


@dataclass(frozen=True)
class ErrorCurve:
    """The denoiser's mean squared error per coefficient against the noise level, in one stage.

    Attributes:
        log_sigma: natural logarithms of noise levels, rising.
        mse: the error at each, on pictures of the train split.
    """

    log_sigma: tuple[float, ...]
    mse: tuple[float, ...]


@dataclass(frozen=True)
class StackSpec:
    """Everything about a stack but its weights.

    Attributes:
        shape: height, width and channels of a picture; ``(1, 1, D)`` of vectors.
        classes: class names, in the order of their labels; empty without labels.
        condition: what the networks are conditioned on.
        stages: coarsest first.
        sigma_data: root mean square of the low-passed data in each stage (EDM's sigma_d).
        tau2: the data's variance in the three detail bands and C channels at each of the
            S - 1 resolution changes.
        network: a key of `NETWORKS`.
        widths, blocks: of the network's level at each stage's resolution.
        embedding: width of the conditioning vector.
        dropout: share of the feature maps that are dropped in training.
        rows_per_call: rows in each call of a network in sampling. Fixed and padded, so that a
            sample's bits do not depend on its neighbours.
        layers: layers in each stage, the default of sampling.
        sampler: the default sampler's name.
        guidance: the default guidance weight; 1 is none.
        attends: indices of the stages at whose resolution pixels attend to the condition's tokens.
        untrained: labels of classes without training pictures; they cannot be sampled.
        vectors: whose embeddings a stack of vectors draws; None for pictures.
        errors: each stage's `ErrorCurve`, measured when training ends; empty before.
    """

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    condition: ConditionSpec
    stages: tuple[Stage, ...]
    sigma_data: tuple[float, ...]
    tau2: tuple[tuple[tuple[float, ...], ...], ...]
    network: NetworkName
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    embedding: int
    dropout: float
    rows_per_call: int
    layers: tuple[int, ...]
    sampler: str = "heun"
    guidance: float = 1.0
    errors: tuple[ErrorCurve, ...] = ()
    untrained: tuple[int, ...] = ()
    attends: tuple[int, ...] = ()
    vectors: EncoderId | None = None

    def picture_shape(self, stage: int) -> tuple[int, int, int]:
        """``(C, h, w)`` of the pictures in a stage."""
        height, width, channels = self.shape
        factor = height // self.stages[stage].side
        return channels, height // factor, width // factor

    def tau2_after(self, stage: int) -> Tensor:
        """``[3, C]``: tau squared where this stage hands over to the next."""
        return torch.tensor(self.tau2[stage], dtype=torch.float64)

    def mean_squared_error(self, stage: int, sigma: float) -> float:
        """The stored error per coefficient at a noise level, interpolated in log sigma.

        Raises:
            ValueError: the stack has no error curves.
        """
        if not self.errors:
            raise ValueError("this stack's error curves were never measured")
        curve = self.errors[stage]
        return float(np.interp(math.log(sigma), curve.log_sigma, curve.mse))

    def decoder_variance(self, layer: Layer) -> float:
        """The variance per coefficient with which ``Dec_t`` draws: the one of least bound.

        Raises:
            ValueError: the stack has no error curves.
        """
        return tuned_variance(layer, self.mean_squared_error(layer.stage, layer.sigma_from))

    @property
    def of_vectors(self) -> bool:
        """Whether it denoises vectors, as pictures of one pixel."""
        return self.network_entry.vectors

    @property
    def network_entry(self) -> NetworkEntry:
        """What `NETWORKS` says of the stack's networks."""
        return NETWORKS[self.network]

    def network_spec(self, entrances: tuple[int, ...]) -> NetworkSpec:
        """The network over stages 0 to the last of the entrances."""
        last = max(entrances)
        return NetworkSpec(
            channels=self.shape[2],
            sides=tuple(s.side for s in self.stages[: last + 1]),
            widths=self.widths[: last + 1],
            blocks=self.blocks[: last + 1],
            entrances=entrances,
            condition=self.condition,
            embedding=self.embedding,
            attends=tuple(stage for stage in self.attends if stage <= last),
        )

    def num_features(self, stage: int) -> int:
        """How many feature maps a picture of a stage passes through: what dropout draws for."""
        named = self.network_entry
        entrances = range(stage + 1) if named.shared else (stage,)
        return named.network.num_features(self.network_spec(tuple(entrances)), stage)

    def sharing(self, stages: Sequence[int]) -> list[tuple[int, ...]]:
        """Those of the stages that share a network, for each of the networks."""
        return [tuple(stages)] if self.network_entry.shared else [(stage,) for stage in stages]

    def network_name(self, stage: int) -> str:
        """The name of the network that works in a stage: ``nested``, ``stage_<side>``."""
        return self.network if self.network_entry.shared else f"stage_{self.stages[stage].side}"

    def to_json(self) -> dict[str, Any]:
        """The form in config.json; `from_json` reads it back."""
        fields = asdict(self) | {"condition": self.condition.to_json()}
        for later in ("attends", "vectors"):
            if not fields[later]:
                del fields[later]
        return fields

    @staticmethod
    def from_json(config: dict[str, Any], where: str) -> "StackSpec":
        """The spec that a config.json holds.

        Args:
            where: the model, for the message.

        Raises:
            UserError: a field is missing or of another kind.
        """
        try:
            return TypeAdapter(StackSpec).validate_python(config)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UserError(
                f"{where}: config.json does not describe a stack ({field}: {first['msg']}); "
                "train it anew, or use the version that wrote it"
            ) from None
