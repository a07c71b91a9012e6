"""The stack of conditional denoisers: what is trained, stored, sampled and served."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.conditions.base import ConditionEmbedding
from pipeline.errors import UserError
from pipeline.formats.model import open_model, save_model
from pipeline.networks.base import Network, pyramid
from pipeline.stack_spec import StackSpec

KIND = "stack"
PRIOR = "prior"  # a stack of vectors: what reads pictures' stacks from disk takes no such model


class Stack(nn.Module):
    """The denoisers of all stages: ``x_hat(z, sigma, c)``, preconditioned as in EDM.

    Attributes:
        spec: see `StackSpec`.
        stages: the indices of the stages that it can denoise; all, unless only a part was asked
            for (where each stage has a network of its own, only these networks are there).
        networks: the shared one by its name, or ``stage_<side>`` for each of the stages.
        sha256: the content hash of the model it was loaded from; empty before it is stored.
        name: the model directory's name, if it has one.
    """

    def __init__(self, spec: StackSpec, stages: Sequence[int] | None = None) -> None:
        """Builds untrained networks.

        Args:
            spec: the stack's.
            stages: the stages to hold, which alone can be sampled; None for all. A shared network
                is built up to the finest of them, with their heads only.
        """
        super().__init__()
        self.spec = spec
        self.stages = tuple(range(len(spec.stages)) if stages is None else stages)
        self.sha256 = ""
        self.name = ""
        self.networks = nn.ModuleDict(
            {
                spec.network_name(stages[-1]): _untrained(spec, stages)
                for stages in spec.sharing(self.stages)
            }
        )

    @classmethod
    def fresh(cls, spec: StackSpec, seed: int, stages: Sequence[int] | None = None) -> "Stack":
        """A stack with the weights that training starts from.

        Each network's weights are keyed by the seed and its stage, so that a stage starts alike
        whether it is trained alone or among the others.

        Args:
            spec: the stack's.
            seed: keys the weights.
            stages: which stages to build; None for all.
        """
        with torch.random.fork_rng([]):
            stack = cls(spec, stages)
            for part in spec.sharing(stack.stages):
                # A shared one has the last stage's key, whichever stages are there.
                number = len(spec.stages) - 1 if spec.network_entry.shared else part[-1]
                key = np.random.SeedSequence((seed % 2**64, number)).generate_state(1, np.uint64)
                torch.manual_seed(int(key[0]))
                start = _untrained(spec, part).state_dict()
                stack.network_of(part[-1]).load_state_dict(start)
        return stack

    @classmethod
    def load(
        cls,
        path: Path | str,
        device: torch.device | str = "cpu",
        stages: Sequence[int] | None = None,
        *,
        kind: str = KIND,
    ) -> "Stack":
        """The stack of a model directory, with its averaged weights, ready to sample.

        Args:
            path: the model's directory.
            device: where the networks compute.
            stages: the stages to hold, as in the constructor; no other weights go to the device.
            kind: `KIND`, of pictures, or `PRIOR`, of vectors.

        Raises:
            UserError: the directory is not a whole, unaltered stack.
        """
        stored = open_model(Path(path), kind)
        config = {k: v for k, v in stored.config.items() if k not in ("format", "kind")}
        stack = cls(StackSpec.from_json(config, str(path)), stages)
        for part in stack.spec.sharing(stack.stages):
            name, network = stack.spec.network_name(part[-1]), stack.network_of(part[-1])
            weights = stored.weights(f"{name}.ema")
            try:
                network.load_state_dict(weights if stages is None else network.part_of(weights))
            except RuntimeError as error:
                raise UserError(
                    f"{path}: the weights of {name} do not fit its config.json "
                    f"({str(error).splitlines()[-1].strip()}); copy the model whole"
                ) from None
        stack.sha256, stack.name = stored.sha256, Path(path).absolute().name
        return stack.to(device).eval()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.spec.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.spec.shape

    @property
    def rows_per_call(self) -> int:
        return self.spec.rows_per_call

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def has_null_condition(self) -> bool:
        """Whether it can denoise without a condition.

        The null condition's vector starts at 0, and stays there exactly if training drops none.
        """
        if self.spec.condition.kind == "none":
            return True
        embeddings = [part for part in self.modules() if isinstance(part, ConditionEmbedding)]
        return all(bool(embedding.null.any()) for embedding in embeddings)

    def network_of(self, stage: int) -> Network:
        """The network that works in a stage."""
        return cast(Network, self.networks[self.spec.network_name(stage)])

    def forward(
        self,
        stage: int,
        z: Tensor,
        sigma: Tensor,
        condition: Tensor | None,
        dropout_mask: Tensor | None = None,
    ) -> Tensor:
        """``x_hat(z, sigma, c)``: the expected clean picture of a stage.

        Equations 7 of Karras et al. (2022), with the stage's own sigma_d: near the data the output
        is mostly z, in strong noise mostly the network's.

        Args:
            stage: the stage's index.
            z: the noisy pictures, ``[N, C, h, w]`` at the stage's resolution.
            sigma: their noise levels, float32 ``[N]``.
            condition: see `Condition`; None is null for all rows.
            dropout_mask: dropout's factors, ``[N, spec.num_features(stage)]``; None drops nothing.

        Returns:
            ``[N, C, h, w]``.
        """
        sigma_d = self.spec.sigma_data[: stage + 1]
        s = sigma[:, None, None, None]
        # Each level scales its own picture by its own sigma_d, as if the picture entered there.
        pictures = [
            small / (s**2 + d**2).sqrt()
            for small, d in zip(pyramid(z, stage), sigma_d, strict=True)
        ]
        raw = self.network_of(stage)(pictures, sigma.log(), condition, dropout_mask)
        d2 = sigma_d[-1] ** 2
        norm2 = s**2 + d2
        x_hat: Tensor = (d2 / norm2) * z + (s * sigma_d[-1] / norm2.sqrt()) * raw
        return x_hat


def averaged_stack(stack: Stack, averaged: Mapping[str, Tensor]) -> Stack:
    """A copy of a stack with averaged weights, for sampling.

    Args:
        stack: in training.
        averaged: the moving average of the stack's parameters, by their names in the stack.
    """
    copy = Stack(stack.spec, stack.stages).to(stack.device)
    copy.load_state_dict({**stack.state_dict(), **averaged})
    return copy.eval()


def _untrained(spec: StackSpec, stages: tuple[int, ...]) -> Network:
    """The network that these stages share."""
    return spec.network_entry.network(spec.network_spec(stages))


def save_stack(
    stack: Stack, averaged: Mapping[str, Tensor], path: Path, card: Mapping[str, Any]
) -> str:
    """Publishes a model directory: weights and averaged weights of each network, the card last.

    Args:
        stack: the trained stack.
        averaged: the moving average of the stack's parameters, by their names in the stack.
        path: the directory; one that is there already is replaced.
        card: facts for a reader: data, training figures, versions.

    Returns:
        The content hash, the model's identity.
    """
    weights: dict[str, dict[str, Tensor]] = {}
    for name, network in stack.networks.items():
        state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        prefix = f"networks.{name}."
        smooth = {k: averaged.get(prefix + k, v).detach().cpu() for k, v in state.items()}
        weights[name] = state
        weights[f"{name}.ema"] = {k: v.contiguous() for k, v in smooth.items()}
    return save_model(
        path,
        kind=PRIOR if stack.spec.of_vectors else KIND,
        config=stack.spec.to_json(),
        weights=weights,
        card=dict(card),
    )
