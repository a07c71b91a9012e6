"""Float32 that is float32 on a GPU too, where torch lets convolutions round to TF32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_float32() -> Iterator[None]:
    """Meanwhile no convolution or product of float32 is rounded to TF32's 10 bits; a decorator too.

    For what is stored, judged or reported. On an H200, TF32 moved a small classifier's logits by
    0.002, twice the lead that counts as broken (`perturbation_terms.MARGIN`), moved one pixel in
    150 of a sample by a level, and made samples depend on their batch; without it 97 % of samples
    were a CPU's bit for bit and none depended on its batch. Training keeps torch's own setting.

    The setting is the process's: threads that compute meanwhile have it too. An autocast that a
    caller of `import noisestack` stands in is off meanwhile, in this thread alone.
    """
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before
