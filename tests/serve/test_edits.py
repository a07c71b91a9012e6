"""`images.edit`: the job's very pictures around known pixels, and what cannot be drawn around."""

import asyncio
import inspect
import io

import numpy as np
import openai
import pytest
from fake_model import FakeSampler, decode, error_of
from in_this_process import generate_here
from PIL import Image
from small_stack import small_stack
from test_sentences import client_of

from jobs.generate import main
from jobs.generate.config import GenerateConfig
from pipeline.formats.sample_set import iterate_samples, open_sample_set
from pipeline.formats.shard import images_of
from pipeline.stack import Stack, save_stack
from serve.engine import Engine
from serve.replica import Replica
from serve.schema import EditRequest, ServedModel
from serve.settings import Settings
from serve.web import create_app

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3


def png(pixels, mode=None):
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, format="PNG")
    return buffer.getvalue()


def with_hole(rows=3):
    """The picture, transparent in its upper rows; and which pixels are known."""
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:rows] = 0
    return png(np.stack([GREY, alpha], axis=-1), "LA"), alpha > 0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("edits") / "model"
    save_stack(small_stack(), {}, path, {})
    return path


def run(model, scenario):
    async def main():
        async with client_of(Replica(Settings(model=model), None).app) as client:
            return await scenario(client)

    return asyncio.run(main())


def official(client):
    return openai.AsyncOpenAI(
        base_url="http://test/v1", api_key="any", http_client=client, max_retries=0
    )


@pytest.mark.parametrize("around", [{"resample": 2}, {"resample": 1, "moment_steps": 1}])
def test_the_official_client_gets_the_jobs_pictures_and_every_known_pixel(
    model, tmp_path, monkeypatch, around
):
    generate_here(monkeypatch)
    picture, known = with_hole()
    (tmp_path / "hole.png").write_bytes(picture)
    asked = {"labels": ("two",), "count": 3, "seed": 5, "layers": (1, 2), **around}
    main(
        GenerateConfig(model=model, output=tmp_path / "set", inpaint=tmp_path / "hole.png", **asked)
    )
    (table,) = iterate_samples(open_sample_set(tmp_path / "set"))

    async def scenario(client):
        extra = {"seed": 5, "layers": [1, 2], **around}
        edit = official(client).images.edit
        opaque = {"image": png(GREY), "mask": picture, "prompt": "two", "n": 1}
        # Their rows share batches, since they are drawn alike.
        return await asyncio.gather(
            edit(image=picture, prompt="two", n=2, extra_body=extra),
            edit(**opaque, extra_body=extra | {"sample_index": 2}),
        )

    whole, masked = run(model, scenario)
    found = [decode(item.b64_json) for item in (*whole.data, *masked.data)]
    np.testing.assert_array_equal(found, images_of(table)[:, :, :, 0])
    for image in found:
        np.testing.assert_array_equal(image[known], GREY[known])
    assert len({image.tobytes() for image in found}) == 3


def test_a_model_whose_own_sampler_remembers_layers_is_drawn_by_one_that_does_not(tmp_path):
    save_stack(small_stack(sampler="dpmpp_2m"), {}, tmp_path / "model", {})
    picture, _ = with_hole()

    async def scenario(client):
        edit = official(client).images.edit
        few = {"image": picture, "prompt": "two"}
        extra = {"seed": 1, "resample": 1, "layers": [1, 2]}
        own = await edit(**few, extra_body=extra)
        ancestral = await edit(**few, extra_body=extra | {"sampler": "ancestral"})
        with pytest.raises(openai.BadRequestError) as refused:
            await edit(**few, extra_body={"sampler": "dpmpp_2m"})
        return own, ancestral, refused.value

    own, ancestral, refused = run(tmp_path / "model", scenario)
    assert own.data[0].b64_json == ancestral.data[0].b64_json
    assert refused.param == "sampler"


RED = np.zeros((8, 8, 4), np.uint8) + np.array([255, 0, 0, 255], np.uint8)
HALF_RED = RED * np.r_[np.zeros(4), np.ones(4)].astype(np.uint8)[:, None, None]


