"""A processor is taken for what it does to pictures, not for what its settings say."""

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.user_models.processor import Scaling, noise_pictures, scaling_of

MEAN, STD = np.array([0.5, 0.4, 0.3]), np.array([0.5, 0.25, 0.2])


class Processor:
    """The steps of transformers' processors in float32, by Pillow and numpy; those that are given
    are on."""

    def __init__(self, **settings):
        for name, value in settings.items():
            setattr(self, name, value)

    def __call__(self, pictures, return_tensors, **switches):
        assert return_tensors == "np"
        has = {**vars(self), **switches}
        return {has.get("name", "pixel_values"): np.stack([self.one(p, has) for p in pictures])}

    def one(self, picture, has):
        if has.get("do_resize"):
            picture = picture.resize(has["size"], Image.Resampling.BILINEAR)
        if has.get("do_center_crop"):
            width, height = has["crop_size"]
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            picture = picture.crop((left, top, left + width, top + height))
        value = np.atleast_3d(np.asarray(picture)).astype(np.float32)
        if has.get("blur"):
            value = (value + np.roll(value, 1, axis=0)) / 2
        if has.get("standardize"):
            value = (value - value.mean()) / value.std()
        value = value * np.float32(has.get("factor", 1))
        if has.get("rescale_offset"):
            value = value - np.float32(1)
        if has.get("do_normalize"):
            value = (value - MEAN.astype(np.float32)) / STD.astype(np.float32)
        if has.get("include_top"):
            value = value / STD.astype(np.float32)
        if has.get("levels"):
            value = np.floor(value * 127) / 127
        if has.get("do_flip_channel_order"):
            value = value[:, :, ::-1]
        return np.moveaxis(value, -1, 0)


def scaling(processor, height=8, width=8, channels=3):
    return scaling_of(processor, height, width, channels, path="M", dataset="D")


@pytest.mark.parametrize(
    ("settings", "channels", "scale", "offset"),
    [
        ({"factor": 1 / 255}, (0, 1, 2), 1 / 255, 0),
        ({}, (0, 1, 2), 1, 0),
        ({"factor": 1 / 255, "do_normalize": True}, (0, 1, 2), 1 / 255 / STD, -MEAN / STD),
        (
            {"factor": 1 / 255, "do_normalize": True, "include_top": True},
            (0, 1, 2), 1 / 255 / STD**2, -MEAN / STD**2,
        ),
        ({"factor": 1 / 127.5, "rescale_offset": True}, (0, 1, 2), 1 / 127.5, -1),
        (
            {"factor": 1 / 255, "do_normalize": True, "do_flip_channel_order": True},
            (2, 1, 0), (1 / 255 / STD)[::-1], (-MEAN / STD)[::-1],
        ),
        ({"do_resize": True, "size": (8, 8), "factor": 1 / 255}, (0, 1, 2), 1 / 255, 0),
    ],
)  # fmt: skip
def test_what_a_torch_module_can_do_exactly_is_found_without_reading_a_setting(
    settings, channels, scale, offset
):
    found = scaling(Processor(**settings))
    assert found.channels == channels
    np.testing.assert_allclose(found.scale, np.broadcast_to(scale, 3), rtol=1e-6)
    np.testing.assert_allclose(found.offset, np.broadcast_to(offset, 3), atol=1e-6)


def test_one_channel_is_enough():
    found = scaling(Processor(factor=1 / 255), channels=1)
    assert found == Scaling((0,), found.scale, found.offset)
    assert found.scale[0] == pytest.approx(1 / 255)


def test_the_noise_is_keyed_and_has_dark_pictures():
    levels = noise_pictures(8, 8, 3)
    assert np.array_equal(levels, noise_pictures(8, 8, 3))
    assert set(np.unique(levels[::2])) == set(range(256))
    assert levels[1::2].max() == 63


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"do_resize": True, "size": (12, 12)},
            "^M is for pictures of 12x12, and those of D are 8x8; ingest with --resize 12$",
        ),
        (
            {"do_resize": True, "size": (10, 6)},
            "^M is for pictures of 6x10, and those of D are 8x8; ingest with --resize 6,10$",
        ),
        (  # the picture's size afterwards is what it was
            {"do_resize": True, "size": (10, 10), "do_center_crop": True, "crop_size": (8, 8)},
            r'8x8 than scale it: do_resize \(size .*\) and do_center_crop .*set "do_resize": false',
        ),
        (  # neither size would be left alone
            {"do_resize": True, "size": (16, 16), "do_center_crop": True, "crop_size": (12, 12)},
            r'picture of 12x12 than scale it: .* ingest.* --resize 12, and set "do_resize": false',
        ),
        ({"blur": True}, r"\(Processor\) cannot be done with a gradient: a value that it gives"),
        ({"standardize": True}, "does not follow from one value of the picture"),
        ({"levels": True, "factor": 1 / 255}, "does not follow from one value of the picture"),
        ({"name": "input_ids"}, "it gives input_ids, and no pixel_values; write the model with"),
        (
            {"do_resize": True},
            r"\(Processor\) fails: .* 8x8 it raised KeyError: 'size'; correct its",
        ),
    ],
)
def test_what_is_more_than_scaling_is_refused_by_name(settings, message):
    settings.setdefault("factor", 1 / 255)
    with pytest.raises(UserError, match=message) as refused:
        scaling(Processor(**settings))
    assert "\n" not in str(refused.value)


def test_a_processor_that_makes_three_channels_of_one_is_refused_for_a_model_of_one():
    class Colouring(Processor):
        def one(self, picture, has):
            return super().one(picture.convert("RGB"), has)

    with pytest.raises(UserError, match=r"gives pixel_values \[64, 3, 8, 8\] for 64 pictures"):
        scaling(Colouring(factor=1 / 255), channels=1)
