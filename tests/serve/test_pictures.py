"""What a request for pictures gets: pixels, sizes, classes, seeds, options."""

import asyncio
import base64
import io

import numpy as np
import openai
import pytest
from fake_model import (
    CLASSES,
    DEFAULTS,
    FakeSampler,
    decode,
    error_of,
    picture,
    post,
    run,
)
from PIL import Image

from pipeline.sampling import SamplingOptions
from serve.rendering import Rendering


def test_the_png_holds_the_very_uint8_array_of_the_row():
    response = post(prompt="dress", seed=2**62 + 1, sample_index=7, n=3)
    assert response.status_code == 200
    body = response.json()
    assert body["size"] == "4x6"
    assert body["output_format"] == "png"
    assert body["created"] > 1_700_000_000
    for i, item in enumerate(body["data"]):
        assert (item["seed"], item["sample_index"], item["label"]) == (2**62 + 1, 7 + i, 2)
        assert item["revised_prompt"] == "dress"
        assert "url" not in item
        np.testing.assert_array_equal(decode(item["b64_json"]), picture(2**62 + 1, 7 + i, 2))


def test_a_data_url_holds_the_same_png():
    as_json = post(seed=1).json()["data"][0]
    as_url = post(seed=1, response_format="url").json()["data"][0]
    assert as_url["url"] == "data:image/png;base64," + as_json["b64_json"]
    assert "b64_json" not in as_url


def test_without_a_seed_a_random_one_is_drawn_and_returned():
    first, second = (post().json()["data"][0] for _ in range(2))
    assert first["seed"] != second["seed"]
    again = post(seed=first["seed"]).json()["data"][0]
    assert again["b64_json"] == first["b64_json"]


@pytest.mark.parametrize(
    ("size", "resampling", "by_pillow"),
    [
        ("auto", "none", None),
        (None, "none", None),
        ("4x6", "none", None),
        ("12x18", "nearest", Image.Resampling.NEAREST),
        ("683x1024", "lanczos", Image.Resampling.LANCZOS),  # 170.7 times the width
        ("6x9", "lanczos", Image.Resampling.LANCZOS),
        ("2x3", "lanczos", Image.Resampling.LANCZOS),
    ],
)
def test_pictures_are_scaled_by_repeated_pixels_or_else_as_pillow_has_lanczos(
    size, resampling, by_pillow
):
    body = post(seed=3, size=size).json()
    own = Image.fromarray(picture(3, 0, 3))
    expected = own
    if by_pillow is not None:
        expected = own.resize(tuple(map(int, size.split("x"))), by_pillow)
    assert (body["resampling"], body["size"]) == (resampling, "{}x{}".format(*expected.size))
    found = decode(body["data"][0]["b64_json"])
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize(
    ("size", "near"),
    [
        ("6x4", "'3x4'"),
        ("8x18", "'8x12'"),
        ("1024x1024", "'683x1024'"),
        ("4000x6000", "'1365x2048'"),
        *((size, "'8x12'") for size in ("0x0", "4X6", "-4x-6", "4x6x8", "", "٤x٦", "x" * 999)),
    ],
)
def test_a_size_that_would_stretch_the_picture_is_answered_with_one_that_does_not(size, near):
    error = error_of(post(size=size), 400)
    assert (error["param"], error["code"]) == ("size", "invalid_size")
    assert "4x6" in error["message"]
    assert near in error["message"]
    assert post(size=near.strip("'")).status_code == 200


def test_many_pictures_of_a_large_size_are_refused_together():
    assert post(n=2, size="1365x2048").status_code == 200
    error = error_of(post(n=64, size="1365x2048"), 400)
    assert error["param"] == "size"
    assert "lower n or size" in error["message"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("file_format", "quality", "farthest"),
    [("png", 100, 0), ("webp", 100, 0), ("webp", 60, 80), ("jpeg", 100, 4), ("jpeg", 0, 255)],
)
def test_the_file_is_of_the_format_and_quality_that_was_asked(
    file_format, quality, farthest, channels
):
    ramp = np.linspace(0, 255, 12 * 8 * channels).reshape(12, 8, channels).astype(np.uint8)
    file = Rendering(8, 12, "none", file_format, quality).encode(ramp)
    opened = Image.open(io.BytesIO(file))
    assert opened.format == file_format.upper()
    found = np.asarray(opened.convert("L" if channels == 1 else "RGB")).reshape(ramp.shape)
    away = np.abs(found.astype(int) - ramp).max()
    assert away <= farthest
    assert (away > 0) == (farthest > 0)


@pytest.mark.parametrize("file_format", ["jpeg", "webp"])
def test_a_data_url_and_the_answer_name_the_format(file_format):
    body = post(seed=1, output_format=file_format, response_format="url").json()
    head, _, encoded = body["data"][0]["url"].partition(",")
    assert head == f"data:image/{file_format};base64"
    assert body["output_format"] == file_format
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).format == file_format.upper()


@pytest.mark.parametrize("prompt", ["COAT", " coat ", "Coat\n"])
def test_a_class_is_found_in_any_case(prompt):
    item = post(prompt=prompt, seed=1).json()["data"][0]
    assert item["label"] == 3
    assert item["revised_prompt"] == "coat"


def test_case_decides_between_classes_that_differ_in_it_alone():
    server = {"classes": ("a", "A", "b")}
    assert post(prompt="A", server=server).json()["data"][0]["label"] == 1
    assert error_of(post(prompt="c", server=server), 400)["param"] == "prompt"


def test_a_prompt_is_a_class_by_the_rule_of_flags_and_columns():
    def label(prompt, *classes):
        return post(prompt=prompt, server={"classes": classes}).json()["data"][0]["label"]

    assert label("1", *CLASSES) == 1
    assert label("1", "2", "1") == 1
    assert label("-", "+", "-") == 1
    assert label("<none>", "+", "-") == -1
    assert error_of(post(prompt="0", server={"classes": ("2", "1")}), 400)["param"] == "prompt"


