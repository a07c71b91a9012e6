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
    assert brought.origin["preprocessing"]["then"]["mean"] == PROCESSOR["image_mean"]
    assert brought.sha256 == load_classifier(str(place / "vit"), info).sha256


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("preprocessor_config.json", {"size": {"height": 16, "width": 16}}, "of 16x16, .* 8x8"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 12}}, "of 12x12"),
        ("preprocessor_config.json", None, "has no preprocessor_config.json"),
        ("config.json", {"id2label": {str(i): c for i, c in enumerate(CLASSES[::-1])}}, "order"),
        ("config.json", {"id2label": {"0": "a", "1": "b"}}, r"knows 2 classes, .* has 10"),
        ("model.safetensors", None, "is not an image classifier"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(place, info, tmp_path, file, change, message):
    for source in (place / "vit").iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    if change is None:
        (tmp_path / file).unlink()
    else:
        old = json.loads((tmp_path / file).read_text())
        (tmp_path / file).write_text(json.dumps({**old, **change}))
    with pytest.raises(UserError, match=message) as refused:
        load_classifier(str(tmp_path), info)
    assert "\n" not in str(refused.value)


def test_another_scaling_is_another_classifier(place, info, tmp_path):
    for source in (place / "vit").iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({**PROCESSOR, "do_normalize": False})
    )
    plain = load_classifier(str(tmp_path), info)
    scaled = load_classifier(str(place / "vit"), info)
    assert plain.sha256 != scaled.sha256
    image = torch.full((1, 1, 8, 8), 0.25)
    assert not torch.equal(plain(image), scaled(image))
