"""Purification: a picture some layers down the chain and up again, its perturbation drowned.

Nie, Guo, Huang, Xiao, Vahdat and Anandkumar, "Diffusion models for adversarial purification", 2022
(arXiv 2205.07460). Its literature judged it with gradients that were cut or approximated; here they
are exact, through every layer, and what a layer's network computed is computed again on the way
back instead of kept.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.chain.haar import low_pass_to
from pipeline.chain.noise import Purpose, keyed_normal
from pipeline.chain.schedule import Schedule
from pipeline.errors import UserError
from pipeline.sampling.base import SampleKeys, Sampler, denoise_layers
from pipeline.smoothing.denoised import SIGNED, StagedDenoiser, StageDenoiser

# The generator's number of a draw has 24 bits: 14 for layer and kind, 10 for the draw.
_KINDS = {Purpose.PRIOR: 0, Purpose.STEP: 1, Purpose.DETAIL: 2}
_LAYERS, MOST_PURIFICATIONS = 1 << 14, 1 << 10


@dataclass(frozen=True)
class PurifierKeys(SampleKeys):
    """What keys the purifications of N pictures.

    Attributes:
        seeds, indices: int64 ``[N]``, a row's seed and its key.
        draws: int64 ``[N]``, which of the row's purifications.
    """

    draws: np.ndarray

    @classmethod
    def of(cls, seed: int, row_keys: np.ndarray, draw: int) -> "PurifierKeys":
        """One purification of each row; UserError where the draw has no room in its key."""
        if not 0 <= draw < MOST_PURIFICATIONS:
            raise UserError(f"a row has {MOST_PURIFICATIONS:,} purifications at most")
        seeds = np.full(len(row_keys), seed % 2**64, np.uint64).astype(np.int64)
        return cls(seeds, row_keys, np.full(len(row_keys), draw, np.int64))

    def normal(self, layer: int, purpose: Purpose, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        number = torch.from_numpy(self.draws * _LAYERS + layer * len(_KINDS) + _KINDS[purpose])
        return keyed_normal(self.seeds, self.indices, number, Purpose.PURIFIER, shape).to(like)


class Recomputed:
    """A denoiser whose inner values are not kept for the gradient, but computed again for it.

    Of a call only its pictures stay in memory, so a chain of any length takes that of one call and
    of a few pictures a layer. The gradient has the same bits.
    """

    def __init__(self, denoiser: StageDenoiser) -> None:
        self._denoiser = denoiser

    def __call__(self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        if not (torch.is_grad_enabled() and z.requires_grad):
            return self._denoiser(stage, z, sigma, condition)
        # Nothing in a denoiser is random, so there is no generator to put back.
        x_hat: Tensor = checkpoint(
            self._denoiser, stage, z, sigma, condition,
            use_reentrant=False, preserve_rng_state=False,
        )  # fmt: skip
        return x_hat


class Purifier:
    """Pictures to pictures: ``num_layers`` down by noise, and up again by the sampler, unlabelled.

    The way down is one draw of ``z_{T-k} ~ N(x_r, sigma_{T-k}^2)``, which k layers have together.

    Args:
        staged: the denoiser.
        schedule: the chain.
        sampler: takes each layer's step up.
        num_layers: k.
        recompute: whether the gradient recomputes; else it keeps all, which tests compare with.

    Raises:
        UserError: the chain has not so many layers.
    """

    def __init__(
        self,
        staged: StagedDenoiser,
        schedule: Schedule,
        sampler: Sampler,
        num_layers: int,
        *,
        recompute: bool = True,
    ) -> None:
        if not 1 <= num_layers <= schedule.num_layers:
            raise UserError(
                f"a purifier of {num_layers} layers: the stack's chain has {schedule.num_layers}; "
                "give a number from 1 to that"
            )
        self._layers = schedule.layers[-num_layers:]
        self._sampler, self._tau2_after = sampler, staged.tau2_after
        self._denoiser = Recomputed(staged.denoiser) if recompute else staged.denoiser

    @property
    def sigma(self) -> float:
        """The noise that a picture gets, in [0, 1] units."""
        return self._layers[0].sigma_from / SIGNED

    def __call__(self, x: Tensor, keys: PurifierKeys) -> Tensor:
        """``[N, C, H, W]`` in [0, 1] to the same, not clipped; differentiable by ``x``."""
        first = self._layers[0]
        low = low_pass_to(SIGNED * x - 1, first.side_from)
        eps = keys.normal(first.index - 1, Purpose.PRIOR, low, tuple(low.shape[1:]))
        z = low + first.sigma_from * eps
        for z in denoise_layers(  # noqa: B007, B020
            self._denoiser, self._layers, self._sampler, keys, None, z, tau2_after=self._tau2_after
        ):
            pass
        return (z + 1) / SIGNED


class PurifiedNetwork(nn.Module):
    """A classifier behind a purifier, as the randomised classifier that an attack meets.

    Its noise is keyed by numbers from torch's own generator, which attacks on a classifier's mean
    answer seed for each picture (`pipeline.attacks.engine.eot`).

    Args:
        purifier: before the classifier.
        classifier: ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]``.
        straight_through: whether the purifier passes gradients on as they come (Athalye, Carlini
            and Wagner's BPDA, 2018), and is no part of them. What is claimed for purification by
            such gradients is too much; they are here to be compared with.
    """

    def __init__(
        self, purifier: Purifier, classifier: nn.Module, *, straight_through: bool = False
    ) -> None:
        super().__init__()
        self._purifier, self._straight_through = purifier, straight_through
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """float32 ``[N, C, H, W]`` in [0, 1] to logits of one purification each, ``[N, K]``."""
        seeds = torch.randint(0, 2**62, (len(x),)).numpy()
        nothing = np.zeros(len(x), np.int64)
        logits: Tensor = self.classifier(self.purified(x, PurifierKeys(seeds, nothing, nothing)))
        return logits

    def purified(self, x: Tensor, keys: PurifierKeys) -> Tensor:
        """The pictures that the classifier sees, ``[N, C, H, W]``, in [0, 1]."""
        if not self._straight_through:
            return self._purifier(x, keys).clamp(0, 1)
        with torch.no_grad():
            pure = self._purifier(x, keys).clamp(0, 1)
        return x + (pure - x).detach()

    def answers(self, x: Tensor, keys: PurifierKeys) -> Tensor:
        """Logits ``[N, K]`` of the purifications of these keys."""
        logits: Tensor = self.classifier(self.purified(x, keys))
        return logits
