"""The learning rate over a run."""

import math


def learning_rate(step: int, peak: float, *, warmup_steps: int, num_steps: int) -> float:
    """Of step ``step`` (from 0): a linear rise to the peak, then half a cosine down to nothing.

    A function of these numbers alone, so a resumed run goes on with the same rates.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, num_steps - warmup_steps))
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
