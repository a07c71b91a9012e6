"""Accuracy against the length of noise: random, and chosen, in pictures that stay pictures."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.boundary.distance import InBox, first_crossings
from pipeline.boundary.rule import DecisionRule


@dataclass(frozen=True)
class NoiseLengths:
    """What is left of N rows' right answers under noise of each of L lengths.

    Attributes:
        lengths: float64 ``[L]``, L2 of the change in the box, rising from 0.
        random_right: bool ``[N, D, L]``: whether the row is right with its d-th random noise of
            that length.
        chosen_distance: float64 ``[N]``: the length from which on chosen noise makes the row wrong;
            0 where it is wrong from the start, inf where none was found.
    """

    lengths: np.ndarray
    random_right: np.ndarray
    chosen_distance: np.ndarray

    def accuracy_random(self) -> np.ndarray:
        """The accuracy under random noise, a mean over its draws, float64 ``[L]``."""
        return np.asarray(self.random_right.mean(axis=(0, 1)), np.float64)

    def accuracy_chosen(self) -> np.ndarray:
        """The share of rows that no chosen noise so short makes wrong, float64 ``[L]``.

        An upper bound: a stronger attack may find shorter ones.
        """
        return np.asarray((self.chosen_distance[:, None] > self.lengths).mean(axis=0), np.float64)


def noise_lengths(
    rule: DecisionRule,
    x: Tensor,
    label: Tensor,
    rows: Tensor,
    random: Tensor,
    chosen: Tensor,
    lengths: np.ndarray,
    *,
    near: float,
    far: float,
) -> NoiseLengths:
    """Shows a rule the same pictures with random and with chosen noise of equal lengths.

    Args:
        rule: what answers.
        x: float32 ``[N, C, H, W]`` in [0, 1].
        label, rows: int64 ``[N]``.
        random: float32 ``[N, D, C, H, W]``, directions of length 1.
        chosen: float32 ``[N, C, H, W]``, of length 1, or 0 for a row without.
        lengths: float64 ``[L]``, above 0; 0 is put before them.
        near, far: see `first_crossings`.
    """
    decide = rule.decide
    num, draws = random.shape[:2]
    right = decide(x, rows).cpu() == label
    each = torch.arange(num).repeat_interleave(draws)
    path = InBox(x[each], random.flatten(0, 1))
    lines = torch.arange(num * draws)
    kept = [right[:, None].expand(num, draws)]
    for length in lengths:
        points = path.at(lines, torch.full((len(lines),), float(length), dtype=torch.float64))
        kept.append((decide(points, rows[each]).cpu() == label[each]).reshape(num, draws))
    has_way = right & (chosen.flatten(1).abs().amax(dim=1) > 0)
    distance = torch.where(right, torch.inf, 0.0).double()
    able = has_way.nonzero().flatten()
    if len(able):
        found = first_crossings(
            lambda points, which: decide(points, rows[able[which]]),
            InBox(x[able], chosen[able]),
            label[able],
            near=near,
            far=far,
            fill=rule.fill,
        )
        distance[able] = found.distance
    return NoiseLengths(
        np.concatenate(([0.0], np.asarray(lengths, np.float64))),
        torch.stack(kept, dim=2).numpy(),
        distance.numpy(),
    )
