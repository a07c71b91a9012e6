"""Who says whether a row is broken: a classifier, or its mean where it answers by chance."""

from typing import Any

import numpy as np
import torch

from pipeline.attacks.engine.eot import Expectation
from pipeline.classifier import FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.perturbation.check import Judge
from pipeline.pictures import to_unit


class MeanJudge:
    """A classifier that answers by chance, by its mean logits over draws that no attack met."""

    def __init__(self, classifier: FrozenClassifier, draws: int, seed: int) -> None:
        self._classifier = classifier
        self._mean = Expectation(classifier, draws, seed, use="judgement")

    @property
    def sha256(self) -> str:
        """The classifier's."""
        return self._classifier.sha256

    def logits_of(self, images: np.ndarray) -> np.ndarray:
        """uint8 ``[N, H, W, C]`` to float32 mean logits ``[N, K]``."""
        with torch.inference_mode():
            return np.asarray(self._mean(to_unit(images)).cpu().numpy())


def judge_of(classifier: Judge, attack: dict[str, Any]) -> Judge:
    """Who says whether rows are broken: the classifier, or its mean over the attack's draws.

    Args:
        attack: as a set's manifest has it.

    Raises:
        UserError: draws are wanted of a classifier that makes none, such as an ONNX file.
    """
    draws = int(attack.get("draws", 1))
    if draws == 1:
        return classifier
    if not isinstance(classifier, FrozenClassifier):
        raise UserError(
            f"the set's verdicts are means over {draws} draws, which this classifier does not "
            "make; give the one that was attacked"
        )
    return MeanJudge(classifier, draws, int(attack["seed"]))
