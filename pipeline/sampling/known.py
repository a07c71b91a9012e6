"""The known pixels of pictures, at every level of the chain.

What is known of ``z_t`` is what is known of the picture at the level's resolution, in noise of the
level: ``q(z_t | x) = N(x_r, sigma_t^2 I)``. The low-pass is orthonormal, so a coarse coefficient is
known where all of its pixels are, and the details of a 2x2 block are where the block is. At a finer
resolution both are said by the pixels alone.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pipeline.chain.haar import low_pass
from pipeline.chain.noise import Purpose
from pipeline.sampling.base import SampleKeys


@dataclass(frozen=True)
class KnownPixels:
    """Pictures of which some pixels are known.

    Attributes:
        x: ``[N, C, H, W]`` in [-1, 1]; what is not known may hold anything finite.
        mask: bool ``[N, 1, H, W]``, true where a pixel is known.
    """

    x: Tensor
    mask: Tensor

    def replace(self, z: Tensor, sigma: float, layer: int, keys: SampleKeys) -> Tensor:
        """``z`` with its known coefficients drawn anew from ``q(z_t | x)``.

        Args:
            z: a level of the chain, ``[N, C, h, w]``.
            sigma: its noise level; at 0 the known pixels themselves are put in.
            layer: the level's number ``t``, which keys the noise.
            keys: of the N samples.
        """
        x_r, mask = self.at(z.shape[-2])
        if sigma:
            eps = keys.normal(layer, Purpose.KNOWN, z, tuple(z.shape[1:]))
            x_r = x_r.to(z) + sigma * eps
        return torch.where(mask, x_r.to(z), z)

    def at(self, height: int) -> tuple[Tensor, Tensor]:
        """The pictures at a resolution, ``x_r``, and where they are known there.

        A coefficient is known where all of its pixels are.
        """
        return self._levels[height]

    @cached_property
    def _levels(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Height to the pictures low-passed to it, and where all pixels of a coefficient are known.

        Down to a height or a width that is odd.
        """
        x, mask = self.x, self.mask
        levels = {x.shape[-2]: (x, mask)}
        while x.shape[-2] % 2 == 0 and x.shape[-1] % 2 == 0:
            x = low_pass(x)
            mask = mask.unflatten(-1, (-1, 2)).all(-1).unflatten(-2, (-1, 2)).all(-2)
            levels[x.shape[-2]] = (x, mask)
        return levels
