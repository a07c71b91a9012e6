"""Picture encoders: the same bits in any batch, stored and loaded, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from digit_set import digits

from pipeline.errors import UserError
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.model import CARD_FILE, save_model
from pipeline.networks.picture_encoder import PictureEncoderNetwork, PictureEncoderShape
from pipeline.picture_encoder import KIND, PictureEncoder, save_picture_encoder
from pipeline.verification.directory import verify_directory

TEXTS = EncoderId("some/encoder", "a" * 64, "b" * 64, 16, "mean", 24)


def network(num_dimensions: int = 24) -> PictureEncoderNetwork:
    torch.manual_seed(1)
    made = PictureEncoderNetwork(PictureEncoderShape(8, 8, 1, num_dimensions, (16, 32)))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "model"
    save_picture_encoder(path, network(), TEXTS, {"dataset_sha256": "d"})
    return path


def test_a_picture_has_the_same_bits_in_any_batch_and_length_1(model: Path) -> None:
    encoder = PictureEncoder.load(model)
    images = digits()[0][:300]
    whole = encoder.encode(images)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)
    cuts = [encoder.encode(part) for part in np.split(images, [1, 4, 130])]
    assert np.array_equal(np.concatenate(cuts), whole)
    assert np.array_equal(encoder.encode(images[::-1]), whole[::-1])
    assert encoder.encode(images[:0]).shape == (0, 24)


def test_what_is_loaded_is_what_was_stored_with_its_ids(model: Path) -> None:
    encoder = PictureEncoder.load(model)
    images = digits()[0][:20]
    assert np.array_equal(encoder.encode(images), PictureEncoder(network(), TEXTS).encode(images))
    assert encoder.text_encoder == TEXTS
    stored = json.loads((model / CARD_FILE).read_text())
    assert encoder.id == EncoderId(str(model), stored["content_sha256"], "", 0, "picture", 24)
    assert verify_directory(model).kind == KIND
    assert not verify_directory(model).faults.lines()


def test_wrong_pictures_wrong_models_and_wrong_configs_are_user_errors(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="for pictures of 8x8x1, and these are 9x8x1"):
        PictureEncoder.load(model).encode(np.zeros((2, 9, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="not float32"):
        PictureEncoder.load(model).encode(np.zeros((2, 8, 8, 1), np.float32))
    save_model(tmp_path / "other", kind="classifier", config={}, weights={}, card={})
    with pytest.raises(UserError, match="holds a classifier, not a picture_encoder"):
        PictureEncoder.load(tmp_path / "other")
    save_model(tmp_path / "bare", kind=KIND, config={"network": {}}, weights={}, card={})
    with pytest.raises(UserError, match="not a picture encoder's"):
        PictureEncoder.load(tmp_path / "bare")
    with pytest.raises(ValueError, match="12 dimensions and the text encoder's 24"):
        PictureEncoder(network(12), TEXTS)
    with pytest.raises(UserError, match="at least 2 dimensions"):
        PictureEncoderShape(8, 8, 1, 1)
    with pytest.raises(UserError, match="multiples of 8"):
        PictureEncoderShape(8, 8, 1, 24, (12,))
