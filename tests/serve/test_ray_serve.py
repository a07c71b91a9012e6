"""`noisestack serve` on Ray Serve, over HTTP on loopback, as the official client sees it."""

import base64
import io
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import openai
import pytest
import ray
from PIL import Image

from jobs.generate import main as generate
from jobs.generate.config import GenerateConfig
from pipeline.formats.sample_set import iterate_samples, open_sample_set
from pipeline.formats.shard import images_of, labels_of
from pipeline.pictures import encode_png
from pipeline.sampling import SamplingOptions, sample
from pipeline.stack import Stack

ROOT = Path(__file__).parents[2]
KEY = "correct horse"


def serve_runs():
    actors = ray.util.list_named_actors(all_namespaces=True)
    return "SERVE_CONTROLLER_ACTOR" in {actor["name"] for actor in actors}


def command(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "serve.command", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def address(ray_cluster, model, tmp_path_factory):
    """The URL of a running `noisestack serve`; stopped by SIGINT at the end."""
    key_file = tmp_path_factory.mktemp("key") / "key"
    key_file.write_text(KEY + "\n")
    process = command(
        *("--model", model, "--port", 0, "--num-cpus", 0.5, "--api-key-file", key_file),
        RAY_ADDRESS=ray.get_runtime_context().gcs_address,
    )
    said = []
    while "Serving" not in (line := process.stdout.readline()):
        said.append(line)
        if not line:
            pytest.fail(f"it never came up: {said} {process.stderr.read()}")
    url = re.search(r"Serving untrained at (http://127\.0\.0\.1:\d+) ", line).group(1)
    yield url
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in out + err
    assert not serve_runs()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{url}/healthz")


@pytest.fixture
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def decode(item):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(item.b64_json))))


def draw(model, seed, indices, label, **options):
    """What a job that calls `sample` writes for these rows."""
    indices = np.asarray(indices, dtype=np.int64)
    seeds, labels = np.full_like(indices, seed), np.full_like(indices, label)
    return sample(Stack.load(model), seeds, indices, labels, SamplingOptions(**options))


@pytest.mark.ray
def test_the_official_client_gets_the_pixels_that_sample_draws(client, model):
    answer = client.images.generate(
        model="untrained",
        prompt="dress",
        n=6,
        response_format="b64_json",
        extra_body={"seed": 2**40 + 3, "sample_index": 100},
    )
    expected = draw(model, 2**40 + 3, range(100, 106), 2)
    np.testing.assert_array_equal([decode(item) for item in answer.data], expected)
    assert base64.b64decode(answer.data[0].b64_json) == encode_png(expected[0])
    assert answer.size == "4x6"


@pytest.mark.ray
def test_the_same_seed_gives_the_bytes_that_the_generate_job_wrote(client, model, tmp_path):
    output = generate(
        GenerateConfig(
            model=model,
            output=tmp_path / "samples",
            count=7,
            seed=3,
            rows_per_shard=4,
            num_workers=1,
        )
    )
    written = open_sample_set(output)
    tables = list(iterate_samples(written))
    images = np.concatenate([images_of(table) for table in tables])
    labels = np.concatenate([labels_of(table) for table in tables])
    for i, label in enumerate(labels):
        extra = {"seed": 3, "sample_index": i}
        answer = client.images.generate(prompt=written.classes[label], extra_body=extra)
        np.testing.assert_array_equal(decode(answer.data[0]), images[i])


@pytest.mark.ray
def test_options_in_extra_body_are_followed(client, model):
    extra = {"seed": 5, "sampler": "ddim", "layers": [2, 3], "guidance": 2.5}
    answer = client.images.generate(prompt="coat", extra_body=extra)
    expected = draw(model, 5, [0], 3, sampler="ddim", layers=(2, 3), guidance=2.5)
    np.testing.assert_array_equal(decode(answer.data[0]), expected[0])


@pytest.mark.ray
def test_concurrent_clients_get_what_each_would_get_alone(client, model):
    def request(seed):
        return client.images.generate(prompt="sandal", n=3, extra_body={"seed": seed})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(request, range(12)))
    for seed, answer in enumerate(answers):
        pictures = [decode(item) for item in answer.data]
        np.testing.assert_array_equal(pictures, draw(model, seed, range(3), 4))


@pytest.mark.ray
def test_models_health_and_page_are_there(client, address):
    (card,) = client.models.list().data
    assert card.id == "untrained"
    assert client.models.retrieve("untrained") == card
    assert httpx2.get(f"{address}/healthz").json() == {"status": "ok"}
    assert httpx2.get(address).text.startswith("<!doctype html>")


@pytest.mark.ray
def test_errors_reach_the_official_client_in_its_own_words(client, address):
    with pytest.raises(openai.BadRequestError, match="did you mean 'dress'") as refused:
        client.images.generate(prompt="dres")
    assert refused.value.param == "prompt"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    large = {"authorization": f"Bearer {KEY}"}
    response = httpx2.post(f"{address}/v1/images/generations", content=b"x" * 70_000, headers=large)
    assert response.status_code == 413


@pytest.mark.ray
def test_a_second_serve_on_the_same_cluster_is_refused(address, model):
    second = command(
        "--model", model, "--port", 0, RAY_ADDRESS=ray.get_runtime_context().gcs_address
    )
    _, err = second.communicate(timeout=300)
    assert second.returncode == 2
    assert "already runs on this cluster" in err
    assert serve_runs()  # the first one's, unharmed


@pytest.mark.ray
def test_replicas_that_can_never_fit_are_refused(ray_cluster, model):
    process = command(
        *("--model", model, "--port", 0, "--num-gpus", 1000),
        RAY_ADDRESS=ray.get_runtime_context().gcs_address,
    )
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "needs 1 CPU and 1000 GPUs, and the cluster has" in err
