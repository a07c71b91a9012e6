"""`ns.load_classifier`: any kind of classifier, asked about either layout of pictures."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from digit_models import digit_network
from digit_set import CLASSES, digits, write_digits
from torch import nn

import noisestack as ns
from pipeline.classifier import Classifier, save_classifier
from pipeline.formats.dataset import load_dataset
from pipeline.pictures import to_unit
from pipeline.user_models.load import load_classifier

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifiers")
    save_classifier(path / "model", digit_network(), CLASSES, {})
    write_digits(path / "digits", num_train=20, num_test=10)
    return path


@pytest.fixture(scope="module")
def own(place: Path) -> ns.Classifier:
    return ns.load_classifier(place / "model")


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))


def test_arrays_are_asked_about_as_a_set_is_judged_whatever_their_layout(
    place: Path, own: ns.Classifier
) -> None:
    images = digits()[0][-100:]
    due = Classifier.load(place / "model").logits_of(images)
    assert np.array_equal(own(images), due)
    assert np.array_equal(own(to_unit(images).numpy()), due)
    assert np.array_equal(own(to_unit(images).numpy().astype(np.float64)), due)
    assert np.array_equal(own(images[7:9]), due[7:9])
    for x in (images, to_unit(images), torch.from_numpy(images)):
        assert np.array_equal(own.predict(x), due.argmax(axis=1))
    assert own.classes == CLASSES
    assert own.shape == SHAPE


def test_logits_of_a_tensor_can_be_differentiated_by_it_also_outside_the_box(
    own: ns.Classifier,
) -> None:
    x = (to_unit(digits()[0][:3]) * 3 - 1).requires_grad_()
    logits = own(x)
    assert torch.equal(logits, own.frozen.network(x))
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    assert float(gradient.abs().max()) > 0
    assert not any(p.requires_grad for p in own.frozen.network.parameters())


def test_accuracy_is_the_share_of_right_answers_with_its_exact_interval(
    own: ns.Classifier,
) -> None:
    images, labels = (values[-50:] for values in digits())
    rate = own.accuracy(images, labels)
    assert rate.count == int((own.predict(images) == labels).sum())
    assert 0.8 < rate.value < 1
    low, high = rate.interval
    assert low < float(rate) < high
    assert str(rate).startswith(f"{rate.value:.2%} of 50 rows (95 % interval ")


def test_a_module_in_memory_is_frozen_in_evaluation_mode_and_known_by_its_weights() -> None:
    module = linear()
    asked = ns.load_classifier(module, classes=CLASSES, shape=SHAPE)
    images = digits()[0][:5]
    assert not module.training
    assert np.array_equal(asked(images), asked(images))
    torch.testing.assert_close(torch.from_numpy(asked(images)), module(to_unit(images)))
    assert asked.sha256 == ns.load_classifier(linear(), classes=CLASSES, shape=SHAPE).sha256
    other = linear()
    next(other.parameters()).data.add_(1)
    assert asked.sha256 != ns.load_classifier(other, classes=CLASSES, shape=SHAPE).sha256


def test_a_function_is_what_the_command_line_makes_of_it_for_a_dataset(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("face_nets")
    module.linear = linear  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "face_nets", module)
    told = ns.load_classifier("face_nets:linear", dataset=place / "digits")
    due = load_classifier("face_nets:linear", load_dataset(place / "digits"))
    assert told.sha256 == due.sha256
    same = ns.load_classifier("face_nets:linear", dataset=ns.open_dataset(place / "digits"))
    assert same.sha256 == due.sha256
    described = ns.load_classifier("face_nets:linear", classes=CLASSES, shape=SHAPE)
    assert described.sha256 == due.sha256


@pytest.mark.parametrize(
    ("model", "how", "told"),
    [
        ("missing/model", {}, "missing"),
        ("a:b", {}, "give dataset, or classes and shape: a:b does not say"),
        (nn.Flatten(), {}, "give dataset, or classes and shape: a module"),
        (nn.Flatten(), {"classes": CLASSES}, "classes and shape go together"),
        (nn.Flatten(), {"classes": CLASSES, "shape": (8, 8)}, r"shape is \[8, 8\]"),
        (nn.Flatten(), {"classes": CLASSES, "shape": SHAPE, "weights": "x"}, "weights go with"),
        (nn.Flatten(), {"classes": "abc", "shape": SHAPE}, "classes is 'abc'; give the names"),
        (nn.Flatten(), {"classes": 10, "shape": SHAPE}, "classes is 10; give the names"),
        (nn.Flatten(), {"classes": CLASSES, "shape": 8}, "shape is 8; give height"),
        (None, {}, "None is no classifier"),
        ("x.onnx", {}, "x.onnx gives no gradients"),
        ("s3://b/model", {}, "is an address"),
    ],
)
def test_what_is_no_classifier_or_is_not_told_what_it_is_for_is_refused(
    model: object, how: dict[str, object], told: str
) -> None:
    with pytest.raises(ns.UserError, match=told) as caught:
        ns.load_classifier(model, **how)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_module_with_other_logits_than_the_classes_that_were_named_is_refused() -> None:
    three = ns.load_classifier(linear(), classes=CLASSES[:3], shape=SHAPE)
    with pytest.raises(ns.UserError, match=r"returns \[2, 10\] for 2 pictures, and 3 classes"):
        three.accuracy(digits()[0][:2], [0, 1])


def test_accuracy_asks_what_the_pictures_are_before_it_counts_them(own: ns.Classifier) -> None:
    with pytest.raises(ns.UserError, match="x is NoneType; give pictures"):
        own.accuracy(None, [0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (digits()[0][:2, :4], r"x has the shape \[2, 4, 8, 1\]; the pictures here are 8"),
        (torch.zeros(2, 8, 8, 1), "with 1 channel, as floats"),
        (np.zeros((2, 1, 8, 8), np.int32), "x is int32; give pictures"),
        (np.full((1, 1, 8, 8), -0.1), "is -0.1; pictures of floats lie"),
        (np.full((1, 1, 8, 8), np.inf), "is inf; pictures of floats lie"),
        ([[1]], "x is list"),
    ],
)
def test_what_are_no_pictures_is_refused(own: ns.Classifier, x: object, told: str) -> None:
    with pytest.raises(ns.UserError, match=told):
        own(x)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("y", "told"),
    [
        ([0, 1], "y has 2 labels for 3 pictures"),
        ([0, 10, 1], r"y\[1\] is 10; the 10 classes are 0 to 9"),
        ([0, -1, 1], r"y\[1\] is -1"),
        ([0.0, 1.0, 2.0], r"y is float64 \[3\]; give labels as whole numbers"),
        (np.zeros((3, 1), int), r"y is int64 \[3, 1\]"),
    ],
)
def test_what_are_no_labels_is_refused(own: ns.Classifier, y: object, told: str) -> None:
    with pytest.raises(ns.UserError, match=told):
        own.accuracy(digits()[0][:3], y)
