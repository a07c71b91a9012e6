"""`noisestack serve` up to the start of Ray: mistakes, keys, addresses, and what Serve is given."""

import ast
import asyncio
import shutil
import socket
import textwrap
from pathlib import Path

import httpx2
import numpy as np
import pytest
from fake_model import decode, error_of
from pydantic import ValidationError
from ray.serve import Application

from noisestack.flags import read_config
from pipeline.errors import UserError
from pipeline.formats.model import save_model
from pipeline.sampling import sample
from pipeline.stack import Stack
from serve.address import free_port, is_loopback, url_of, warn_when_open
from serve.app import SamplingServer, build
from serve.command import COMMAND, ServeConfig
from serve.key import KEY_VARIABLE, key_digest, read_key
from serve.local import greeting
from serve.settings import AppConfig, Settings


def refusal(capfd, *arguments):
    """The one line that the command prints before it exits with 2."""
    assert COMMAND.run([str(argument) for argument in arguments], prog="noisestack serve") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


# ---- mistakes that are told before Ray starts ----


def test_a_missing_model_is_told(capfd, tmp_path):
    assert str(tmp_path / "nowhere") in refusal(capfd, "--model", tmp_path / "nowhere")


def test_a_damaged_model_is_told(capfd, model, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(model, damaged)
    weights = damaged / "nested.ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "another hash" in refusal(capfd, "--model", damaged)


def test_a_model_half_there_is_told(capfd, model, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(model, half)
    (half / "card.json").unlink()
    assert "half there" in refusal(capfd, "--model", half)


def test_a_model_that_prompts_cannot_steer_is_told(capfd, tmp_path):
    config = {"condition": {"kind": "embedding", "size": 8}}
    save_model(tmp_path / "m", kind="stack", config=config, weights={}, card={})
    assert "drawn on embeddings, and does not say whose" in refusal(
        capfd, "--model", tmp_path / "m"
    )


def test_a_port_in_use_is_named(capfd, model):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"port {port} " in refusal(capfd, "--model", model, "--port", port)


def test_an_unreadable_key_is_told(capfd, model, tmp_path):
    missing = tmp_path / "key"
    assert str(missing) in refusal(capfd, "--model", model, "--api-key-file", missing)


def test_haproxy_and_loopback_contradict_each_other(capfd, model, monkeypatch):
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    assert "every address" in refusal(capfd, "--model", model)


def test_the_config_file_in_the_repository_is_one_of_ours():
    file = Path(__file__).parents[2] / "configs" / "serve.yaml"
    config = read_config(ServeConfig, ["--config", str(file)], "noisestack serve")
    assert (config.host, config.served_name) == ("127.0.0.1", "digits")


# ---- addresses ----


def test_without_being_told_otherwise_only_this_machine_is_served(model):
    config = ServeConfig(model=model)
    assert is_loopback(config.host)
    assert (config.host, config.port) == ("127.0.0.1", 8000)


@pytest.mark.parametrize(
    ("host", "has_key", "warns"),
    [
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("localhost", False, False),
        ("0.0.0.0", False, True),
        ("192.168.1.7", False, True),
        ("somewhere.example", False, True),
        ("0.0.0.0", True, False),
    ],
)
def test_a_wide_address_without_a_key_is_warned_of(capsys, host, has_key, warns):
    warn_when_open(host, has_key=has_key)
    assert ("warning: " in capsys.readouterr().err) is warns


def test_port_zero_is_any_free_port():
    port = free_port("127.0.0.1", 0)
    assert port > 0
    assert free_port("127.0.0.1", port) == port


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
    ],
)
def test_the_url_is_one_that_a_browser_here_can_open(host, url):
    assert url_of(host, 80) == url


