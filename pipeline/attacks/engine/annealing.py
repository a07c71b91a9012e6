"""Step sizes that fall along half a cosine.

Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2016 (arXiv
1608.03983), equation 5.
"""

import math

import torch
from torch import Tensor


def along_cosine(step: Tensor, steps: int, last: float) -> Tensor:
    """From 1 at step 0 to ``last`` at step ``steps``; int64 to float32, ``[N]``."""
    falling = (1 + torch.cos(math.pi * step.float() / steps)) / 2
    return last + (1 - last) * falling
