"""A picture encoder for so much time: a part of DALL-E 2's way, and a judge."""

import time

import torch

from benchmarks.budget import batches
from benchmarks.ways.base import Lesson, Setting
from pipeline.networks.picture_encoder import PictureEncoderNetwork, PictureEncoderShape
from pipeline.picture_encoder import PictureEncoder
from pipeline.training.fit import FitRecipe
from pipeline.training.picture_encoder import PictureEncoderTrainer

_TRIED_STEPS = 4  # from which the number of steps is reckoned


def fit_encoder(
    lesson: Lesson, setting: Setting, cpu_seconds: float, seed: int
) -> tuple[PictureEncoder, int]:
    """A picture encoder, and its steps: as many as the time is for, reckoned from a few."""
    height, width, channels = lesson.pictures.shape[1:]
    shape = PictureEncoderShape(
        height,
        width,
        channels,
        lesson.encoder.width,
        setting.encoder_widths,
        pooled=setting.encoder_pooled,
        stem_stride=2,
    )
    start = time.process_time()
    _fit(shape, lesson, setting, _TRIED_STEPS, seed)
    spent = time.process_time() - start
    steps = max(1, round((cpu_seconds - spent) / spent * _TRIED_STEPS))
    return PictureEncoder(_fit(shape, lesson, setting, steps, seed), lesson.encoder), steps


def _fit(
    shape: PictureEncoderShape, lesson: Lesson, setting: Setting, steps: int, seed: int
) -> PictureEncoderNetwork:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = PictureEncoderNetwork(shape)
    recipe = FitRecipe(
        steps, setting.encoder_learning_rate, setting.encoder_decay, setting.encoder_shift, seed
    )
    trainer = PictureEncoderTrainer(network, recipe)
    size = min(setting.encoder_batch, len(lesson.pictures))
    order = batches(len(lesson.pictures), size, seed)
    for _ in range(steps):
        rows = next(order)
        trainer.update(lesson.pictures[rows], lesson.conditions(rows)[:, 0])
    trainer.outcomes()
    trainer.check_weights()
    return network
