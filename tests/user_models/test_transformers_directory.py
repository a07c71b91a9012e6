"""A transformers classifier gets its processor's scaling by torch: same logits, and a gradient."""

import json

import numpy as np
import pytest
import torch
from digit_set import CLASSES, digits, write_digits
from PIL import Image

from pipeline.errors import UserError
from pipeline.user_models.load import load_classifier

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "do_rescale": True,
    "do_normalize": True, "size": {"height": 8, "width": 8}, "rescale_factor": 1 / 255,
    "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2],
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, id2label=dict(enumerate(CLASSES)),
        label2id={name: number for number, name in enumerate(CLASSES)},
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config)
    model.save_pretrained(path / "vit")
    (path / "vit/preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    write_digits(path / "digits", num_train=10, num_test=10)
    return path


@pytest.fixture
def info(place):
    from pipeline.formats.dataset import load_dataset

    return load_dataset(place / "digits")


def test_the_logits_are_those_of_its_own_processor_and_the_gradient_reaches_the_picture(
    place, info
):
    brought = load_classifier(str(place / "vit"), info)
    images = digits()[0][:6]
    processor = transformers.ViTImageProcessor.from_pretrained(place / "vit")
    pictures = [Image.fromarray(image[:, :, 0]).convert("RGB") for image in images]
    given = processor(pictures, return_tensors="pt")
    model = transformers.ViTForImageClassification.from_pretrained(place / "vit").eval()
    expected = model(**given).logits.detach().numpy()
    np.testing.assert_allclose(brought.logits_of(images), expected, rtol=0, atol=1e-5)
    x = torch.rand(2, 1, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(brought(x).square().sum(), x)
    assert gradient.abs().sum() > 0
    std = np.array(PROCESSOR["image_std"])
    done = brought.origin["preprocessing"]
    np.testing.assert_allclose(done["scale"], 1 / 255 / std, rtol=1e-6)
    np.testing.assert_allclose(done["offset"], -np.array(PROCESSOR["image_mean"]) / std, rtol=1e-6)
    assert brought.sha256 == load_classifier(str(place / "vit"), info).sha256


@pytest.fixture
def copied(place, tmp_path):
    """The directory again, to be changed."""
    for source in (place / "vit").iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    return tmp_path


def of_its_own(path, images):
    """The logits that the directory's own processor and model give, in float32."""
    processor = transformers.AutoImageProcessor.from_pretrained(path)
    model = transformers.AutoModelForImageClassification.from_pretrained(path, dtype=torch.float32)
    pictures = [Image.fromarray(image[:, :, 0]).convert("RGB") for image in images]
    return model.eval()(**processor(pictures, return_tensors="pt")).logits.detach().numpy()


SIZE = {"height": 8, "width": 8}


@pytest.mark.parametrize(
    "settings",
    [
        # Nothing said of scaling: by the class's default, 1 / 255.
        {"image_processor_type": "ViTImageProcessor", "size": SIZE, "image_std": [0.5, 0.2, 0.1]},
        # As its JSON is, the deviation divides twice.
        {"image_processor_type": "EfficientNetImageProcessor", "size": SIZE, "do_resize": False},
        {
            "image_processor_type": "EfficientNetImageProcessor", "size": SIZE,
            "include_top": False, "do_normalize": False, "rescale_offset": True,
            "rescale_factor": 1 / 127.5,
        },
        # Blue comes first.
        {
            "image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 8},
            "crop_size": SIZE,
        },
        {"image_processor_type": "ViTImageProcessorFast", "size": SIZE},
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 8},
    ],
)  # fmt: skip
def test_whatever_its_processor_does_to_values_the_logits_are_the_same(info, copied, settings):
    (copied / "preprocessor_config.json").write_text(json.dumps(settings))
    images = digits()[0][:6]
    expected = of_its_own(copied, images)
    found = load_classifier(str(copied), info).logits_of(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.ptp(expected))


def test_the_order_of_the_channels_is_the_processors(info, copied):
    from dataclasses import replace

    (copied / "preprocessor_config.json").write_text(
        json.dumps({
            "image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 8},
            "crop_size": SIZE,
        })
    )  # fmt: skip
    brought = load_classifier(str(copied), replace(info, shape=(8, 8, 3)))
    assert brought.origin["preprocessing"]["channels"] == (2, 1, 0)
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    processor = transformers.AutoImageProcessor.from_pretrained(copied)
    model = transformers.AutoModelForImageClassification.from_pretrained(copied).eval()
    given = processor([Image.fromarray(image) for image in images], return_tensors="pt")
    expected = model(**given).logits.detach().numpy()
    np.testing.assert_allclose(brought.logits_of(images), expected, rtol=0, atol=1e-5)


def test_weights_in_half_precision_are_computed_with_in_float32(info, copied):
    model = transformers.ViTForImageClassification.from_pretrained(copied, dtype=torch.bfloat16)
    model.save_pretrained(copied)
    assert json.loads((copied / "config.json").read_text())["dtype"] == "bfloat16"
    images = digits()[0][:6]
    found = load_classifier(str(copied), info).logits_of(images)
    np.testing.assert_allclose(found, of_its_own(copied, images), rtol=0, atol=1e-5)


def test_a_directory_without_a_head_is_refused(info, copied):
    transformers.ViTModel.from_pretrained(copied).save_pretrained(copied)
    settings = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(
        json.dumps({**settings, "architectures": ["ViTForImageClassification"]})
    )
    with pytest.raises(UserError, match=r"lacks 2 of the weights .*\(classifier\.bias and the lik"):
        load_classifier(str(copied), info)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("preprocessor_config.json", {"size": {"height": 16, "width": 16}}, "of 16x16, .* 8x8"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 12}}, "of 12x12"),
        (
            "preprocessor_config.json",
            {"image_processor_type": "DeiTImageProcessor", "size": {"height": 10, "width": 10},
             "crop_size": {"height": 8, "width": 8}},
            r"8x8 than scale it: do_resize \(size .*10.*\) and do_center_crop .*\"do_resize\": fal",
        ),
        (
            "preprocessor_config.json",
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 8}},
            r"8x8 than scale it: do_resize \(size {'shortest_edge': 8}, crop_pct 0.875\)",
        ),
        (
            "preprocessor_config.json",
            {"image_processor_type": "OwnProcessor", "auto_map": {"AutoImageProcessor": "own.Own"}},
            "image processor of .* cannot be loaded",
        ),
        ("preprocessor_config.json", None, "has no preprocessor_config.json"),
        ("config.json", {"id2label": {str(i): c for i, c in enumerate(CLASSES[::-1])}}, "order"),
        ("config.json", {"id2label": {"0": "a", "1": "b"}}, r"knows 2 classes, .* has 10"),
        ("model.safetensors", None, "is not an image classifier"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(info, copied, file, change, message):
    if change is None:
        (copied / file).unlink()
    else:
        old = json.loads((copied / file).read_text())
        (copied / file).write_text(json.dumps({**old, **change}))
    with pytest.raises(UserError, match=message) as refused:
        load_classifier(str(copied), info)
    assert "\n" not in str(refused.value)


def test_another_scaling_is_another_classifier(place, info, copied):
    (copied / "preprocessor_config.json").write_text(
        json.dumps({**PROCESSOR, "do_normalize": False})
    )
    plain = load_classifier(str(copied), info)
    scaled = load_classifier(str(place / "vit"), info)
    assert plain.sha256 != scaled.sha256
    image = torch.full((1, 1, 8, 8), 0.25)
    assert not torch.equal(plain(image), scaled(image))
