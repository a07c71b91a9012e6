"""The boundary of a smoothed classifier: its answers are votes on pictures with keyed noise."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.attacks.base import Model
from pipeline.boundary.rule import DecisionRule
from pipeline.smoothing.base import SmoothingBase
from pipeline.smoothing.noise import MOST_DRAWS, DrawKeys, Noise

# An attack that met the very draws of the votes would be picked for its luck with them.
_FIRST_OF_SLOPE = MOST_DRAWS // 2


def smoothed_rule(
    base: SmoothingBase,
    model: Model | None,
    noise: Noise,
    *,
    draws: int,
    slope_draws: int,
    seed: int,
) -> DecisionRule:
    """The rule that answers with the class that most of so many noisy pictures are given.

    Args:
        base: what votes.
        model: noisy pictures to logits with a gradient, of which the base's votes are the highest;
            None where there is none.
        noise: of the smoothing.
        draws: votes on a picture.
        slope_draws: draws that the gradient is a mean over; others than those of the votes.
        seed: keys both.
    """
    soft = None if model is None else SoftVote(model, noise, slope_draws, seed)
    return DecisionRule(
        MajorityVote(base, noise, draws, seed),
        soft,
        rows_per_call=max(1, base.rows_per_call // slope_draws),
        fill=max(1, base.rows_per_call // draws),
    )


@dataclass(frozen=True)
class MajorityVote:
    """``argmax_c`` of the votes of n draws, the first of equal ones.

    The draws are keyed by seed, row and number, so they are the same all over a map and all along
    a line: what is drawn is the exact boundary of a classifier with n fixed draws, which comes near
    that of the smoothed one as n grows. A picture is no longer asked about once the draws that are
    left could not change its answer.
    """

    base: SmoothingBase
    noise: Noise
    draws: int
    seed: int

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        """Pictures float32 ``[N, C, H, W]`` and row numbers int64 ``[N]`` to classes ``[N]``."""
        x, row_keys = x.cpu(), rows.cpu().numpy()
        counts = np.zeros((len(x), len(self.base.classes)), np.int64)
        asked = 0
        while asked < self.draws:
            leaders = np.sort(counts, axis=1)[:, -2:]
            open_ = np.flatnonzero(leaders[:, 1] - leaders[:, 0] <= self.draws - asked)
            if not len(open_):
                break
            # As many draws as fill a call; each picture gets the same numbers, whoever is with it.
            block = min(max(1, self.base.rows_per_call // len(open_)), self.draws - asked)
            places = np.repeat(open_, block)
            draws = np.tile(np.arange(asked, asked + block), len(open_))
            votes = self._votes(x, places, DrawKeys(self.seed, row_keys[places], draws))
            np.add.at(counts, (places, votes), 1)
            asked += block
        return torch.from_numpy(counts.argmax(axis=1))

    def _votes(self, x: Tensor, places: np.ndarray, keys: DrawKeys) -> np.ndarray:
        size = self.base.rows_per_call
        votes = np.empty(len(places), np.int64)
        for start in range(0, len(places), size):
            part = slice(start, start + size)
            here = places[part]
            own = DrawKeys(keys.seed, keys.row_keys[part], keys.draws[part])
            pictures = torch.from_numpy(np.pad(here, (0, size - len(here)), mode="edge"))
            noisy = self._noisy(x[pictures], own.padded(size))
            with torch.inference_mode():
                votes[part] = self.base.answers(noisy, own.padded(size))[: len(here)]
        return votes

    def _noisy(self, x: Tensor, keys: DrawKeys) -> Tensor:
        """All points of a map have the same noise: each kind is drawn once."""
        both = np.stack((keys.row_keys, keys.draws), axis=1)
        kinds, place = np.unique(both, axis=0, return_inverse=True)
        few = DrawKeys(keys.seed, kinds[:, 0], kinds[:, 1])
        noise = self.noise.draw(few, tuple(x.shape[1:]))
        return x + noise[torch.from_numpy(place.reshape(-1))]


@dataclass(frozen=True)
class SoftVote:
    """``log`` of the mean over draws of a model's probabilities: logits that have a gradient.

    The draws are the same for all pictures. Salman, Yang, Li, Zhang, Zhang, Razenshteyn and Bubeck,
    "Provably robust deep learning via adversarially trained smoothed classifiers", 2019
    (arXiv 1906.04584), attack a smoothed classifier by this mean.
    """

    model: Model
    noise: Noise
    draws: int
    seed: int

    def __call__(self, x: Tensor) -> Tensor:
        numbers = _FIRST_OF_SLOPE + np.arange(self.draws)
        keys = DrawKeys(self.seed, np.zeros(self.draws, np.int64), numbers)
        noise = self.noise.draw(keys, tuple(x.shape[1:]))
        noisy = (x[:, None] + noise.to(x.device)).flatten(0, 1)
        logs = self.model(noisy).log_softmax(dim=1).reshape(len(x), self.draws, -1)
        return logs.logsumexp(dim=1) - float(np.log(self.draws))
