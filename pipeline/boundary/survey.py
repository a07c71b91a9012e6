"""What is measured of a boundary over some rows: distances, margins, linearity, noise by length."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.attacks import losses
from pipeline.boundary.directions import Adversarial, adversarial, random_directions, slope_at
from pipeline.boundary.distance import Straight, first_crossings
from pipeline.boundary.linearity import local_linearity
from pipeline.boundary.noise_length import NoiseLengths, noise_lengths
from pipeline.boundary.rule import DecisionRule, asked
from pipeline.precision import full_float32

NEAREST = 1 / 500  # of the farthest length: the first that a walk looks at
_GROWTH = 1.25


@dataclass(frozen=True)
class SurveySettings:
    """How a boundary is measured.

    Attributes:
        lengths: of noise, L2, rising, above 0.
        far: the farthest length that a boundary is looked for at; at least the last of ``lengths``.
        directions: random ones a row.
        attack_steps: of the attack that finds the adversarial direction.
        tolerance: how well a distance is known, as a share of it.
        seed: keys directions and attack.
    """

    lengths: tuple[float, ...]
    far: float
    directions: int
    attack_steps: int
    tolerance: float
    seed: int


@dataclass(frozen=True)
class Survey:
    """What was measured of N rows, D random directions and L lengths; lengths in L2.

    A row that is answered wrongly from the start has the distances 0. inf is where no boundary was
    met within ``far``, and NaN stands where a rule without a gradient tells nothing.

    Attributes:
        rows, label, answer: int64 ``[N]``: its number, its class, and the class answered.
        margin: float64 ``[N]``, the lead of the right class over the next, in logits; below 0 the
            answer is wrong.
        predicted: float64 ``[N]``, the distance were the margin linear: margin / ||gradient||.
        along_gradient, along_adversarial: float64 ``[N]``, distances.
        along_random: float64 ``[N, D]``.
        lengths: float64 ``[L]``, of the noise and of the linearisation, above 0.
        linear_gradient: float64 ``[N, L]``: `Linearity.relative` down the margin's gradient.
        linear_random: float64 ``[N, D, L]``: the same in the random directions.
        random_right, chosen_distance: see `NoiseLengths`; random_right at 0 and at the lengths.
    """

    rows: np.ndarray
    label: np.ndarray
    answer: np.ndarray
    margin: np.ndarray
    predicted: np.ndarray
    along_gradient: np.ndarray
    along_adversarial: np.ndarray
    along_random: np.ndarray
    lengths: np.ndarray
    linear_gradient: np.ndarray
    linear_random: np.ndarray
    random_right: np.ndarray
    chosen_distance: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Which rows are answered rightly from the start, bool ``[N]``."""
        return np.asarray(self.answer == self.label)

    @property
    def noise(self) -> NoiseLengths:
        """Accuracy against the length of noise."""
        lengths = np.concatenate(([0.0], self.lengths))
        return NoiseLengths(lengths, self.random_right, self.chosen_distance)

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it by name, to be stored."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, arrays: Any) -> "Survey":
        """The one that `arrays` gave."""
        return cls(**{field.name: np.asarray(arrays[field.name]) for field in fields(cls)})


@full_float32()
def survey(
    rule: DecisionRule, x: Tensor, label: Tensor, rows: Tensor, settings: SurveySettings
) -> Survey:
    """Measures a rule's boundary around pictures.

    Args:
        rule: what answers.
        x: float32 ``[N, C, H, W]``, whole levels divided by 255, N >= 1.
        label, rows: int64 ``[N]``.
        settings: how.

    Raises:
        UserError: logits that are not finite.
    """
    answer = rule.decide(x, rows).cpu()
    random = random_directions(settings.seed, rows, settings.directions, tuple(x.shape[1:]))
    lengths = torch.tensor(settings.lengths, dtype=torch.float64)
    ways = _Ways(rule, x, label, rows, answer, settings)
    num, size = len(x), len(lengths)
    empty = np.full(num, np.nan)
    found: dict[str, np.ndarray] = {
        "margin": empty,
        "predicted": empty,
        "along_gradient": empty,
        "along_adversarial": empty,
        "linear_gradient": np.full((num, size), np.nan),
        "linear_random": np.full((num, settings.directions, size), np.nan),
    }
    chosen = torch.zeros_like(x)
    if rule.logits is not None:
        slope = slope_at(rule.logits, x, label, rows, rule.rows_per_call)
        attacked = adversarial_of(rule, x, label, rows, settings.attack_steps, settings.seed)
        chosen = attacked.direction
        directions = torch.cat((slope.descent[:, None], random), dim=1)
        linearity = local_linearity(
            rule.logits, slope, x, label, rows, directions, lengths, rule.rows_per_call
        ).relative.numpy()
        found = {
            "margin": -losses.margin(asked(rule.logits, x, rule.rows_per_call), label.to(x.device))
            .double()
            .cpu()
            .numpy(),
            "predicted": slope.predicted_distance().clamp_min(0).numpy(),
            "along_gradient": ways.distances(slope.descent[:, None])[:, 0],
            "along_adversarial": ways.distances(chosen[:, None])[:, 0],
            "linear_gradient": linearity[:, 0],
            "linear_random": linearity[:, 1:],
        }
    noise = noise_lengths(
        rule,
        x,
        label,
        rows,
        random,
        chosen,
        np.array(settings.lengths),
        near=settings.far * NEAREST,
        far=settings.far,
    )
    return Survey(
        rows=rows.numpy(),
        label=label.numpy(),
        answer=answer.numpy(),
        along_random=ways.distances(random),
        lengths=np.array(settings.lengths, np.float64),
        random_right=noise.random_right,
        chosen_distance=noise.chosen_distance,
        **found,
    )


def adversarial_of(
    rule: DecisionRule, x: Tensor, label: Tensor, rows: Tensor, steps: int, seed: int
) -> Adversarial:
    """Where an attack on a rule's logits goes; nowhere without logits."""
    if rule.logits is None:
        nothing = torch.full((len(x),), torch.inf, dtype=torch.float64)
        return Adversarial(torch.zeros_like(x), nothing)
    return adversarial(
        rule.logits, x, label, rows, steps=steps, seed=seed, rows_per_call=rule.rows_per_call
    )


@dataclass(frozen=True)
class _Ways:
    """Straight lines from the rows that are answered rightly."""

    rule: DecisionRule
    x: Tensor
    label: Tensor
    rows: Tensor
    answer: Tensor
    settings: SurveySettings

    def distances(self, directions: Tensor) -> np.ndarray:
        """Of ``[N, D, C, H, W]``, float64 ``[N, D]``; a direction of length 0 leads nowhere."""
        num, count = directions.shape[:2]
        right = (self.answer == self.label)[:, None].expand(num, count).flatten()
        leads = directions.flatten(0, 1).flatten(1).abs().amax(dim=1) > 0
        distance = torch.where(right, torch.inf, 0.0).double()
        able = (right & leads).nonzero().flatten()
        if len(able):
            start = able // count
            settings = self.settings
            distance[able] = first_crossings(
                lambda points, lines: self.rule.decide(points, self.rows[start[lines]]),
                Straight(self.x[start], directions.flatten(0, 1)[able]),
                self.label[start],
                near=settings.far * NEAREST,
                far=settings.far,
                growth=_GROWTH,
                tolerance=settings.tolerance,
                fill=self.rule.fill,
            ).distance
        return distance.reshape(num, count).numpy()
