"""A model that takes sentences at the endpoint: the job's pictures; prompts that it refuses."""

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import httpx2
import numpy as np
import openai
import pytest
from fake_model import MODEL, SPEC, decode, error_of, eventually
from in_this_process import generate_here
from text_model import MAX_LENGTH, text_model
from tiny_encoders import tiny_bert

from jobs.generate import main
from jobs.generate.config import GenerateConfig
from pipeline.errors import UserError
from pipeline.formats.sample_set import iterate_samples, open_sample_set
from pipeline.formats.shard import images_of
from serve.command import COMMAND
from serve.encoding import EncodingQueue, encode_prompt
from serve.engine import Engine, QueueFull
from serve.replica import Replica
from serve.settings import AppConfig, Settings
from serve.web import create_app

pytest.importorskip("transformers")

PROMPTS = ("a red circle, above a blue square .", "two dogs", "-")
LONG = PROMPTS[0]  # of more tokens than the model takes


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return text_model(tmp_path_factory.mktemp("sentences"))


@asynccontextmanager
async def client_of(app):
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


def run(model, scenario):
    """Runs ``await scenario(client)`` against a replica of its own."""

    async def main():
        async with client_of(Replica(Settings(model=model.path), None).app) as client:
            return await scenario(client)

    return asyncio.run(main())


def post(client, prompt, **fields):
    return client.post("/v1/images/generations", json={"prompt": prompt, **fields})


def test_a_sentence_gets_the_jobs_pictures_through_the_official_client(
    model, tmp_path, monkeypatch
):
    generate_here(monkeypatch)
    asked = {"prompts": PROMPTS, "count": 6, "seed": 7}
    main(GenerateConfig(model=model.path, output=tmp_path / "set", **asked))
    (table,) = iterate_samples(open_sample_set(tmp_path / "set"))
    images, hashes = images_of(table), table.column("condition_sha256").to_pylist()

    async def scenario(client):
        official = openai.AsyncOpenAI(
            base_url="http://test/v1", api_key="any", http_client=client, max_retries=0
        )
        # All at once: rows of several prompts stand in one batch.
        return await asyncio.gather(
            *(
                official.images.generate(
                    prompt=PROMPTS[i % 3], extra_body={"seed": 7, "sample_index": i}
                )
                for i in range(6)
            )
        )

    for i, answer in enumerate(run(model, scenario)):
        (item,) = answer.data
        np.testing.assert_array_equal(decode(item.b64_json), images[i, :, :, 0])
        assert item.condition_sha256 == hashes[i]
        assert (item.label, item.seed, item.sample_index) == (-1, 7, i)
        assert item.revised_prompt == (None if PROMPTS[i % 3] == "-" else PROMPTS[i % 3])


def test_a_prompt_that_is_cut_is_answered_with_a_notice_and_one_that_fits_is_not(model):
    async def scenario(client):
        return [(await post(client, prompt, seed=1)).json() for prompt in (LONG, "two dogs", LONG)]

    long, short, again = run(model, scenario)
    assert f"longer than {MAX_LENGTH} tokens" in long["notice"]
    assert "'a red circle, above" in long["notice"]
    assert again["notice"] == long["notice"]  # also when its condition is known already
    assert "notice" not in short


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_an_empty_prompt_is_a_400(model, prompt):
    error = error_of(run(model, lambda client: post(client, prompt)), 400)
    assert (error["param"], error["code"]) == ("prompt", "empty_prompt")


def test_the_card_says_what_a_prompt_is(model):
    async def scenario(client):
        return (await client.get("/v1/models")).json()["data"][0]

    card = run(model, scenario)
    assert (card["condition"], card["classes"]) == ("text", [])
    assert (card["text_encoder"], card["max_prompt_tokens"]) == (str(model.encoder), MAX_LENGTH)


