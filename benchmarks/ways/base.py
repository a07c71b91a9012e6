"""What every way is given, and what it gives back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.chain.schedule import Stage
from pipeline.conditions import embedded_condition
from pipeline.formats.encoder_id import EncoderId
from pipeline.stack_spec import StackSpec
from pipeline.text.encoder import TextEncoder
from pipeline.training.statistics import measure, stages_for
from pipeline.training.trainer import Recipe
from pipeline.training.weighting import WEIGHTINGS


@dataclass(frozen=True)
class Setting:
    """The sizes and the recipe: what the jobs would be told.

    Attributes:
        stages ... guidance: of a stack of pictures.
        rows_per_call: in sampling.
        encoder_share, prior_share: of the time, where there are a picture encoder and a prior; the
            decoder has the rest.
        encoder_widths ... encoder_shift: of the picture encoder: its network, the size of a batch,
            of which each picture is told from the others, and its recipe. Where the place is a part
            of what is said, a moved picture is another one: so none is moved unless told.
        prior_width, prior_blocks, prior_batch: the prior's.
        best_of: the prior draws so many and keeps the one nearest to the text.
    """

    stages: tuple[int, ...] = (8, 16, 32)
    widths: tuple[int, ...] = (64, 48, 24)
    blocks: tuple[int, ...] = (2, 1, 1)
    attends: tuple[int, ...] = (0, 1)
    embedding: int = 128
    sigma_max: float = 100.0
    switch: float = 0.07
    batch_size: int = 32
    stage_share: tuple[float, ...] = (1.0, 0.75, 0.4)
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    ema_halflife: float = 20_000
    layers: tuple[int, ...] = (10, 6, 6)
    sampler: str = "dpmpp_2m"
    guidance: float = 2.0
    rows_per_call: int = 50
    encoder_share: float = 0.2
    encoder_widths: tuple[int, ...] = (32, 64, 128)
    encoder_pooled: bool = True
    encoder_batch: int = 128
    encoder_learning_rate: float = 2e-3
    encoder_decay: float = 0.05
    encoder_shift: int = 0
    prior_share: float = 0.15
    prior_width: int = 512
    prior_blocks: int = 4
    prior_batch: int = 256
    best_of: int = 2

    def recipe(self, seed: int) -> Recipe:
        """The recipe; how many steps it has is the budget's business."""
        return Recipe(
            num_steps=1000,
            batch_size=self.batch_size,
            stage_share=self.stage_share,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            ema_halflife=self.ema_halflife,
            drop_condition=0.1,
            gradient_clip=1.0,
            weighting=WEIGHTINGS["edm"],
            seed=seed,
        )

    def spec(self, condition: str, encoder: EncoderId, pictures: NDArray[np.uint8]) -> StackSpec:
        """A stack of pictures with these statistics, drawn on an encoder's embeddings."""
        spoken = embedded_condition(condition, encoder)
        statistics = measure([pictures], self.stages)
        stages: tuple[Stage, ...] = stages_for(
            statistics, sigma_max=self.sigma_max, sigma_min=0.01, switch=self.switch
        )
        height, width, channels = pictures.shape[1:]
        return StackSpec(
            shape=(height, width, channels),
            classes=(),
            condition=spoken,
            stages=stages,
            sigma_data=statistics.sigma_data,
            tau2=statistics.tau2,
            network="nested",
            widths=self.widths,
            blocks=self.blocks,
            embedding=self.embedding,
            dropout=0.0,
            rows_per_call=self.rows_per_call,
            layers=self.layers,
            sampler=self.sampler,
            guidance=self.guidance,
            attends=self.attends if spoken.rule.has_tokens else (),
        )


QUICK = Setting(
    widths=(16, 16, 8),
    blocks=(1, 1, 1),
    embedding=32,
    batch_size=8,
    layers=(1, 1, 2),
    rows_per_call=4,
    encoder_widths=(8, 8),
    encoder_batch=8,
    prior_width=16,
    prior_blocks=1,
    prior_batch=8,
)


@dataclass(frozen=True)
class Captions:
    """The embeddings of captions, each distinct one computed once.

    Attributes:
        rows: the row of each caption.
        embeddings: float16 ``[M, 1 + L, D]``, as the condition ``text`` has it.
    """

    rows: dict[str, int]
    embeddings: NDArray[np.float16]

    @classmethod
    def embed(cls, captions: Sequence[str], encoder: TextEncoder) -> "Captions":
        """Of captions, which may repeat."""
        rows = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
        return cls(rows, encoder.conditions(list(rows)).astype(np.float16))

    def of(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """The conditions of captions, float32 ``[N, 1 + L, D]``."""
        return self.embeddings[[self.rows[caption] for caption in captions]].astype(np.float32)


@dataclass(frozen=True)
class Lesson:
    """What a way learns from.

    Attributes:
        pictures: uint8 ``[N, H, W, C]``.
        said: the caption of each.
        captions: the embeddings of all captions, of the ones too that will be asked for.
        encoder: whose embeddings they are.
    """

    pictures: NDArray[np.uint8]
    said: Sequence[str]
    captions: Captions
    encoder: EncoderId

    def conditions(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """What was said of some pictures, float32 ``[N, 1 + L, D]``."""
        return self.captions.of([self.said[row] for row in rows])


@dataclass(frozen=True)
class Painter:
    """What a way has become.

    Attributes:
        paint: from captions' embeddings, float32 ``[N, 1 + L, D]``, and a seed to pictures, uint8
            ``[N, H, W, C]``.
        cpu_seconds: what it took, in all.
        steps: optimiser steps of each part, by its name.
    """

    paint: Callable[[NDArray[np.float32], int], NDArray[np.uint8]]
    cpu_seconds: float
    steps: dict[str, int]


class Way(ABC):
    """A way from a sentence to a picture."""

    @abstractmethod
    def learn(self, lesson: Lesson, setting: Setting, cpu_seconds: float, seed: int) -> Painter:
        """Trained for so many CPU-seconds in all."""
