"""How a transformers directory is loaded, by a stand-in for the library: held where it is missing.

What the library itself gives is in `test_transformers_directory.py`.
"""

import json
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.user_models.load import load_classifier

CLASSES = ("a", "b", "c")


class Bgr:
    """A processor that swaps red and blue and takes levels between -1 and 1."""

    def __call__(self, pictures, return_tensors):
        values = [np.moveaxis(np.asarray(p), -1, 0)[::-1] / np.float32(127.5) - 1 for p in pictures]
        return {"pixel_values": np.stack(values).astype(np.float32)}


class Means(nn.Module):
    """Each channel's mean is a logit, where it was drawn at random nowhere."""

    def forward(self, pixel_values):
        return types.SimpleNamespace(logits=pixel_values.mean(dim=(2, 3)))


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Means"]}))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """What the stand-in was asked for, and what weights it says are missing."""
    heard = {"missing": []}
    config = types.SimpleNamespace(num_channels=3, id2label=dict(enumerate(CLASSES)))

    def model(path, **how):
        heard["model"] = how
        return Means(), {"missing_keys": heard["missing"]}

    def processor(path, **how):
        heard["processor"] = how
        return Bgr()

    library = types.ModuleType("transformers")
    library.__version__ = "5.23.0"
    library.utils = types.SimpleNamespace(
        logging=types.SimpleNamespace(
            is_progress_bar_enabled=lambda: False,
            disable_progress_bar=lambda: None,
        )
    )
    library.AutoConfig = types.SimpleNamespace(from_pretrained=lambda path, **how: config)
    library.AutoModelForImageClassification = types.SimpleNamespace(from_pretrained=model)
    library.AutoImageProcessor = types.SimpleNamespace(from_pretrained=processor)
    monkeypatch.setitem(sys.modules, "transformers", library)
    return heard


def info(directory, channels=3):
    return DatasetInfo(directory, (8, 8, channels), CLASSES, {}, False, "")


def test_the_model_is_given_what_the_processor_gives(directory, asked):
    brought = load_classifier(str(directory), info(directory))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    expected = images[..., ::-1].mean(axis=(1, 2)) / 127.5 - 1
    np.testing.assert_allclose(brought.logits_of(images), expected, atol=1e-6)
    assert brought.origin["preprocessing"]["channels"] == (2, 1, 0)
    grey = load_classifier(str(directory), info(directory, 1)).logits_of(images[..., :1])
    np.testing.assert_allclose(grey, grey[:, [2, 1, 0]], atol=1e-6)


def test_it_is_read_offline_in_float32_and_none_of_its_code_is_run(directory, asked):
    load_classifier(str(directory), info(directory))
    local = {"local_files_only": True, "trust_remote_code": False}
    assert asked["processor"] == {"backend": "pil", **local}
    assert local.items() <= asked["model"].items()
    assert asked["model"]["dtype"] is torch.float32
    assert asked["model"]["use_safetensors"] is True


def test_weights_that_would_be_drawn_at_random_are_refused(directory, asked):
    asked["missing"] += ["head.weight", "head.bias"]
    with pytest.raises(UserError, match=r"lacks 2 of the weights of Means \(head\.bias and the li"):
        load_classifier(str(directory), info(directory))


def test_the_identity_holds_the_file_that_the_processor_is_read_from(directory, asked):
    before = load_classifier(str(directory), info(directory)).sha256
    (directory / "processor_config.json").write_text("{}")
    assert load_classifier(str(directory), info(directory)).sha256 != before