def test_a_model_without_tokens_is_served_on_the_pooled_vector(tmp_path):
    pooled = text_model(tmp_path, kind="embedding")
    answer = run(pooled, lambda client: post(client, "two dogs", seed=3))
    assert answer.status_code == 200


class SlowReader:
    """Holds each prompt back until the gate opens."""

    def __init__(self):
        self.gate, self.seen = threading.Event(), []

    def cut(self, prompts):
        self.seen += prompts
        assert self.gate.wait(30)
        if "snow" in prompts:
            raise UserError("the prompt 'snow' has nothing that the model's encoder knows")
        return []

    def conditions(self, prompts):
        return np.full((len(prompts), 2), len(prompts[0]), np.float32)


def test_prompts_are_encoded_beside_the_event_loop_and_too_many_are_a_429(model):
    reader, sampled = SlowReader(), []

    def sample(seeds, indices, conditions, options):
        sampled.append(conditions)
        return np.zeros((len(seeds), 6, 4, 3), np.uint8)

    async def scenario():
        engine = Engine(sample, 8, max_queued_rows=64)
        prompts = EncodingQueue(partial(encode_prompt, reader), max_waiting=3)
        spec = replace(SPEC, classes=(), condition=model.condition)
        served = replace(MODEL, spec=spec, reads=model.condition.encoder)
        app = create_app(
            engine, served, request_timeout_s=30, max_body_bytes=65_536, prompts=prompts
        )
        async with client_of(app) as client:
            tasks = [asyncio.create_task(post(client, text)) for text in ("a", "bb", "snow")]
            await eventually(lambda: prompts.num_waiting == 3)
            healthy = await client.get("/healthz")  # the loop is free meanwhile
            refused = await post(client, "dddd")
            reader.gate.set()
            return healthy, refused, await asyncio.gather(*tasks), prompts.num_waiting

    healthy, refused, answers, left = asyncio.run(scenario())
    assert healthy.status_code == 200
    assert error_of(refused, 429)["code"] == "rate_limit_exceeded"
    assert [answer.status_code for answer in answers] == [200, 200, 400]
    assert error_of(answers[2], 400)["param"] == "prompt"
    assert (reader.seen, left) == (["a", "bb", "snow"], 0)
    rows = np.concatenate(sampled)
    assert (rows.dtype, sorted(rows[:, 0].tolist())) == (np.float32, [1.0, 2.0])


def test_a_prompt_whose_client_has_gone_is_not_encoded():
    reader = SlowReader()

    async def scenario():
        prompts = EncodingQueue(partial(encode_prompt, reader), max_waiting=8)
        tasks = [asyncio.create_task(prompts.encode(text)) for text in ("a", "bb")]
        await eventually(lambda: reader.seen == ["a"])
        tasks[1].cancel()
        await asyncio.sleep(0)
        reader.gate.set()
        await tasks[0]
        with pytest.raises(QueueFull):
            await EncodingQueue(partial(encode_prompt, reader), max_waiting=0).encode("c")
        prompts.close()

    asyncio.run(scenario())
    assert reader.seen == ["a"]


def test_an_endpoint_without_the_models_encoder_says_how_to_name_it(tmp_path, capfd):
    model = text_model(tmp_path)
    model.encoder.rename(tmp_path / "moved")
    other = tiny_bert(tmp_path / "other", seed=1)
    capfd.readouterr()
    for flags, told in (
        ([], "name it with --text-encoder"),
        (["--text-encoder", str(other)], "another text encoder"),
    ):
        assert COMMAND.run(["--model", str(model.path), *flags], prog="noisestack serve") == 2
        said = capfd.readouterr().err
        assert told in said
        assert said.count("\n") == 1
    moved = Settings(model=model.path, text_encoder=str(tmp_path / "moved"))
    assert Replica(moved, None).app is not None
    with pytest.raises(ValueError, match="neither a path nor a name"):
        AppConfig(model=model.path, text_encoder=" ")
