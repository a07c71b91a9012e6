"""The way from a picture that a map's axis takes: an attack's, else the gradient's, else random."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.boundary.directions import random_directions, slope_at
from pipeline.boundary.distance import Straight, first_crossings
from pipeline.boundary.rule import DecisionRule
from pipeline.boundary.survey import NEAREST, SurveySettings, adversarial_of
from pipeline.precision import full_float32

CHOSEN, GRADIENT, RANDOM = "chosen", "gradient", "random"
_RANDOM_NUMBER = 1  # the first of a row's directions is the plane's other axis


@dataclass(frozen=True)
class Heading:
    """A way from a picture.

    Attributes:
        direction: float32 ``[C, H, W]``, of length 1.
        kind: CHOSEN, what the attack found; GRADIENT, down the margin, where it found nothing;
            RANDOM, for a rule without a gradient.
        distance: to the boundary on the straight line, L2; inf where none was met.
        beyond: the class that is answered there; -1 where none was met.
    """

    direction: Tensor
    kind: str
    distance: float
    beyond: int


@full_float32()
def heading_of(
    rule: DecisionRule, x: Tensor, label: int, row: int, settings: SurveySettings
) -> Heading:
    """The heading of a rule from a picture float32 ``[C, H, W]`` that it answers with ``label``."""
    one, own, rows = x[None], torch.tensor([label]), torch.tensor([row])
    direction, kind = torch.zeros_like(one), CHOSEN
    if rule.logits is not None:
        found = adversarial_of(rule, one, own, rows, settings.attack_steps, settings.seed)
        direction = found.direction
        if not bool(direction.any()):
            direction, kind = (
                slope_at(rule.logits, one, own, rows, rule.rows_per_call).descent,
                GRADIENT,
            )
    if not bool(direction.any()):
        several = random_directions(settings.seed, rows, _RANDOM_NUMBER + 1, tuple(x.shape))
        direction, kind = several[:, _RANDOM_NUMBER], RANDOM
    met = first_crossings(
        lambda points, lines: rule.decide(points, rows.expand(len(points))),
        Straight(one, direction),
        own,
        near=settings.far * NEAREST,
        far=settings.far,
        tolerance=settings.tolerance,
        fill=rule.fill,
    )
    return Heading(direction[0], kind, float(met.distance[0]), int(met.beyond[0]))
