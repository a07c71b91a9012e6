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

from benchmarks.budget import batches, train_for
from benchmarks.ways.base import Lesson, Painter, Setting, Way
from pipeline.chain.schedule import Stage
from pipeline.conditions import embedded_condition
from pipeline.networks.picture_encoder import PictureEncoderNetwork, PictureEncoderShape
from pipeline.picture_encoder import PictureEncoder
from pipeline.sampling import sample, sample_vectors
from pipeline.stack_spec import StackSpec
from pipeline.training.fit import FitRecipe
from pipeline.training.picture_encoder import PictureEncoderTrainer

_TRIED_STEPS = 4  # from which the encoder's number of steps is reckoned


class PriorAndDecoder(Way):
    """The three parts."""

    def learn(self, lesson: Lesson, setting: Setting, cpu_seconds: float, seed: int) -> Painter:
        start = time.process_time()
        encoder, encoder_steps = self._encoder(
            lesson, setting, setting.encoder_share * cpu_seconds, seed
        )
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
            drawn = sample_vectors(prior.stack, seeds, indices, embedded, best_of=setting.best_of)
            drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
            return sample(decoder.stack, seeds, indices, drawn)

        steps = {"encoder": encoder_steps, "prior": prior.steps, "decoder": decoder.steps}
        return Painter(paint, time.process_time() - start, steps)

    def _encoder(
        self, lesson: Lesson, setting: Setting, cpu_seconds: float, seed: int
    ) -> tuple[PictureEncoder, int]:
        """A picture encoder, and its steps: as many as the time is for, reckoned from a few."""
        height, width, channels = lesson.pictures.shape[1:]
        shape = PictureEncoderShape(
            height, width, channels, lesson.encoder.width, setting.encoder_widths, stem_stride=2
        )
        size = min(setting.encoder_batch, len(lesson.pictures))
        start = time.process_time()
        self._fit(shape, lesson, size, _TRIED_STEPS, seed)
        spent = time.process_time() - start
        steps = max(1, round((cpu_seconds - spent) / spent * _TRIED_STEPS))
        network = self._fit(shape, lesson, size, steps, seed)
        return PictureEncoder(network, lesson.encoder), steps

    @staticmethod
    def _fit(
        shape: PictureEncoderShape, lesson: Lesson, size: int, steps: int, seed: int
    ) -> PictureEncoderNetwork:
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            network = PictureEncoderNetwork(shape)
        # A moved picture is another one where the place is a part of what is said.
        trainer = PictureEncoderTrainer(network, FitRecipe(steps, 2e-3, 0.05, 0, seed))
        order = batches(len(lesson.pictures), size, seed)
        for _ in range(steps):
            rows = next(order)
            trainer.update(lesson.pictures[rows], lesson.conditions(rows)[:, 0])
        trainer.outcomes()
        trainer.check_weights()
        return network

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
