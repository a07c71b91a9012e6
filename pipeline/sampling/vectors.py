"""Vectors drawn as pictures are: the same walk, on a stack of vectors (a prior)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.chain.noise import Purpose, keyed_normal
from pipeline.errors import UserError
from pipeline.precision import full_float32
from pipeline.sampling.base import SampleKeys
from pipeline.sampling.loop import SamplingLoop
from pipeline.sampling.options import SamplingOptions
from pipeline.sampling.sample import calls
from pipeline.stack import Stack

# The generator's number of a draw has 24 bits: 14 for layer and kind, 10 for the candidate.
_KINDS = {Purpose.PRIOR: 0, Purpose.STEP: 1}
_LAYERS, MOST_CANDIDATES = 1 << 14, 1 << 10


@dataclass(frozen=True)
class CandidateKeys(SampleKeys):
    """The keys of N candidates.

    A picture is often drawn on the vector of its own seed and index: they share no draw.

    Attributes:
        candidates: int64 ``[N]``, which of its sample's candidates each row is.
    """

    candidates: np.ndarray

    def normal(self, layer: int, purpose: Purpose, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        kind = layer * len(_KINDS) + _KINDS[purpose]
        number = torch.from_numpy(kind + self.candidates * _LAYERS)
        return keyed_normal(self.seeds, self.indices, number, Purpose.VECTOR, shape).to(like)


@full_float32()
@torch.inference_mode()
def sample_vectors(
    stack: Stack,
    seeds: np.ndarray,
    indices: np.ndarray,
    conditions: np.ndarray,
    options: SamplingOptions | None = None,
    *,
    best_of: int = 1,
) -> np.ndarray:
    """One vector for each row, bit for bit the same in any batch, as `sample` has pictures.

    Args:
        stack: of vectors.
        seeds, indices, conditions, options: as in `sample`.
        best_of: how many candidates are drawn for each row. The one is kept that has the largest
            dot product with the row's condition, a sentence's pooled vector (Ramesh et al., 2022,
            draw two); of equal ones the first. 1 draws from the model's own law.

    Returns:
        float32 ``[N, D]``, not scaled to unit length.

    Raises:
        UserError: a stack of pictures, a condition that the model does not know, options that it
            cannot follow, or a choice among several by a condition of another size.
    """
    if not stack.spec.of_vectors:
        raise UserError("this model is a stack of pictures, not of vectors; give that of a prior")
    if not 1 <= best_of <= MOST_CANDIDATES:
        raise UserError(f"best_of {best_of} is outside 1 to {MOST_CANDIDATES:,}")
    stack.eval()
    loop = SamplingLoop(stack, stack.spec, options, stack.device)
    seeds, indices, conditions = map(np.asarray, (seeds, indices, conditions))
    num = len(seeds)
    wanted = None if best_of == 1 else _pooled(stack, conditions)
    out = np.empty((best_of * num, stack.spec.shape[2]), np.float32)
    for place, rows in calls(len(out), stack.rows_per_call):
        own = rows % num
        keys = CandidateKeys(seeds[own], indices[own], rows // num)
        z = loop.run_stage(0, None, keys, conditions[own])
        out[place] = z.flatten(1)[: place.stop - place.start].cpu().numpy()
    return out if wanted is None else nearest(out.reshape(best_of, num, out.shape[1]), wanted)


def _pooled(stack: Stack, conditions: np.ndarray) -> np.ndarray:
    """The vectors ``[N, D]`` that candidates are chosen by."""
    rule = stack.spec.condition.rule
    if not rule.embedded or rule.size != stack.spec.shape[2]:
        raise UserError(
            f"best_of chooses by the dot product with a condition of {stack.spec.shape[2]} "
            f"numbers, and this model's ({stack.spec.condition.kind}) is none; give best_of 1"
        )
    return rule.pooled(torch.from_numpy(conditions)).numpy()


def nearest(candidates: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of each row's candidates the one with the largest dot product with what is wanted.

    Args:
        candidates: ``[K, N, D]``.
        wanted: ``[N, D]``.

    Returns:
        ``[N, D]``; of equal candidates the first.
    """
    products = (candidates.astype(np.float64) * wanted).sum(axis=2)
    chosen: np.ndarray = candidates[products.argmax(axis=0), np.arange(len(wanted))]
    return chosen
