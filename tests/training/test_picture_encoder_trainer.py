"""Fitting a picture encoder: it learns, and it resumes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from digit_captions import TEXTS, fitted_network, texts_of, untrained_network
from digit_set import digits

from pipeline.picture_encoder import PictureEncoder
from pipeline.training.averaging import Averaging
from pipeline.training.fit import FitRecipe, published_weights
from pipeline.training.picture_encoder import PictureEncoderTrainer

RECIPE = FitRecipe(
    steps=9, learning_rate=1e-2, weight_decay=0.05, max_shift=1, seed=3, averaging=Averaging(64, 16)
)


def small_fit() -> PictureEncoderTrainer:
    return PictureEncoderTrainer(untrained_network(), RECIPE)


def test_a_fitted_encoder_finds_the_caption_of_digits_it_has_not_seen() -> None:
    images, labels = digits()
    network = fitted_network()
    similarity = PictureEncoder(network, TEXTS).encode(images[-200:]) @ texts_of(np.arange(10)).T
    right = similarity.argmax(axis=1) == labels[-200:]
    assert right.mean() > 0.85  # 0.96 measured; a guess is right on 0.1
    assert float(network.log_scale) != pytest.approx(np.log(1 / 0.07), abs=1e-3)


def test_a_resumed_fit_takes_the_same_steps_bit_for_bit() -> None:
    images, labels = digits()
    batches = [(images[i : i + 16], texts_of(labels[i : i + 16])) for i in range(0, 96, 16)]
    whole, first, second = small_fit(), small_fit(), small_fit()
    for batch in batches:
        whole.update(*batch)
    for batch in batches[:3]:
        first.update(*batch)
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()}, first.step)
    for batch in batches[3:]:
        second.update(*batch)
    assert second.step == whole.step == 6
    assert second.outcomes().num_steps == 3
    for name, value in whole.state().items():
        assert torch.equal(second.state()[name], value), name
    assert "log_scale" in published_weights(whole.state())


def test_rows_without_a_caption_change_nothing() -> None:
    """A step with them is the step without them, though their pictures are others."""
    images, labels = digits()
    texts = texts_of(labels[:16])
    texts[[3, 9]] = 0
    ends = []
    for number in range(2):
        fit = PictureEncoderTrainer(untrained_network(), replace(RECIPE, max_shift=0))
        pictures = images[:16].copy()
        pictures[[3, 9]] = images[100 + number]
        fit.update(pictures, texts)
        assert fit.outcomes().loss > 0
        ends.append(fit.state())
    for name, value in ends[0].items():
        assert torch.equal(ends[1][name], value), name
