"""The other addresses, and what stands before all of them: limits and the key."""

import openai
import pytest
from fake_model import CLASSES, FakeSampler, error_of, post, run

from serve.key import key_digest


def test_models_are_listed_and_found_in_the_official_format():
    async def scenario(server):
        get = server.client.get
        return await get("/v1/models"), await get("/v1/models/tiny"), await get("/v1/models/other")

    listed, one, missing = run(scenario)
    assert listed.json() == {"object": "list", "data": [one.json()]}
    card = openai.types.Model.model_validate(one.json())
    assert (card.id, card.object, card.owned_by) == ("tiny", "model", "noisestack")
    assert one.json()["classes"] == list(CLASSES)
    assert one.json()["size"] == "4x6"
    assert one.json()["reproducible"] == "exact"
    assert error_of(missing, 404)["code"] == "model_not_found"
    assert error_of(post(model="gpt-image-1"), 404)["param"] == "model"
    assert post(model="tiny").status_code == 200


def test_the_schema_can_be_read_by_programs():
    async def scenario(server):
        return await server.client.get("/openapi.json")

    schema = run(scenario).json()["components"]["schemas"]["ImageRequest"]
    assert schema["required"] == ["prompt"]
    assert schema["additionalProperties"] is False


def test_healthz_tells_a_broken_sampler():
    sampler = FakeSampler(broken_seeds=(13,))

    async def scenario(server):
        before = await server.client.get("/healthz")
        for _ in range(5):
            await server.generate(seed=13)
        return before, await server.client.get("/healthz")

    before, after = run(scenario, sampler=sampler)
    assert (before.status_code, before.json()) == (200, {"status": "ok"})
    assert after.status_code == 503


def test_the_page_needs_nothing_from_elsewhere():
    async def scenario(server):
        return await server.client.get("/")

    page = run(scenario)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "image-rendering: pixelated" in page.text
    assert 'id="text" type="text"' in page.text  # for a model that takes sentences


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/images/generations", 405),
        ("POST", "/v1/images/upscale", 404),
        ("GET", "/docs", 404),
        ("GET", "/nowhere", 404),
    ],
)
def test_other_addresses_answer_in_format(method, path, status):
    async def scenario(server):
        return await server.client.request(method, path)

    assert path in error_of(run(scenario), status)["message"]


def test_a_large_body_is_a_413_whether_its_length_is_declared_or_not():
    async def pieces():
        for _ in range(100):
            yield b"x" * 1000

    async def scenario(server):
        address = "/v1/images/generations"
        declared = await server.client.post(address, content=b"x" * 65_537)
        streamed = await server.client.post(address, content=pieces())
        return declared, streamed

    for response in run(scenario):
        error = error_of(response, 413)
        assert error["code"] == "body_too_large"
        assert "65536 bytes" in error["message"]


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic s3cret", "s3cret", "Bearer s3"]
)
def test_without_the_key_everything_but_health_and_page_is_a_401(header):
    async def scenario(server):
        headers = {} if header is None else {"authorization": header}
        get = server.client.get
        body = {"prompt": "coat"}
        refused = [
            await server.client.post("/v1/images/generations", json=body, headers=headers),
            await get("/v1/models", headers=headers),
            await get("/v1/models/tiny", headers=headers),
            await get("/openapi.json", headers=headers),
            await get("/healthz/", headers=headers),
        ]
        open_to_all = [await get("/healthz", headers=headers), await get("/", headers=headers)]
        return refused, open_to_all

    sampler = FakeSampler()
    refused, open_to_all = run(scenario, sampler=sampler, digest=key_digest("s3cret"))
    for response in refused:
        assert error_of(response, 401)["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"
    assert [response.status_code for response in open_to_all] == [200, 200]
    assert sampler.batches == []


@pytest.mark.parametrize("header", ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret "])
def test_with_the_key_requests_are_answered(header):
    async def scenario(server):
        return await server.client.get("/v1/models", headers={"authorization": header})

    assert run(scenario, digest=key_digest("s3cret")).status_code == 200
