"""Classifiers that a user brings answer as their network does, and are known by their content."""

import sys
import types

import numpy as np
import pytest
import safetensors.torch
import torch
from digit_models import SHAPE, digit_network
from digit_set import CLASSES, digits, write_digits
from torch import nn

from pipeline.classifier import Classifier, save_classifier
from pipeline.errors import UserError
from pipeline.networks.classifier import ClassifierNetwork
from pipeline.pictures import to_unit
from pipeline.user_models.load import load_classifier, load_judge
from pipeline.user_models.onnx_export import export_classifier


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("brought")
    write_digits(path / "digits", num_train=20, num_test=20)
    save_classifier(path / "model", digit_network(), CLASSES, {})
    state = {name: value.contiguous() for name, value in digit_network().state_dict().items()}
    safetensors.torch.save_file(state, path / "weights.safetensors")
    torch.save(digit_network().state_dict(), path / "weights.pt")
    return path


@pytest.fixture
def info(place):
    from pipeline.formats.dataset import load_dataset

    return load_dataset(place / "digits")


@pytest.fixture(autouse=True)
def nets(monkeypatch):
    """An importable module of functions that return networks."""
    module = types.ModuleType("brought_nets")
    # As Noisestack's own classifier lays its network out; another layout adds in another order.
    layout = {"memory_format": torch.channels_last}
    module.blank = lambda: ClassifierNetwork(SHAPE).to(**layout)
    module.trained = digit_network
    module.dropping = lambda: nn.Sequential(digit_network().to(**layout), nn.Dropout(0.5).train())
    module.nothing = lambda: None
    module.asking = lambda path: path
    module.raising = lambda: 1 / 0
    monkeypatch.setitem(sys.modules, "brought_nets", module)
    return module


def test_a_function_with_weights_answers_as_the_network_that_the_weights_are_of(place, info):
    brought = load_classifier("brought_nets:blank", info, weights=place / "weights.safetensors")
    own = load_classifier(str(place / "model"), info)
    images = digits()[0][:70]
    assert np.array_equal(brought.logits_of(images), own.logits_of(images))
    assert (brought.shape, brought.classes, brought.rows_per_call) == ((8, 8, 1), CLASSES, 64)
    assert not any(p.requires_grad for p in brought.network.parameters())
    assert brought.origin["kind"] == "function"
    assert own.origin["kind"] == "noisestack"


def test_identity_is_in_name_weights_and_classes(place, info, nets):
    def sha256(spec, weights=None):
        return load_classifier(f"brought_nets:{spec}", info, weights=weights).sha256

    weights = place / "weights.safetensors"
    nets.other = nets.blank
    assert sha256("blank", weights) == sha256("blank", weights)
    names = {sha256("blank", weights), sha256("other", weights), sha256("blank"), sha256("trained")}
    assert len(names) == 4


def test_layers_that_came_in_training_mode_are_put_out_of_it_and_named(info):
    brought = load_classifier("brought_nets:dropping", info)
    assert brought.training_layers == ("1",)
    assert not any(module.training for module in brought.network.modules())
    images = digits()[0][:9]
    assert np.array_equal(
        brought.logits_of(images), Classifier(digit_network(), CLASSES).logits_of(images)
    )


@pytest.mark.parametrize(
    ("spec", "weights", "message"),
    [
        ("brought_nets:nothing", None, "returned a NoneType, not a torch.nn.Module"),
        ("brought_nets:asking", None, "raised TypeError: .* called without arguments"),
        ("brought_nets:raising", None, "raised ZeroDivisionError"),
        ("brought_nets:dropping", "weights.safetensors", r"do not fit what .*Missing key"),
        ("brought_nets:blank", "weights.pt", "is a pickle"),
        ("brought_nets:blank", "absent.safetensors", "there is no file"),
        ("{place}/model", "weights.safetensors", "weights go with"),
        ("{place}/classifier.onnx", None, "gives no gradients here"),
        ("{place}/digits", None, "is half there"),
    ],
)
def test_what_is_no_classifier_is_refused_in_one_line(place, info, spec, weights, message):
    with pytest.raises(UserError, match=message) as refused:
        load_classifier(spec.format(place=place), info, weights=weights and place / weights)
    assert "\n" not in str(refused.value)


def test_a_noisestack_model_keeps_its_own_number_of_rows_a_call(place, info):
    with pytest.raises(UserError, match="has its own rows_per_call"):
        load_classifier(str(place / "model"), info, rows_per_call=8)
    assert load_classifier("brought_nets:trained", info, rows_per_call=8).rows_per_call == 8


def test_an_exported_classifier_judges_as_the_one_it_was_exported_from(place, info):
    brought = load_classifier("brought_nets:trained", info)
    export_classifier(brought, place / "brought.onnx")
    judge = load_judge(str(place / "brought.onnx"), info)
    images = digits()[0][:70]
    assert judge.sha256 == brought.sha256
    np.testing.assert_allclose(
        judge.logits_of(images), brought.logits_of(images), rtol=0, atol=1e-5
    )
    (place / "no.onnx").write_bytes(b"no")
    with pytest.raises(UserError, match="is not an ONNX file"):
        load_judge(str(place / "no.onnx"), info)


def test_a_network_without_an_onnx_form_is_refused_in_one_line(info, nets, tmp_path):
    class Strange(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, : 10 if float(x.sum()) > 0 else 9]

    nets.strange = Strange
    with pytest.raises(UserError, match="cannot be written as ONNX") as refused:
        export_classifier(load_classifier("brought_nets:strange", info), tmp_path / "c.onnx")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_the_gradient_of_a_brought_network_reaches_the_picture(info):
    x = to_unit(digits()[0][:4]).requires_grad_(True)
    (gradient,) = torch.autograd.grad(load_classifier("brought_nets:trained", info)(x).sum(), x)
    assert gradient.abs().sum() > 0
