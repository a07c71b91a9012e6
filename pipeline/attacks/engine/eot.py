"""Classifiers that answer by chance, attacked by their mean answer.

Expectation over transformation: Athalye, Engstrom, Ilyas and Kwok, "Synthesizing robust adversarial
examples", 2017 (arXiv 1707.07397), section 2; for randomised defences Athalye, Carlini and Wagner,
"Obfuscated gradients give a false sense of security", 2018 (arXiv 1802.00420), section 4.
"""

from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from pipeline.attacks.base import Model


@dataclass(frozen=True)
class Expectation:
    """A model's logits, averaged over draws of its chance: a function of the picture alone.

    A row's copies are stacked into one call, whose random numbers (torch's own generator) are
    seeded by a hash of seed, use and picture. So a picture has the same logits whenever and in
    whichever company it is asked about, while the next picture of the attack meets other chances.
    What an attack found was picked for its luck with these; it is judged with others.

    The gradient is the mean of the draws' gradients by the same picture.

    Attributes:
        model: from ``[N, C, H, W]`` to logits ``[N, K]``; its chance is drawn anew for each row.
        draws: copies of a row.
        seed: keys the chance.
        use: what the draws are for: those of two uses are independent.
    """

    model: Model
    draws: int
    seed: int
    use: str = "attack"

    def __call__(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the mean logits ``[N, K]``."""
        return torch.stack([self._mean(row) for row in x])

    def _mean(self, row: Tensor) -> Tensor:
        head = f"{self.use}:{self.seed}:".encode()
        picture = row.detach().cpu().contiguous().numpy().tobytes()
        key = int.from_bytes(sha256(head + picture).digest()[:8], "big", signed=True)
        devices = [row.device] if row.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(key)
            return self.model(row.expand(self.draws, *row.shape)).mean(dim=0)
