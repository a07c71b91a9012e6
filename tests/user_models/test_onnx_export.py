"""The exported classifier answers as the classifier does, and says which one it is."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from pipeline.classifier import Classifier, FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.output import sha256_of_file
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape
from pipeline.user_models.onnx_export import IR_VERSION, OPSET, export_classifier

CLASSES = ("circle", "square", "Dreieck mit ä")


def random_classifier():
    """Of pictures that are neither square nor grey, so that no two axes can be swapped unseen."""
    torch.manual_seed(5)
    network = ClassifierNetwork(ClassifierShape(6, 10, 3, len(CLASSES), widths=(8, 16)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return Classifier(network, CLASSES, sha256="ab" * 32, rows_per_call=8)


@pytest.fixture(scope="module")
def classifier():
    return random_classifier()


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "new" / "classifier.onnx"
    assert export_classifier(classifier, path) == sha256_of_file(path)
    assert [file.name for file in path.parent.iterdir()] == ["classifier.onnx"]
    return path


@pytest.fixture(scope="module")
def session(exported):
    return onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (65, 6, 10, 3), dtype=np.uint8)


@pytest.mark.parametrize("rows", [1, 7, 64, 65])
def test_the_logits_are_the_classifiers_at_any_batch_size(classifier, session, images, rows):
    expected = classifier.logits_of(images)
    parts = [images[start : start + rows] for start in range(0, len(images), rows)]
    logits = np.concatenate([session.run(["logits"], {"image": part})[0] for part in parts])
    assert logits.dtype == np.float32
    assert np.ptp(expected, axis=0).min() > 0.1  # the pictures do not all get one answer
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images.astype(np.float32) / 255,
        lambda images: images.astype(np.int64),
        lambda images: np.moveaxis(images, -1, 1),
    ],
)
def test_pictures_of_another_type_or_shape_are_refused(session, images, change):
    with pytest.raises(Exception, match=r"Unexpected input data type|invalid dimensions"):
        session.run(["logits"], {"image": change(images)})


def test_the_file_is_valid_and_names_the_classifier_and_its_classes(exported):
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert model.ir_version == IR_VERSION
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert set(told) == {"classifier_sha256", "classes"}
    assert told["classifier_sha256"] == "ab" * 32
    assert tuple(json.loads(told["classes"])) == CLASSES


def test_the_same_classifier_gives_the_same_bytes_without_a_trace_of_the_source(exported, tmp_path):
    export_classifier(random_classifier(), tmp_path / "again.onnx")
    content = exported.read_bytes()
    assert (tmp_path / "again.onnx").read_bytes() == content
    for trace in (b".py", b"pipeline", b"torch", str(exported.parent).encode()):
        assert trace not in content


class Resized(nn.Module):
    """Pictures of 28x28, enlarged or laid anew, and a layer in which every pixel counts."""

    def __init__(self, resize):
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.resize = resize
        self.weight = nn.Parameter(torch.randn(32 * 32, 3, generator=generator) / 32)

    def forward(self, x):
        return self.resize(x).flatten(1) @ self.weight


def to_32(mode, **how):
    return lambda x: nn.functional.interpolate(x, size=(32, 32), mode=mode, **how)


@pytest.mark.parametrize(
    ("resize", "given", "culprit"),
    [
        (to_32("nearest-exact"), True, None),
        (
            to_32("nearest"),
            True,
            r"interpolate\(mode='nearest'\) takes other pixels there; mode='nearest-e",
        ),
        (
            to_32("bilinear", antialias=True, align_corners=True),
            False,
            "interpolate with antialias and align_corners is another function there",
        ),
    ],
)
def test_a_file_that_would_be_another_function_is_refused_by_its_operator(
    tmp_path, resize, given, culprit
):
    classifier = FrozenClassifier(Resized(resize), CLASSES, (28, 28, 1))
    images = np.random.default_rng(1).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
    path, more = tmp_path / "classifier.onnx", [images] if given else []
    if culprit is None:
        export_classifier(classifier, path, *more)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found = session.run(["logits"], {"image": images})[0]
        np.testing.assert_allclose(found, classifier.logits_of(images), rtol=0, atol=1e-5)
        return
    asked = 20 if given else 10
    with pytest.raises(UserError, match=rf"for \d+ of {asked} pictures, .*{culprit}") as refused:
        export_classifier(classifier, path, *more)
    assert "\n" not in str(refused.value)
    assert not path.exists()


class Masked(Resized):
    """Five classes, of which the last two are masked."""

    def forward(self, x):
        logits = super().forward(x)
        return torch.cat([logits, torch.full_like(logits, -1e9)[:, :2]], dim=1)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_masked_classes_do_not_hide_that_a_file_is_another_function(tmp_path, mode):
    classifier = FrozenClassifier(Masked(to_32(mode)), ("a", "b", "c", "d", "e"), (28, 28, 1))
    path = tmp_path / "classifier.onnx"
    if mode == "nearest-exact":
        export_classifier(classifier, path)
        return
    with pytest.raises(UserError, match=r"another function: .* takes other pixels there"):
        export_classifier(classifier, path)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_one_line_says_what_to_install(
    classifier, tmp_path, monkeypatch, package
):
    (tmp_path / "classifier.onnx").write_bytes(b"old")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package}, which .*pip install 'noisestack\[onnx\]'"):
        export_classifier(classifier, tmp_path / "classifier.onnx")
    assert (tmp_path / "classifier.onnx").read_bytes() == b"old"
