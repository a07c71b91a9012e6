"""A served model without networks: each pixel is a plain function of (seed, index, label, options).

It has the face of `pipeline.sampling.sample`, and the spec of a real stack of digits.
"""

import asyncio
import base64
import io
import threading
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from pipeline.chain.schedule import Stage
from pipeline.conditions import ConditionSpec
from pipeline.sampling import SamplingOptions
from pipeline.stack_spec import StackSpec
from serve.engine import Engine
from serve.schema import ServedModel
from serve.web import create_app

CLASSES = ("T-shirt", "trouser", "dress", "coat", "sandal")
SPEC = StackSpec(
    shape=(6, 4, 3),
    classes=CLASSES,
    condition=ConditionSpec("label", len(CLASSES)),
    stages=(Stage(3, 80.0, 1.0), Stage(6, 1.0, 0.01)),
    sigma_data=(1.0, 1.0),
    tau2=(((0.1,) * 3,) * 3,),
    network="nested",
    widths=(8, 8),
    blocks=(1, 1),
    embedding=8,
    dropout=0.0,
    rows_per_call=8,
    layers=(3, 4),
)
MODEL = ServedModel(
    id="tiny", sha256="ab" * 32, created=1_700_000_000, spec=SPEC, exact=True, max_layers=64
)
DEFAULTS = SamplingOptions().resolve(SPEC)


def picture(
    seed: int, index: int, label: int, options: Any = DEFAULTS, shape: Any = SPEC.shape
) -> np.ndarray:
    """The one picture that the row (seed, index, label) must give, in any batch."""
    key = [seed, index, label + 1, abs(hash(options)) % 2**32]
    return np.random.default_rng(key).integers(0, 256, shape, dtype=np.uint8)


@dataclass
class FakeSampler:
    """Records every batch. Holds each batch back until ``gate`` is open.

    Attributes:
        batches: the rows (seed, index, label) of each call, and its options.
        broken_seeds: a batch that holds one of these raises.
        started: released once for every call that has begun.
    """

    broken_seeds: tuple[int, ...] = ()
    batches: list[tuple[list[tuple[int, int, int]], Any]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    started: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(
        self, seeds: np.ndarray, indices: np.ndarray, labels: np.ndarray, options: Any
    ) -> np.ndarray:
        assert {a.dtype for a in (seeds, indices, labels)} == {np.dtype(np.int64)}
        rows = list(zip(seeds.tolist(), indices.tolist(), labels.tolist(), strict=True))
        self.batches.append((rows, options))
        self.started.release()
        assert self.gate.wait(30), "the test never opened the gate"
        if any(seed in self.broken_seeds for seed, _, _ in rows):
            raise RuntimeError("secret detail of a broken sampler")
        return np.stack([picture(*row, options) for row in rows])

    @property
    def rows(self) -> list[list[tuple[int, int, int]]]:
        return [rows for rows, _ in self.batches]


@dataclass
class Server:
    """An application in this process, a client for it, and what lies behind it."""

    client: httpx2.AsyncClient
    engine: Engine[SamplingOptions]
    sampler: FakeSampler

    async def generate(self, prompt: str = "coat", **fields: Any) -> httpx2.Response:
        return await self.client.post("/v1/images/generations", json={"prompt": prompt, **fields})


@asynccontextmanager
async def serving(
    sampler: FakeSampler | None = None,
    *,
    rows_per_call: int = 8,
    max_queued_rows: int = 256,
    classes: tuple[str, ...] = CLASSES,
    **settings: Any,
):
    sampler = sampler or FakeSampler()
    engine = Engine(sampler, rows_per_call, max_queued_rows=max_queued_rows)
    settings = {"request_timeout_s": 60.0, "max_body_bytes": 65_536, **settings}
    model = replace(MODEL, spec=replace(SPEC, classes=classes))
    app = create_app(engine, model, **settings)
    # With False a failure is answered as a server would answer it, not raised into the test.
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield Server(client, engine, sampler)


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Lets other tasks run until the condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def run(scenario, **server):
    """Runs ``await scenario(server)`` against an application in this process."""

    async def main():
        async with serving(**server) as running:
            return await scenario(running)

    return asyncio.run(main())


def post(body=None, *, server=None, **fields):
    """One request's response; ``body`` replaces the JSON of the fields."""
    request = {"content": body} if body is not None else {"json": {"prompt": "coat", **fields}}
    headers = {"content-type": "application/json"}

    async def scenario(running):
        return await running.client.post("/v1/images/generations", headers=headers, **request)

    return run(scenario, **(server or {}))


def decode(b64):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(b64))))


def error_of(response, status):
    """The error, after checking that it has OpenAI's format and betrays nothing."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in response.text
    return body["error"]
