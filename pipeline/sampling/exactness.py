"""Whether samples of a stack on this machine know nothing of their neighbours."""

import numpy as np

from pipeline.sampling.sample import sample
from pipeline.sampling.vectors import sample_vectors
from pipeline.stack import Stack


def is_exact(stack: Stack) -> bool:
    """Whether samples on this machine do not depend on their batch, bit for bit: a self-test.

    It draws as many rows as one call takes, then three of them alone, with the model's own options.
    That makes the same likely for other rows and options, but does not prove it, and says nothing
    about other machines.
    """
    size = stack.rows_per_call
    seeds, indices = np.full(size, 20260101), np.arange(size)
    conditions = stack.spec.condition.rule.examples(size, stack.spec.untrained)
    draw = sample_vectors if stack.spec.of_vectors else sample
    together = draw(stack, seeds, indices, conditions)
    return all(
        np.array_equal(
            together[i : i + 1],
            draw(stack, seeds[i : i + 1], indices[i : i + 1], conditions[i : i + 1]),
        )
        for i in (0, size // 2, size - 1)
    )
