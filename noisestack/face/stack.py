"""A trained stack: labels in, pictures out; the way of a sample; the likelihood of pictures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noisestack.face.conditions import Conditions, Labels
from noisestack.face.level import Level
from noisestack.face.local_path import local_path
from noisestack.face.options import sampling_options
from noisestack.face.pictures import stored_pictures, whole_number
from pipeline import stack as stored
from pipeline.chain.schedule import build_schedule, split_layers
from pipeline.errors import UserError
from pipeline.fixed_batch import padded_calls
from pipeline.likelihood import estimate_bound
from pipeline.pictures import to_signed
from pipeline.plots.trajectory import displayed
from pipeline.precision import full_float32
from pipeline.sampling import SAMPLERS, sample, trajectory
from pipeline.sampling.options import ALL_LEVELS


@dataclass(frozen=True, eq=False)
class BitsPerDim:
    """The variational bound on ``-log2 p(x | c)``, in bits a pixel and channel: lower is better.

    Attributes:
        mean: over the pictures.
        standard_error: of the mean, over pictures and draws of noise; infinite for one picture.
        rows: float64 ``[N]``, each picture's own bound.
        prior, layers, reconstruction: the parts that make up the mean: of ``z_0``, of the layers 1
            to T - 1 together, and of the 8-bit pixels given ``z_{T-1}``.
    """

    mean: float
    standard_error: float
    rows: np.ndarray
    prior: float
    layers: float
    reconstruction: float


class Stack:
    """A trained stack, ready to sample. See `load_stack`.

    Attributes:
        model: the networks, a torch module.
    """

    def __init__(self, model: stored.Stack, text_encoder: str | None = None) -> None:
        self.model = model.eval()
        self._conditions = Conditions(model, text_encoder)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their labels; empty without labels."""
        return self.model.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a picture."""
        return self.model.shape

    @property
    def samplers(self) -> tuple[str, ...]:
        """The names that `sample` takes."""
        return tuple(SAMPLERS)

    @property
    def sha256(self) -> str:
        """The model's identity: a hash over its files."""
        return self.model.sha256

    def sample(
        self,
        labels: Labels = None,
        *,
        seed: int = 0,
        count: int | None = None,
        start: int = 0,
        sampler: str | None = None,
        steps: int | Sequence[int] | None = None,
        guidance: float | None = None,
        guidance_interval: tuple[float, float] = (0.0, ALL_LEVELS),
        guidance_rescale: float = 0.0,
        threshold: float | None = None,
    ) -> np.ndarray:
        """Pictures of the classes asked for.

        Sample i is a function of seed, i, its label and the options alone: on CPUs of one kind it
        has the bytes that the job `generate` and the endpoint give, whatever else is drawn with it.

        Args:
            labels: given to the samples in turn, sample 0 the first: names of classes as the
                command line takes them, or labels (-1 or None for no condition); one or several,
                or an integer array. None for all classes. Of a stack that takes sentences those, or
                their vectors, floats.
            seed: from 0; keys every draw of noise.
            count: how many; None for one a label.
            start: the first sample's index.
            sampler: one of `samplers`; None for the model's own.
            steps: layers of the chain: one number for the whole stack, or one for each stage,
                coarsest first; None for the model's own.
            guidance: weight of classifier-free guidance, 0 to 100; 1 is none of it; None for the
                model's own.
            guidance_interval: noise levels ``(low, high]`` at which guidance acts.
            guidance_rescale: how much of the way, 0 to 1, a guided picture is scaled to the spread
                of the unguided.
            threshold: percentile of dynamic thresholding, in (0, 1]; None for none.

        Returns:
            uint8 ``[count, H, W, C]``.

        Raises:
            UserError: a label that is no class, or options that the model cannot follow.
        """
        options = sampling_options(
            self.model.spec,
            sampler,
            steps,
            guidance,
            guidance_interval,
            guidance_rescale,
            threshold,
        )
        return sample(self.model, *self._keys(labels, seed, count, start), options)

    def trajectory(
        self,
        labels: Labels = None,
        *,
        seed: int = 0,
        count: int | None = None,
        start: int = 0,
        sampler: str | None = None,
        steps: int | Sequence[int] | None = None,
        guidance: float | None = None,
        guidance_interval: tuple[float, float] = (0.0, ALL_LEVELS),
        guidance_rescale: float = 0.0,
        threshold: float | None = None,
    ) -> list[Level]:
        """Every level of the samples that `sample` draws with the same arguments.

        Returns:
            Levels 0 (noise) to T (the picture), whose ``images`` are what `sample` returns.

        Raises:
            UserError: as `sample`.
        """
        options = sampling_options(
            self.model.spec,
            sampler,
            steps,
            guidance,
            guidance_interval,
            guidance_rescale,
            threshold,
        )
        seeds, indices, turns = self._keys(labels, seed, count, start)
        spec, size = self.model.spec, self.model.rows_per_call
        assert options.layers is not None
        schedule = build_schedule(spec.stages, options.layers)
        parts: list[list[Tensor]] = [[] for _ in schedule.sides]
        with full_float32(), torch.inference_mode():
            # As many rows as `sample` gives the networks: so the bits are the same.
            for real, (numbers,) in padded_calls(torch.arange(len(seeds)), rows_per_call=size):
                rows = numbers.numpy()
                chain = trajectory(self.model, seeds[rows], indices[rows], turns[rows], options)
                for level, z in zip(parts, chain, strict=True):
                    level.append(z[:real].cpu())
        side = schedule.sides[-1]
        levels = []
        for t, (sigma, part) in enumerate(zip(schedule.sigmas, parts, strict=True)):
            z = torch.cat(part)
            images = displayed(z, sigma, side // schedule.sides[t])
            levels.append(Level(t, sigma, z.movedim(1, -1).contiguous().numpy(), images))
        return levels

    def bits_per_dim(
        self, x: np.ndarray | Tensor, c: Labels = None, *, layers: int = 256, seed: int = 0
    ) -> BitsPerDim:
        """How likely the stack finds pictures: the bound in bits a pixel and channel.

        One keyed draw of noise a picture and layer: the same arguments give the same figures. It
        is what the job `evaluate` averages, for every picture.

        Args:
            x: uint8 ``[N, H, W, C]``; floats ``[N, C, H, W]`` in [0, 1] where all are whole levels.
            c: their labels, as `sample` takes them, one a picture or one for all; None for no
                condition.
            layers: T of the chain that is bounded; with fewer the bound is looser.
            seed: keys the noise, with each picture's place in ``x``.

        Raises:
            UserError: pictures of another shape, a label that is no class, too few layers, or a
                stack without error curves, whose training did not end.
        """
        spec = self.model.spec
        images = stored_pictures(x, "x", self.shape)
        if not spec.errors:
            raise UserError("this stack has no error curves, which the bound needs; train it anew")
        least = len(spec.stages) + 1
        layers = whole_number(layers, "layers", least, 4096)
        rows = self._conditions.null() if c is None else self._conditions.read(c)
        if len(rows) not in (1, len(images)):
            raise UserError(f"c has {len(rows)} labels for {len(images)} pictures; give one each")
        rule, rows = spec.condition.rule, np.resize(rows, (len(images), *rows.shape[1:]))
        condition = None if rule.column is None else rule.read({rule.column: rows})
        bound = estimate_bound(
            self.model,
            build_schedule(spec.stages, split_layers(spec.stages, layers)),
            to_signed(images).to(self.model.device),
            None if condition is None else condition.to(self.model.device),
            tau2_after=spec.tau2_after,
            variance=spec.decoder_variance,
            seed=whole_number(seed, "seed", 0),
        )
        bits = bound.bits_per_nat
        return BitsPerDim(
            bound.bits_per_dim,
            bound.standard_error_bits_per_dim,
            bound.pictures.numpy() * bits,
            bound.prior * bits,
            sum(bound.layers) * bits,
            bound.reconstruction * bits,
        )

    def __repr__(self) -> str:
        sides = ", ".join(str(stage.side) for stage in self.model.spec.stages)
        return f"<Stack of stages {sides}; {len(self.classes)} classes; pictures {self.shape}>"

    def _keys(
        self, labels: Labels, seed: int, count: int | None, start: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seeds and indices of the samples, int64 ``[N]``, and their conditions."""
        turns = self._conditions.read(labels)
        num = len(turns) if count is None else whole_number(count, "count", 1)
        first = whole_number(start, "start", 0, 2**63 - 1 - num)
        indices = np.arange(first, first + num)
        seeds = np.full(num, whole_number(seed, "seed", 0))
        return seeds, indices, turns[indices % len(turns)]


def load_stack(
    path: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    *,
    text_encoder: str | os.PathLike[str] | None = None,
) -> Stack:
    """The stack in a model directory, as the job `train-stack` leaves it.

    Args:
        path: the directory, such as ``runs/quickstart/stack/model``.
        device: where it computes, such as ``cuda``. The bytes of samples are promised for CPUs.
        text_encoder: of a stack that takes sentences, the encoder that it was trained with: a
            directory or a name; None for the name that the model has it by.

    Raises:
        UserError: the directory is not a whole, unaltered stack.
    """
    encoder = None if text_encoder is None else os.fspath(text_encoder)
    return Stack(stored.Stack.load(local_path(path), device), encoder)
