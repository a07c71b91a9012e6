"""What an attack in memory made of pictures."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from noisestack.face.rate import Rate
from pipeline.formats.perturbation.distances import size_levels
from pipeline.pictures import LEVELS, to_unit


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack made of N pictures, as a perturbation set says it of its rows.

    Attributes:
        attack, norm, eps: what was done; eps is the ball's radius in [0, 1] units, 0 for attacks
            that look for the smallest change.
        clean, adversarial: uint8 ``[N, H, W, C]``. A row that was not broken has the picture that
            came nearest.
        success: bool ``[N]``: the model is right about the clean picture and wrong about the other
            (with a target: answers it) by more than ``threshold``.
        labels, targets: int64 ``[N]``; -1 where there is no target.
        clean_predictions, adversarial_predictions: int64 ``[N]``.
        margins: float64 ``[N]``, by how much another class leads at the perturbed picture (with a
            target: the target does), in logits.
        found_attack: N names: which attack of an ensemble found the picture.
        forwards, backwards: int64 ``[N]``, passes of the model that each row took.
        threshold: by how much another class must lead, in logits: a share of the model's spread.
        warnings: what speaks against the robust accuracy, a line each.
    """

    attack: str
    norm: str
    eps: float
    clean: np.ndarray
    adversarial: np.ndarray
    success: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    clean_predictions: np.ndarray
    adversarial_predictions: np.ndarray
    margins: np.ndarray
    found_attack: tuple[str, ...]
    forwards: np.ndarray
    backwards: np.ndarray
    threshold: float
    warnings: tuple[str, ...]

    @property
    def x_adv(self) -> Tensor:
        """The perturbed pictures for networks, float32 ``[N, C, H, W]`` in [0, 1], on the CPU."""
        return to_unit(self.adversarial)

    @property
    def sizes(self) -> np.ndarray:
        """The changes in the attack's norm, in [0, 1] units: float64 ``[N]``."""
        return size_levels(self.clean, self.adversarial, self.norm) / LEVELS

    @property
    def clean_accuracy(self) -> Rate:
        """The share of clean pictures that the model gets right."""
        return Rate(int((self.clean_predictions == self.labels).sum()), len(self.labels))

    @property
    def robust_accuracy(self) -> Rate:
        """The share that it gets right clean, and that the attack did not break."""
        return Rate(self.clean_accuracy.count - int(self.success.sum()), len(self.labels))

    def __repr__(self) -> str:
        ball = f", eps {self.eps * LEVELS:.0f}/{LEVELS}" if self.eps else ""
        return (
            f"<{self.attack} in {self.norm}{ball}: accuracy {self.clean_accuracy.value:.2%} clean, "
            f"{self.robust_accuracy.value:.2%} perturbed, of {len(self.labels):,} pictures>"
        )
