"""A classifier from its directory: the same function, in any batch, and no parameter to train."""

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from digit_models import digit_network
from digit_set import CLASSES, digits

from pipeline.classifier import Classifier, save_classifier
from pipeline.errors import UserError
from pipeline.formats.model import CARD_FILE, save_model
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape
from pipeline.pictures import to_unit


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "model"
    save_classifier(path, digit_network(), CLASSES, {"test_accuracy": 0.5})
    return path


def test_a_loaded_classifier_is_the_network_that_was_saved(directory: Path) -> None:
    classifier = Classifier.load(directory)
    x = to_unit(digits()[0][:32])
    # Another layout in memory adds in another order.
    network = deepcopy(digit_network()).to(memory_format=torch.channels_last)
    assert torch.equal(classifier(x), network(x))
    assert torch.equal(classifier.features(x), network.features(x))
    torch.testing.assert_close(classifier(x), digit_network()(x), rtol=0, atol=1e-4)
    assert classifier.shape == (8, 8, 1)
    assert classifier.classes == CLASSES
    assert classifier.num_features == 32
    card = json.loads((directory / CARD_FILE).read_text())
    assert classifier.sha256 == card["content_sha256"]
    assert card["test_accuracy"] == 0.5


def test_logits_of_a_picture_have_the_same_bits_in_any_batch(directory: Path) -> None:
    classifier = Classifier.load(directory)
    images = digits()[0][:300]  # more than a call has
    together = classifier.logits_of(images)
    order = np.random.default_rng(0).permutation(300)
    assert np.array_equal(classifier.logits_of(images[order]), together[order])
    for row in (0, 255, 256, 299):
        assert np.array_equal(classifier.logits_of(images[row : row + 1])[0], together[row])
    features = classifier.features_of(images)
    assert np.array_equal(classifier.features_of(images[:7]), features[:7])
    assert np.array_equal(classifier.predict(images), together.argmax(axis=1))


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        (ClassifierShape(28, 28, 1, 10, widths=(16, 32, 64)), 64),  # 12,544 values in its stem
        (ClassifierShape(28, 28, 1, 10, widths=(8, 16, 64)), 128),  # 6,272
        (ClassifierShape(28, 28, 1, 10, widths=(16, 32, 64), stem_stride=2), 256),  # 3,136
        (ClassifierShape(8, 8, 1, 10, widths=(8, 512)), 128),  # 8,192 in its second level
        (ClassifierShape(8, 8, 1, 10, widths=(16, 32)), 256),
        (ClassifierShape(96, 96, 3, 10), 64),
    ],
)
def test_a_call_has_as_many_rows_as_fit_a_layer_of_a_million_values_from_64_to_256(
    shape: ClassifierShape, rows: int, tmp_path: Path
) -> None:
    save_classifier(tmp_path / "model", ClassifierNetwork(shape), CLASSES, {})
    assert Classifier.load(tmp_path / "model").rows_per_call == rows


def test_the_gradient_reaches_the_picture_and_no_parameter(directory: Path) -> None:
    classifier = Classifier.load(directory)
    x = to_unit(digits()[0][:4]).requires_grad_(True)
    torch.autograd.backward(classifier(x).sum())
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in classifier._network.parameters())
    assert not hasattr(classifier, "train")


def test_pictures_of_another_shape_are_refused(directory: Path) -> None:
    with pytest.raises(ValueError, match="images must be uint8"):
        Classifier.load(directory).predict(np.zeros((2, 9, 8, 1), np.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["a", "b"]}, "2 class names for 10 logits"),
        ({"network": {"height": 8}}, "is not a classifier's"),
        ({"rows_per_call": "many"}, "is not a classifier's"),
        ({"network": None}, "is not a classifier's"),
    ],
)
def test_a_config_that_is_no_classifiers_is_a_user_error(
    directory: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    config = json.loads((directory / "config.json").read_text())
    config = {k: v for k, v in {**config, **change}.items() if k not in ("format", "kind")}
    weights = {"classifier": digit_network().state_dict()}
    save_model(tmp_path / "m", kind="classifier", config=config, weights=weights, card={})
    with pytest.raises(UserError, match=message):
        Classifier.load(tmp_path / "m")


def test_weights_of_another_network_are_a_user_error(directory: Path, tmp_path: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    config = {k: v for k, v in config.items() if k not in ("format", "kind")}
    config["network"]["widths"] = [16, 24]
    weights = {"classifier": digit_network().state_dict()}
    save_model(tmp_path / "m", kind="classifier", config=config, weights=weights, card={})
    with pytest.raises(UserError, match="do not fit the network"):
        Classifier.load(tmp_path / "m")
