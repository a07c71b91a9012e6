"""DALL-E 2's way: from text to a picture's vector by a prior, from that to the picture.

Three parts share the time: a picture encoder, trained into the text encoder's space by a
contrastive loss with the texts locked; the prior, a stack of vectors that is told the words; and
the decoder, a stack of pictures that is told a picture's vector and never a word.
"""

import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.budget import train_for
from benchmarks.ways.base import Lesson, Painter, Setting, Way
from benchmarks.ways.encoder import fit_encoder
from pipeline.chain.schedule import Stage
from pipeline.conditions import embedded_condition
from pipeline.sampling import sample
from pipeline.sampling.prior import Prior
from pipeline.stack_spec import StackSpec


class PriorAndDecoder(Way):
    """The three parts."""

    def learn(self, lesson: Lesson, setting: Setting, cpu_seconds: float, seed: int) -> Painter:
        start = time.process_time()
        share = setting.encoder_share * cpu_seconds
        encoder, encoder_steps = fit_encoder(lesson, setting, share, seed)
        vectors = np.asarray(encoder.encode(lesson.pictures), np.float32)  # of unit length
        # The chain's noise levels are for coefficients of about 1.
        size = np.float32(vectors.shape[1] ** 0.5)

        def words(rows: NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(lesson.conditions(rows))

        def seen(rows: NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(vectors[rows])

        recipe = setting.recipe(seed)
        prior = train_for(
            setting.prior_share * cpu_seconds,
            self._prior_spec(lesson, setting),
            replace(recipe, batch_size=setting.prior_batch, stage_share=(1.0,), learning_rate=1e-3),
            (size * vectors)[:, None, None, :],
            words,
        )
        decoder = train_for(
            cpu_seconds - (time.process_time() - start),
            setting.spec("embedding", lesson.encoder, lesson.pictures),
            recipe,
            lesson.pictures,
            seen,
        )

        def paint(embedded: NDArray[np.float32], seed: int) -> NDArray[np.uint8]:
            indices = np.arange(len(embedded))
            seeds = np.full_like(indices, seed)
            vectors = Prior(prior.stack, setting.best_of).vectors(seeds, indices, embedded)
            return sample(decoder.stack, seeds, indices, vectors)

        steps = {"encoder": encoder_steps, "prior": prior.steps, "decoder": decoder.steps}
        return Painter(paint, time.process_time() - start, steps)

    def _prior_spec(self, lesson: Lesson, setting: Setting) -> StackSpec:
        return StackSpec(
            shape=(1, 1, lesson.encoder.width),
            classes=(),
            condition=embedded_condition("text", lesson.encoder),
            stages=(Stage(1, 80.0, 0.01),),
            sigma_data=(1.0,),
            tau2=(),
            network="vector",
            widths=(setting.prior_width,),
            blocks=(setting.prior_blocks,),
            embedding=setting.embedding,
            dropout=0.0,
            rows_per_call=setting.rows_per_call,
            layers=(24,),
            sampler="dpmpp_2m",
            guidance=1.0,
            attends=(0,),
        )
