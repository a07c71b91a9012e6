"""`images.create_variation` of a decoder: the job's very pictures; pictures that it refuses."""

import asyncio
import inspect
import io

import numpy as np
import openai
import pytest
import torch
from fake_model import decode, error_of
from in_this_process import generate_here
from PIL import Image
from small_stack import prior_spec, random_weights, small_stack
from test_edits import GREY, png
from test_sentences import client_of
from tiny_encoders import tiny_bert

from jobs.generate import main
from jobs.generate.config import GenerateConfig
from pipeline.conditions import embedded_condition
from pipeline.formats.sample_set import iterate_samples, open_sample_set
from pipeline.formats.shard import images_of
from pipeline.networks.picture_encoder import PictureEncoderNetwork, PictureEncoderShape
from pipeline.picture_encoder import PictureEncoder, save_picture_encoder
from pipeline.stack import PRIOR, Stack, save_stack
from pipeline.text.encoder import TextEncoder
from serve.command import COMMAND
from serve.replica import Replica
from serve.schema import VariationRequest
from serve.settings import Settings

pytest.importorskip("transformers")

OTHER = GREY.T.copy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A decoder, its picture encoder, and another."""
    path = tmp_path_factory.mktemp("variations")
    texts = TextEncoder.load(tiny_bert(path / "texts"), max_length=8).id
    for seed, name in enumerate(("encoder", "other")):
        torch.manual_seed(seed)
        shape = PictureEncoderShape(8, 8, 1, texts.width, (8,))
        save_picture_encoder(path / name, PictureEncoderNetwork(shape), texts, {})
    condition = embedded_condition("embedding", PictureEncoder.load(path / "encoder").id)
    save_stack(small_stack(classes=(), condition=condition), {}, path / "model", {})
    save_stack(small_stack(), {}, path / "of_labels", {})
    return path


def run(model, scenario):
    async def main():
        async with client_of(Replica(Settings(model=model), None).app) as client:
            return await scenario(client)

    return asyncio.run(main())


# openai 3.54 warns that OpenAI itself no longer answers it, and sends it as it ever did.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_the_official_client_gets_the_jobs_variations(folder, tmp_path, monkeypatch):
    generate_here(monkeypatch)
    sets = []
    for name, pixels in (("a", GREY), ("b", OTHER)):
        (tmp_path / f"{name}.png").write_bytes(png(pixels))
        asked = {"variation_of": tmp_path / f"{name}.png", "count": 2, "seed": 3}
        main(GenerateConfig(model=folder / "model", output=tmp_path / name, **asked))
        (table,) = iterate_samples(open_sample_set(tmp_path / name))
        sets.append((images_of(table)[..., 0], table.column("condition_sha256").to_pylist()))

    async def scenario(client):
        official = openai.AsyncOpenAI(
            base_url="http://test/v1", api_key="any", http_client=client, max_retries=0
        )
        return await asyncio.gather(
            *(
                official.images.create_variation(image=png(pixels), n=2, extra_body={"seed": 3})
                for pixels in (GREY, OTHER)
            )
        )

    for answer, (images, hashes) in zip(run(folder / "model", scenario), sets, strict=True):
        found = [decode(item.b64_json) for item in answer.data]
        np.testing.assert_array_equal(found, images)
        assert [item.condition_sha256 for item in answer.data] == hashes
    assert not np.array_equal(sets[0][0], sets[1][0])


def test_what_cannot_be_varied_is_a_400(folder):
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(jpeg, format="JPEG")

    async def scenario(client):
        async def refused(address="variations", **request):
            return error_of(await client.post(f"/v1/images/{address}", **request), 400)

        return (
            await refused(files={"image": png(GREY[:4])}),
            await refused(files={"image": jpeg.getvalue()}),
            await refused(files={"image": b"no picture"}),
            await refused(files={"image": ("x", png(GREY)), "mask": ("y", png(GREY))}),
            await refused(address="generations", json={"prompt": "a cat"}),
            (await client.post("/v1/images/generations", json={"prompt": "-"})).status_code,
            (await client.get("/v1/models")).json()["data"][0],
        )

    *refused, words, unconditional, card = run(folder / "model", scenario)
    small, red, none, mask = refused
    assert "image is 8x4, and this model's pictures are 8x8" in small["message"]
    assert "colours" in red["message"]
    assert {error["param"] for error in (small, red, none)} == {"image"}
    assert mask["param"] == "mask"
    assert (words["code"], words["param"]) == ("takes_pictures", "prompt")
    assert unconditional == 200
    assert card["picture_encoder"] == str(folder / "encoder")
    assert (card["condition"], card["text_encoder"]) == ("embedding", None)
    assert card["max_prompt_tokens"] is None


def test_a_model_of_labels_makes_no_variations(folder):
    async def scenario(client):
        return await client.post("/v1/images/variations", files={"image": png(GREY)})

    assert error_of(run(folder / "of_labels", scenario), 400)["code"] == "takes_no_pictures"


def test_a_decoder_without_its_encoder_says_how_to_name_it(folder, capfd):
    for given, told in (
        ("other", "another picture encoder"),
        ("nowhere", str(folder / "nowhere")),
    ):
        arguments = ["--model", str(folder / "model"), "--picture-encoder", str(folder / given)]
        assert COMMAND.run(arguments, prog="noisestack serve") == 2
        said = capfd.readouterr().err
        assert told in said
        assert said.count("\n") == 1


def test_every_parameter_of_the_official_client_is_known():
    taken = set(inspect.signature(openai.resources.images.Images.create_variation).parameters)
    own = {"self", "image", "extra_headers", "extra_query", "extra_body", "timeout"}
    assert taken - own <= set(VariationRequest.model_fields)


def test_with_a_prior_sentences_get_the_jobs_pictures_beside_variations(
    folder, tmp_path, monkeypatch
):
    generate_here(monkeypatch)
    texts = TextEncoder.load(folder / "texts", max_length=8).id
    pictures = PictureEncoder.load(folder / "encoder").id
    condition = embedded_condition("text", texts)
    spec = prior_spec(condition, texts.width, vectors=pictures, attends=(0,))
    save_stack(random_weights(Stack(spec)), {}, tmp_path / "prior", {})
    prompts = ("a red circle", "two dogs", "-")
    asked = {"prompts": prompts, "prior": tmp_path / "prior", "count": 3, "seed": 3}
    main(GenerateConfig(model=folder / "model", output=tmp_path / "set", **asked))
    (table,) = iterate_samples(open_sample_set(tmp_path / "set"))

    async def scenario():
        settings = Settings(model=folder / "model", prior=tmp_path / "prior")
        async with client_of(Replica(settings, None).app) as client:
            requests = [
                client.post(
                    "/v1/images/generations",
                    json={"prompt": prompt, "seed": 3, "sample_index": index},
                )
                for index, prompt in enumerate(prompts)
            ]
            vary = client.post("/v1/images/variations", files={"image": png(GREY)})
            answers = await asyncio.gather(*requests, vary)  # of other shapes, and so apart
            return answers, (await client.get("/v1/models")).json()["data"][0]

    answers, card = asyncio.run(scenario())
    assert [answer.status_code for answer in answers] == [200] * 4
    items = [answer.json()["data"][0] for answer in answers[:3]]
    found = [decode(item["b64_json"]) for item in items]
    np.testing.assert_array_equal(found, images_of(table)[..., 0])
    hashes = table.column("condition_sha256").to_pylist()
    assert [item["condition_sha256"] for item in items] == hashes
    assert (card["max_prompt_tokens"], card["condition"]) == (8, "embedding")
    assert card["prior_sha256"] == Stack.load(tmp_path / "prior", kind=PRIOR).sha256
