"""A prior in front of a decoder: sentences into the vectors of pictures (Ramesh et al., 2022).

The prior is a stack of vectors that is drawn on sentences; the decoder, a stack of pictures that is
drawn on such vectors.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.conditions import ConditionSpec
from pipeline.errors import UserError
from pipeline.sampling.vectors import sample_vectors
from pipeline.stack import PRIOR, Stack
from pipeline.stack_spec import StackSpec

BEST_OF = 2
"""Vectors drawn for a sample, of which the nearest to its sentence is kept: as published."""


@dataclass(frozen=True)
class Prior:
    """A prior, and how many vectors it draws for each that it keeps.

    Attributes:
        stack: of vectors, drawn on sentences.
        best_of: see `sample_vectors`.
    """

    stack: Stack
    best_of: int = BEST_OF

    @property
    def condition(self) -> ConditionSpec:
        """What sentences become for it."""
        return self.stack.spec.condition

    def origin(self) -> dict[str, Any]:
        """What decides the vectors, as JSON."""
        return {"sha256": self.stack.sha256, "best_of": self.best_of}

    def vectors(self, seeds: np.ndarray, indices: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """The decoder's condition for each row, bit for bit the same in any batch.

        Args:
            seeds, indices: of the samples, int64 ``[N]``.
            conditions: of their sentences, as `sample_vectors` takes them.

        Returns:
            float32 ``[N, D]`` of unit length, as a picture encoder's vectors are; zeros, which is
            no condition, where the sentence is null.
        """
        vectors = sample_vectors(self.stack, seeds, indices, conditions, best_of=self.best_of)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        null = self.condition.rule.is_null(torch.from_numpy(np.asarray(conditions))).numpy()
        unit: np.ndarray = np.where(null[:, None], 0, vectors / np.maximum(lengths, 1e-12))
        return unit.astype(np.float32)


def open_prior(
    path: Path,
    decoder: StackSpec,
    *,
    best_of: int = BEST_OF,
    device: torch.device | str = "cpu",
) -> Prior:
    """The prior of a model directory, for a decoder.

    Args:
        path: of the model that `train-prior` left.
        decoder: of the stack that is to be drawn on its vectors.
        best_of: see `sample_vectors`.
        device: where it computes.

    Raises:
        UserError: it is no prior, is not drawn on sentences, or gives other vectors than the
            decoder was trained on.
    """
    wanted = decoder.condition.encoder
    if wanted is None or not decoder.condition.is_of_pictures:
        raise UserError(
            "--prior: the model is not drawn on embeddings of pictures; leave it out, or give a "
            "decoder"
        )
    stack = Stack.load(path, device, kind=PRIOR)
    given, condition = stack.spec.vectors, stack.spec.condition
    if given is None or condition.encoder is None or not condition.encoder.reads_texts:
        raise UserError(
            f"the prior {path} is not drawn on sentences, or does not say whose vectors it draws; "
            "train one with --condition text"
        )
    if not given.same_as(wanted):
        raise UserError(
            f"the prior {path} gives the vectors of {given.name} ({given.sha256[:12]}…), and the "
            f"model was trained on those of {wanted.name} ({wanted.sha256[:12]}…); give the prior "
            "that was trained with the same picture encoder"
        )
    return Prior(stack, best_of)
