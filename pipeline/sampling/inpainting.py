"""Inpainting: the rest of a picture, drawn by the chain around pixels that are known.

See `pipeline.sampling.resampling` for how, and docs/mathematics.md for what of it is exact.
"""

from dataclasses import replace

import numpy as np
import torch

from pipeline.errors import UserError
from pipeline.pictures import from_signed, to_signed
from pipeline.precision import full_float32
from pipeline.sampling.base import SampleKeys
from pipeline.sampling.known import KnownPixels
from pipeline.sampling.loop import SamplingLoop
from pipeline.sampling.moments import MOST_STEPS
from pipeline.sampling.options import SamplingOptions
from pipeline.sampling.resampling import MOST_REPETITIONS
from pipeline.sampling.sample import calls
from pipeline.sampling.samplers import SAMPLERS
from pipeline.stack import Stack
from pipeline.stack_spec import StackSpec

RESAMPLE = 10  # as RePaint has it


def options_around(spec: StackSpec, options: SamplingOptions | None) -> SamplingOptions:
    """The options with the model's defaults filled in, of inpainting.

    Where no sampler is named and the model's own goes on from the layer before, `ancestral` draws:
    it is off the least of those that do not. A stack without error curves draws by `ddpm`.

    Raises:
        UserError: an option that this model cannot follow.
    """
    chosen = options or SamplingOptions()
    if chosen.sampler is None and SAMPLERS[spec.sampler].multistep:
        entry = SAMPLERS["ancestral"]
        name = entry.name if spec.errors else entry.without_errors
        chosen = replace(chosen, sampler=name)
    return chosen.resolve(spec)


def check_inpainting(
    spec: StackSpec, options: SamplingOptions | None, resample: int, moment_steps: int = 0
) -> None:
    """Refuses what inpainting cannot follow.

    Raises:
        UserError: a sampler that goes on from the layer before, which a level that was drawn anew
            does not follow, or a number of repetitions out of range.
    """
    sampler = options_around(spec, options).sampler
    assert sampler is not None
    if SAMPLERS[sampler].multistep:
        one_step = ", ".join(name for name, entry in SAMPLERS.items() if not entry.multistep)
        raise UserError(
            f"the sampler {sampler} goes on from the layer before, and inpainting draws each layer "
            f"anew; choose one of {one_step}"
        )
    if not 1 <= resample <= MOST_REPETITIONS:
        raise UserError(f"resample {resample} is outside 1 to {MOST_REPETITIONS}")
    if not 0 <= moment_steps <= MOST_STEPS:
        raise UserError(f"moment_steps {moment_steps} is outside 0 to {MOST_STEPS}")


@full_float32()
@torch.inference_mode()
def inpaint(
    stack: Stack,
    seeds: np.ndarray,
    indices: np.ndarray,
    conditions: np.ndarray,
    pictures: np.ndarray,
    known: np.ndarray,
    options: SamplingOptions | None = None,
    *,
    resample: int = RESAMPLE,
    moment_steps: int = 0,
) -> np.ndarray:
    """One picture for each row around its known pixels, bit for bit the same in any batch.

    With one repetition and nothing known it is `sample`, bit for bit, by a sampler that both take.

    Args:
        stack: with all of its stages.
        seeds, indices, conditions: as `sample` takes them.
        options: see `options_around`.
        pictures: uint8 ``[N, H, W, C]``.
        known: bool ``[N, H, W]``, true where a pixel is known; such a pixel comes out as it is.
        resample: how often each layer is drawn; 1 is plain replacement.
        moment_steps: steps by which each call of the denoiser is given the known pixels (see
            `GivenPixels`); 0 leaves them to the resampling alone.

    Returns:
        uint8 ``[N, H, W, C]``.

    Raises:
        UserError: as `sample`; a sampler that inpainting refuses; pictures of another shape.
    """
    stack.eval()
    check_inpainting(stack.spec, options, resample, moment_steps)
    options = options_around(stack.spec, options)
    loop = SamplingLoop(stack, stack.spec, options, stack.device)
    seeds, indices, conditions = map(np.asarray, (seeds, indices, conditions))
    for name, found, wanted in (
        ("pictures", pictures.shape, (len(seeds), *stack.shape)),
        ("known", known.shape, (len(seeds), *stack.shape[:2])),
    ):
        if found != wanted:
            raise UserError(f"{name} have the shape {found}; the samples' is {wanted}")
    out = np.empty((len(seeds), *stack.shape), dtype=np.uint8)
    for place, rows in calls(len(seeds), stack.rows_per_call):
        around = KnownPixels(
            to_signed(pictures[rows]).to(stack.device),
            torch.tensor(known[rows], dtype=torch.bool, device=stack.device)[:, None],
        )
        keys = SampleKeys(seeds[rows], indices[rows])
        levels = loop.levels_around(around, keys, conditions[rows], resample, moment_steps)
        for z in levels:  # noqa: B007
            pass
        out[place] = from_signed(z)[: place.stop - place.start]
    return out
