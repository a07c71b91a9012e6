"""Fitting a picture encoder: it learns, and it resumes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from digit_set import digits

from pipeline.formats.encoder_id import EncoderId
from pipeline.networks.picture_encoder import PictureEncoderNetwork, PictureEncoderShape
from pipeline.picture_encoder import PictureEncoder
from pipeline.training.averaging import Averaging
from pipeline.training.fit import FitRecipe, published_weights
from pipeline.training.picture_encoder import PictureEncoderTrainer

RECIPE = FitRecipe(
    steps=40,
    learning_rate=1e-2,
    weight_decay=0.05,
    max_shift=1,
    seed=3,
    averaging=Averaging(64, 16),
)
TEXTS = EncoderId("digits", "a" * 64, "b" * 64, 16, "mean", 12)


def texts_of(labels: np.ndarray) -> np.ndarray:
    """A caption's vector for each digit, float16 of length 1 as an embedding set has them."""
    vectors = np.random.default_rng(0).normal(size=(10, 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16)[labels]


def small_fit(max_shift: int = 1) -> tuple[PictureEncoderNetwork, PictureEncoderTrainer]:
    torch.manual_seed(0)
    network = PictureEncoderNetwork(PictureEncoderShape(8, 8, 1, 12, (8, 16), pooled=False))
    return network, PictureEncoderTrainer(network, replace(RECIPE, max_shift=max_shift))


def test_a_fitted_encoder_finds_the_caption_of_digits_it_has_not_seen() -> None:
    images, labels = digits()
    network, fit = small_fit(max_shift=0)
    for step in range(RECIPE.steps):
        rows = np.arange(32 * step, 32 * step + 32)
        fit.update(images[rows], texts_of(labels[rows]))
    outcomes = fit.outcomes()
    assert outcomes.num_steps == RECIPE.steps
    assert 0 < outcomes.accuracy < 1
    encoder = PictureEncoder(network, TEXTS)
    similarity = encoder.encode(images[-200:]) @ texts_of(np.arange(10)).T
    assert (
        similarity.argmax(axis=1) == labels[-200:]
    ).mean() > 0.85  # 0.96 measured; a guess is right on 0.1
    assert float(network.log_scale) != pytest.approx(np.log(1 / 0.07), abs=1e-3)


def test_a_resumed_fit_takes_the_same_steps_bit_for_bit() -> None:
    images, labels = digits()
    batches = [(images[i : i + 16], texts_of(labels[i : i + 16])) for i in range(0, 96, 16)]
    _, whole = small_fit()
    for batch in batches:
        whole.update(*batch)
    _, first = small_fit()
    for batch in batches[:3]:
        first.update(*batch)
    stored = {name: tensor.clone() for name, tensor in first.state().items()}
    _, second = small_fit()
    second.load_state(stored, first.step)
    for batch in batches[3:]:
        second.update(*batch)
    assert second.step == whole.step == 6
    for name, value in whole.state().items():
        assert torch.equal(second.state()[name], value), name
    assert "log_scale" in published_weights(whole.state())