def test_the_snippet_that_is_printed_is_python():
    text = greeting("http://127.0.0.1:8000", "it's", 'a "class"', needs_key=True)
    snippet = textwrap.dedent(text.split("stops)")[1])
    (call,) = [
        node
        for node in ast.walk(ast.parse(snippet))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "client.images.generate"
    ]
    values = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert values == {"model": "it's", "prompt": 'a "class"', "n": 4, "extra_body": {"seed": 0}}


# ---- the key ----


def test_a_key_comes_from_its_file_or_else_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_key(None) is None
    monkeypatch.setenv(KEY_VARIABLE, "from the environment")
    assert read_key(None) == key_digest("from the environment")
    file = tmp_path / "key"
    file.write_text("from the file\n")
    assert read_key(file) == key_digest("from the file")


def test_an_empty_key_is_a_mistake_and_not_an_open_door(tmp_path, monkeypatch):
    file = tmp_path / "key"
    file.write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        read_key(file)
    monkeypatch.setenv(KEY_VARIABLE, " ")
    with pytest.raises(UserError, match=KEY_VARIABLE):
        read_key(None)


# ---- what Serve is given ----


def test_build_makes_an_application_of_a_config_files_args(model, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "s3cret")
    args = {"model": str(model), "num_replicas": 2, "num_gpus": 0.5, "max_queued_rows": 100}
    assert isinstance(build(AppConfig.model_validate(args)), Application)


def test_ray_serve_keeps_no_queue_that_refuses_before_the_engines_own():
    # Its own counts for each handle, turns bursts away early, and answers in plain text.
    deployment = build(AppConfig(model="/m"))._bound_deployment
    assert deployment.max_queued_requests == -1
    assert deployment.max_ongoing_requests >= 100 * Settings(model="/m").max_queued_rows


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({}, "model"),
        ({"model": "runs/stack"}, "absolute"),
        ({"model": "/m", "modle": "/m"}, "modle"),
        ({"model": "/m", "num_replicas": "2"}, "num_replicas"),
        ({"model": "/m", "num_replicas": 0}, "num_replicas"),
        ({"model": "/m", "num_gpus": float("nan")}, "num_gpus"),
        ({"model": "/m", "max_queued_rows": 10}, "max_queued_rows"),
        ({"model": "/m", "api_key_file": "key"}, "absolute"),
        ({"model": "s3://bucket/stack"}, "s3://bucket/stack is an address, not a path"),
        ({"model": "/m", "api_key_file": "file:///run/key"}, "write /run/key"),
    ],
)
def test_mistaken_args_are_refused(args, told):
    with pytest.raises(ValidationError, match=told):
        AppConfig.model_validate(args)


@pytest.mark.parametrize(
    ("path", "name", "served"),
    [
        ("/runs/digits/stack/model", None, "stack"),
        ("/models/digits", None, "digits"),
        ("/models/digits", "mine", "mine"),
    ],
)
def test_a_model_is_called_after_its_directory(path, name, served):
    assert Settings(model=path, name=name).served_name == served


def test_a_replica_answers_with_the_pixels_that_sample_draws(model):
    server = SamplingServer(Settings(model=model), key_digest("s3cret"))
    app = server.__serve_build_asgi_app__()

    async def scenario():
        with pytest.raises(RuntimeError):
            await server.check_health()
        transport = httpx2.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            await server.check_health()
            refused = await client.get("/v1/models")
            client.headers["authorization"] = "Bearer s3cret"
            body = {"prompt": "coat", "n": 5, "seed": 11, "sample_index": 2}
            answer = await client.post("/v1/images/generations", json=body)
            return refused, answer.json(), (await client.get("/v1/models/untrained")).json()

    refused, answer, card = asyncio.run(scenario())
    error_of(refused, 401)
    pictures = [decode(item["b64_json"]) for item in answer["data"]]
    stack = Stack.load(model)
    seeds, labels = np.full(5, 11), np.full(5, 3)
    np.testing.assert_array_equal(pictures, sample(stack, seeds, np.arange(2, 7), labels))
    assert card["sha256"] == stack.sha256
    assert card["reproducible"] == "exact"