def test_an_unknown_class_is_answered_with_the_nearest_and_with_all():
    error = error_of(post(prompt="trowser"), 400)
    assert error["param"] == "prompt"
    assert error["type"] == "invalid_request_error"
    assert error["code"] == "unknown_class"
    assert "did you mean 'trouser'" in error["message"]
    assert all(name in error["message"] for name in CLASSES)


def test_of_very_many_classes_only_some_are_listed():
    server = {"classes": tuple(f"class {i}" for i in range(1000))}
    error = error_of(post(prompt="x" * 30_000, server=server), 400)
    assert "980 more" in error["message"]
    assert len(error["message"]) < 1000


@pytest.mark.parametrize("classes", [(), CLASSES])
def test_a_dash_asks_for_no_condition(classes):
    item = post(prompt="-", seed=4, server={"classes": classes}).json()["data"][0]
    assert item["label"] == -1
    assert "revised_prompt" not in item
    np.testing.assert_array_equal(decode(item["b64_json"]), picture(4, 0, -1))


@pytest.mark.parametrize("prompt", ["coat", ""])
def test_a_model_without_classes_takes_nothing_but_a_dash(prompt):
    error = error_of(post(prompt=prompt, server={"classes": ()}), 400)
    assert (error["param"], error["code"]) == ("prompt", "unknown_class")


def test_options_reach_the_sampler_in_full():
    sampler = FakeSampler()
    chosen = {
        "sampler": "ddim",
        "layers": [5, 6],
        "guidance": 2,
        "threshold": 0.9,
        "guidance_rescale": 0.7,
    }
    post(**chosen, guidance_low=0.5, guidance_high=9, server={"sampler": sampler})
    expected = SamplingOptions("ddim", (5, 6), 2.0, (0.5, 9.0), 0.9, 0.7)
    assert sampler.batches[0][1] == expected


def test_a_default_that_is_spelled_out_shares_batches_with_one_that_is_not():
    sampler = FakeSampler()

    async def scenario(server):
        await asyncio.gather(server.generate(), server.generate(sampler="heun", layers=[3, 4]))

    run(scenario, sampler=sampler)
    assert {options for _, options in sampler.batches} == {DEFAULTS}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sampler", "euler"),
        ("sampler", "x" * 32_000),
        ("layers", [3]),
        ("layers", [0, 4]),
        ("layers", [4096, 4096]),
        ("layers", [60, 5]),
        ("guidance", -1),
        ("guidance", 101),
        ("guidance_rescale", 1.5),
        ("threshold", 1.5),
    ],
)
def test_options_that_the_model_cannot_follow_are_named(field, value):
    error = error_of(post(**{field: value}), 400)
    assert error["param"] == field
    assert error["code"] == "invalid_value"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guidance_low": 5.0, "guidance_high": 2.0}, "guidance_low"),
        ({"guidance_low": 2.0, "guidance_high": 2.0}, "guidance_low"),
        ({"guidance": 2.0, "guidance_scale": 3.0}, "guidance_scale"),
        ({"layers": [3, 4], "num_inference_steps": 7}, "num_inference_steps"),
        ({"output_format": "png", "output_compression": 50}, "output_compression"),
        ({"negative_prompt": "blurry"}, "negative_prompt"),
        ({"num_inference_steps": 2}, "num_inference_steps"),
        ({"num_inference_steps": 65}, "num_inference_steps"),
        ({"guidance_scale": 101}, "guidance_scale"),
    ],
)
def test_fields_that_contradict_each_other_or_the_model_are_400s(fields, param):
    assert error_of(post(**fields), 400)["param"] == param


@pytest.mark.parametrize(
    ("steps", "layers"),
    [(7, (3, 4)), (14, (6, 8)), (3, (1, 2)), (20, (9, 11)), (64, (28, 36))],
)
def test_diffusers_names_mean_what_they_mean_there(steps, layers):
    sampler = FakeSampler()
    fields = {"num_inference_steps": steps, "guidance_scale": 3, "negative_prompt": ""}
    body = post(**fields, server={"sampler": sampler}).json()
    options = sampler.batches[0][1]
    assert (options.layers, options.guidance) == (layers, 3.0)
    assert body["layers"] == list(layers)


def test_the_official_client_understands_pictures_and_errors():
    async def scenario(server):
        client = openai.AsyncOpenAI(
            base_url="http://test/v1", api_key="any", http_client=server.client, max_retries=0
        )
        answer = await client.images.generate(
            model="tiny", prompt="sandal", n=2, extra_body={"seed": 9, "sample_index": 4}
        )
        large = await client.images.generate(
            prompt="sandal",
            size="1365x2048",
            output_format="webp",
            extra_body={"seed": 9, "sample_index": 4, "num_inference_steps": 7},
        )
        with pytest.raises(openai.BadRequestError) as refused:
            await client.images.generate(prompt="boot")
        return answer, large, refused.value, [model.id async for model in client.models.list()]

    answer, large, refused, models = run(scenario)
    own = Image.fromarray(picture(9, 4, 4)).resize((1365, 2048), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(decode(large.data[0].b64_json), np.asarray(own))
    assert (large.size, large.output_format, large.resampling) == ("1365x2048", "webp", "lanczos")
    assert [item.seed for item in answer.data] == [9, 9]
    for i, item in enumerate(answer.data):
        np.testing.assert_array_equal(decode(item.b64_json), picture(9, 4 + i, 4))
    assert refused.code == "unknown_class"
    assert refused.param == "prompt"
    assert models == ["tiny"]
