"""The levels ``t = 0 ... T`` of the chain: a noise level and a resolution each.

Time runs from noise to picture, against the field's habit: ``z_0`` is noise and ``z_T = x`` is the
picture. As ``t`` grows, sigma falls to ``sigma_T = 0`` and the resolution rises. A stage is a run
of consecutive layers whose input has one resolution: layer ``t`` turns ``z_{t-1}`` into ``z_t`` and
belongs to the stage of ``r_{t-1}``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Stage:
    """One resolution's share of the chain.

    Attributes:
        side: the height of the pictures in this stage, in pixels.
        sigma_high: the noise level at which the chain enters the stage.
        sigma_low: the noise level at which it leaves; the last stage goes on from there to 0.
    """

    side: int
    sigma_high: float
    sigma_low: float

    def __post_init__(self) -> None:
        if not self.sigma_high > self.sigma_low > 0:
            raise ValueError(f"a stage needs sigma_high > sigma_low > 0, got {self}")

    def training_range(self, overlap: float = 0.1) -> tuple[float, float]:
        """``(low, high)``: the stage's range, widened by ``overlap`` of its span in log sigma."""
        margin = (self.sigma_high / self.sigma_low) ** overlap
        return self.sigma_low / margin, self.sigma_high * margin


@dataclass(frozen=True)
class Layer:
    """Layer ``t``: from ``z_{t-1}`` at ``sigma_from`` to ``z_t`` at ``sigma_to``, less noisy.

    Attributes:
        index: ``t``, from 1 to T.
        stage: the index of the stage whose network works here, 0 the coarsest.
        side_from, side_to: the pictures' heights before and after.
        sigma_from, sigma_to: the noise levels before and after.
    """

    index: int
    stage: int
    side_from: int
    side_to: int
    sigma_from: float
    sigma_to: float

    @property
    def changes_resolution(self) -> bool:
        return self.side_to != self.side_from


@dataclass(frozen=True)
class Schedule:
    """The chain's levels, from noise (``t = 0``) to picture (``t = T``).

    Attributes:
        sigmas: ``sigma_0 > ... > sigma_T = 0``, float64 ``[T + 1]``.
        sides: ``r_0 <= ... <= r_T``, the pictures' heights, ``[T + 1]``.
        stage_of: the stage of each level, ``[T + 1]``.
    """

    sigmas: tuple[float, ...]
    sides: tuple[int, ...]
    stage_of: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.sigmas) != len(self.sides) or len(self.sigmas) != len(self.stage_of):
            raise ValueError("sigmas, sides and stages must have the same length")
        if any(a <= b for a, b in pairwise(self.sigmas)) or self.sigmas[-1] < 0:
            raise ValueError("sigmas must fall strictly, to 0 or above")
        if any(b not in (a, 2 * a) for a, b in pairwise(self.sides)):
            raise ValueError("a layer keeps the resolution or doubles it")

    @property
    def num_layers(self) -> int:
        """``T``."""
        return len(self.sigmas) - 1

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers 1 ... T in the order of sampling."""
        return tuple(
            Layer(
                t,
                self.stage_of[t - 1],
                self.sides[t - 1],
                self.sides[t],
                self.sigmas[t - 1],
                self.sigmas[t],
            )
            for t in range(1, self.num_layers + 1)
        )


def karras_sigmas(high: float, low: float, num: int, rho: float = 7.0) -> np.ndarray:
    """``num + 1`` noise levels from ``high`` to ``low``, float64.

    Equation 5 of Karras et al., "Elucidating the Design Space of Diffusion-Based Generative
    Models" (2022).

    Args:
        high: the first level, above ``low``.
        low: the last level, above 0.
        num: steps, at least 1.
        rho: 7 puts more steps at low noise; a large one tends to equal ratios.
    """
    u = np.linspace(0.0, 1.0, num + 1)
    sigmas: np.ndarray = (high ** (1 / rho) + u * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    sigmas[0], sigmas[-1] = high, low
    return sigmas


def geometric_sigmas(high: float, low: float, num: int) -> np.ndarray:
    """``num + 1`` noise levels of equal ratio from ``high`` to ``low``, float64."""
    return np.geomspace(high, low, num + 1)


def build_schedule(
    stages: Sequence[Stage], layers: Sequence[int], *, rho: float | None = 7.0
) -> Schedule:
    """The schedule of a stack with ``layers[s]`` layers in stage ``s``.

    A stage's last layer ends at its ``sigma_low`` with the next stage's resolution; the last
    stage's last layer ends at the picture, ``sigma = 0``.

    Args:
        stages: coarsest first; each enters where the one before left.
        layers: number of layers in each stage, at least 1 each (2 in the last: one ends at 0).
        rho: Karras' exponent, or None for equal ratios. The bound is tighter by the former: exact
            denoisers of Gaussian pictures lay 0.019 to 0.022 bits/dim above the entropy in 64
            layers by rho 3 to 7, and 0.022 to 0.028 at equal ratios.

    Raises:
        ValueError: the numbers do not fit together.
    """
    if len(layers) != len(stages):
        raise ValueError(f"{len(stages)} stages need {len(stages)} layer counts, got {len(layers)}")
    if any(n < 1 for n in layers) or layers[-1] < 2:
        raise ValueError("each stage needs 1 layer at least, the last one 2")
    for coarse, fine in pairwise(stages):
        if fine.side != 2 * coarse.side or fine.sigma_high != coarse.sigma_low:
            raise ValueError(f"stage {fine} does not continue {coarse}")
    sigmas: list[float] = [float(stages[0].sigma_high)]
    sides: list[int] = [stages[0].side]
    stage_of: list[int] = [0]
    last = len(stages) - 1
    for s, (stage, count) in enumerate(zip(stages, layers, strict=True)):
        steps = count - 1 if s == last else count
        if rho is None:
            levels = geometric_sigmas(stage.sigma_high, stage.sigma_low, steps)
        else:
            levels = karras_sigmas(stage.sigma_high, stage.sigma_low, steps, rho)
        sigmas += [float(v) for v in levels[1:]]
        sides += [stage.side] * steps
        stage_of += [s] * steps
        if s < last:
            sides[-1], stage_of[-1] = stages[s + 1].side, s + 1
    sigmas.append(0.0)
    sides.append(stages[-1].side)
    stage_of.append(last)
    return Schedule(tuple(sigmas), tuple(sides), tuple(stage_of))


def split_layers(stages: Sequence[Stage], total: int) -> tuple[int, ...]:
    """``total`` layers shared among the stages in proportion to their spans in log sigma.

    Raises:
        ValueError: fewer layers than `build_schedule` needs.
    """
    if total < len(stages) + 1:
        raise ValueError(f"{len(stages)} stages need {len(stages) + 1} layers at least")
    spans = np.log([s.sigma_high / s.sigma_low for s in stages])
    share = total * spans / spans.sum()
    least = np.ones(len(stages), dtype=int)
    least[-1] = 2
    counts = np.maximum(least, np.floor(share).astype(int))
    while counts.sum() < total:
        counts[int(np.argmax(share - counts))] += 1
    while counts.sum() > total:
        counts[int(np.argmin(np.where(counts > least, share - counts, np.inf)))] -= 1
    return tuple(int(c) for c in counts)