@pytest.mark.parametrize(
    ("files", "fields", "param", "told"),
    [
        ({"mask": with_hole()[0]}, {}, "image", "'image' is required"),
        ({"image": png(GREY)}, {}, "image", "no transparent pixel"),
        ({"image": png(GREY), "mask": png(GREY)}, {}, "mask", "no transparent pixel"),
        ({"image": with_hole(8)[0]}, {}, "image", "transparent everywhere"),
        ({"image": png(GREY[:4])}, {}, "image", "image is 8x4, and this model's pictures are 8x8"),
        (
            {"image": png(GREY), "mask": png(np.zeros((2000, 2000), np.uint8))},
            {},
            "mask",
            "mask is 2000x2000",
        ),
        ({"image": png(HALF_RED, "RGBA")}, {}, "image", "has colours"),
        ({"image": b"GIF89a"}, {}, "image", "image"),
        ({"image": with_hole()[0]}, {"prompt": "boot"}, "prompt", "is not a class"),
        ({"image": with_hole()[0]}, {"n": "two"}, "n", "valid integer"),
        ({"image": with_hole()[0]}, {"resample": "0"}, "resample", "greater than or equal to 1"),
        ({"image": with_hole()[0]}, {"resample": "60", "layers": "[30, 30]"}, "resample", "most"),
        ({"image": with_hole()[0]}, {"moment_steps": "70"}, "moment_steps", "most"),
        ({"image": with_hole()[0]}, {"strength": "1"}, "strength", "unknown field"),
        ({"image": with_hole()[0]}, {"mask": "all of it"}, "mask", "must be a file"),
    ],
)
def test_what_cannot_be_drawn_around_is_a_400(app, files, fields, param, told):
    async def scenario():
        async with client_of(app()) as client:
            return await client.post(
                "/v1/images/edits",
                files={name: (f"{name}.png", data) for name, data in files.items()},
                data={"prompt": "two", **fields},
            )

    error = error_of(asyncio.run(scenario()), 400)
    assert error["param"] == param
    assert told in error["message"]


@pytest.fixture(scope="module")
def app(model):
    """Applications over engines that draw nothing: what is refused is refused before."""
    served = ServedModel("m", "0" * 64, 1_700_000_000, Stack.load(model).spec, True, 64)

    def make():
        engine = Engine(FakeSampler(), 8, max_queued_rows=64)
        return create_app(engine, served, request_timeout_s=30, max_body_bytes=20_000)

    return make


def test_a_body_without_a_form_and_a_form_too_large_are_told(app):
    async def scenario():
        async with client_of(app()) as client:
            post = client.post
            picture = ("a.png", with_hole()[0])
            return (
                await post("/v1/images/edits", json={"prompt": "two"}),
                await post("/v1/images/edits", files={"image": picture}),
                await post(
                    "/v1/images/edits",
                    content=b"--x\r\nnonsense",
                    headers={"content-type": "multipart/form-data; boundary=x"},
                ),
                await post("/v1/images/edits", files={"image": ("a", b"0" * 28_000)}),
                await post("/v1/images/edits", files={"image": ("a", b"0" * 29_000)}),
                await client.get("/openapi.json"),
            )

    as_json, no_prompt, broken, fits, large, schema = asyncio.run(scenario())
    assert "multipart/form-data" in error_of(as_json, 400)["message"]
    assert error_of(no_prompt, 400)["param"] == "prompt"
    error_of(broken, 400)
    error_of(fits, 400)
    assert error_of(large, 413)["code"] == "body_too_large"  # 20,000 and 2 * (256 + 4096)
    body = schema.json()["paths"]["/v1/images/edits"]["post"]["requestBody"]["content"]
    form = body["multipart/form-data"]["schema"]
    assert {"image", "mask", "prompt", "resample"} <= set(form["properties"])


def test_every_parameter_of_the_official_client_is_known():
    taken = set(inspect.signature(openai.resources.images.Images.edit).parameters)
    own = {"self", "image", "mask", "extra_headers", "extra_query", "extra_body", "timeout"}
    assert taken - own - set(EditRequest.model_fields) == {"markup"}  # a second picture to heed
