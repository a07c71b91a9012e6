"""One stack, told the caption: all its words (Imagen's way), or their pooled vector alone."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.budget import train_for
from benchmarks.ways.base import Lesson, Painter, Setting, Way
from pipeline.sampling import sample


@dataclass(frozen=True)
class OneStack(Way):
    """A stack of pictures.

    Attributes:
        condition: ``text``, in which pixels attend to the words' states, or ``embedding``.
    """

    condition: str

    def learn(self, lesson: Lesson, setting: Setting, cpu_seconds: float, seed: int) -> Painter:
        def condition(rows: NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(self.takes(lesson.conditions(rows)))

        spec = setting.spec(self.condition, lesson.encoder, lesson.pictures)
        trained = train_for(cpu_seconds, spec, setting.recipe(seed), lesson.pictures, condition)

        def paint(embedded: NDArray[np.float32], seed: int) -> NDArray[np.uint8]:
            indices = np.arange(len(embedded))
            return sample(trained.stack, np.full_like(indices, seed), indices, self.takes(embedded))

        return Painter(paint, trained.cpu_seconds, {"stack": trained.steps})

    def takes(self, embedded: NDArray[np.float32]) -> NDArray[np.float32]:
        """The stack's conditions, of captions' embeddings ``[N, 1 + L, D]``."""
        return embedded if self.condition == "text" else np.ascontiguousarray(embedded[:, 0])
