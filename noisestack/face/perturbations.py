"""A perturbation set as `perturb` writes it."""

import os
from typing import Any

from noisestack.face.local_path import local_path
from noisestack.face.picture_set import PictureSet
from noisestack.face.rate import Rate
from pipeline.formats.perturbation.set import PerturbationSet, open_perturbation_set


class Perturbations(PictureSet):
    """Pictures (image), their perturbed twins (adversarial), and what the classifier says to both.

    The columns are in docs/formats.md; ``success`` says which rows were broken.
    """

    picture_column = "adversarial"

    def __init__(self, opened: PerturbationSet) -> None:
        height, width, channels = (int(size) for size in opened.manifest["dataset"]["shape"])
        super().__init__(
            opened.path,
            opened.shards,
            shape=(height, width, channels),
            classes=tuple(map(str, opened.manifest["model"]["classes"])),
            manifest=opened.manifest,
        )

    @property
    def attack(self) -> dict[str, Any]:
        """What was done: attack, norm, eps in levels of 1/255 (0 for no ball), steps and so on."""
        return dict(self.manifest["attack"])

    @property
    def clean_accuracy(self) -> Rate:
        """The share of pictures that the classifier gets right as they are."""
        return Rate(int(self.manifest["counts"]["clean_right"]), len(self))

    @property
    def robust_accuracy(self) -> Rate:
        """The share that it gets right as they are and perturbed."""
        counts = self.manifest["counts"]
        return Rate(int(counts["clean_right"]) - int(counts["successes"]), len(self))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against the robust accuracy, a line each."""
        return tuple(str(warning["text"]) for warning in self.manifest["warnings"])


def open_perturbations(path: str | os.PathLike[str]) -> Perturbations:
    """A finished perturbation set on disk; nothing but its manifest is read as yet.

    Args:
        path: its directory, as the job `perturb` leaves it.

    Raises:
        UserError: it is missing or unfinished, or a file of it is.
    """
    return Perturbations(open_perturbation_set(local_path(path)))
