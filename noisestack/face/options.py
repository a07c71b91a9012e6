"""Sampling options as the Python face takes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from noisestack.face.pictures import number, whole_number
from pipeline.errors import UserError
from pipeline.sampling import SamplingOptions
from pipeline.sampling.steps import shared_layers
from pipeline.stack_spec import StackSpec


def sampling_options(
    spec: StackSpec,
    sampler: str | None,
    steps: int | Sequence[int] | None,
    guidance: float | None,
    guidance_interval: tuple[float, float],
    guidance_rescale: float,
    threshold: float | None,
) -> SamplingOptions:
    """The options with all defaults filled in; arguments as `noisestack.face.stack.Stack.sample`.

    Args:
        spec: of the stack that follows them.

    Raises:
        UserError: one that is no number, or that the stack cannot follow.
    """
    given: Any = steps
    if given is None:
        layers = spec.layers
    elif np.ndim(given) == 0:
        layers = shared_layers(whole_number(given, "steps", 1, 4096), spec.layers)
    else:
        layers = tuple(whole_number(n, "steps", 1, 4096) for n in given)
    try:
        low, high = guidance_interval
    except (TypeError, ValueError):
        raise UserError(
            f"guidance_interval is {guidance_interval!r}; give its low and its high end"
        ) from None
    interval = (number(low, "guidance_interval"), number(high, "guidance_interval"))
    return SamplingOptions(
        sampler,
        layers,
        None if guidance is None else number(guidance, "guidance"),
        interval,
        None if threshold is None else number(threshold, "threshold"),
        number(guidance_rescale, "guidance_rescale"),
    ).resolve(spec)
