"""Many clients at once: shared batches, a full queue, failures, and clients that leave."""

import asyncio
import json

import openai
import pytest
from fake_model import (
    FakeSampler,
    error_of,
    eventually,
    post,
    run,
)


def test_concurrent_requests_share_batches_and_answer_as_if_alone():
    sampler = FakeSampler()

    async def scenario(server):
        sampler.gate.clear()
        tasks = [asyncio.create_task(server.generate(seed=s, n=2)) for s in range(9)]
        await eventually(lambda: server.engine.queued_rows >= 8)
        sampler.gate.set()
        return await asyncio.gather(*tasks)

    together = run(scenario, sampler=sampler)
    assert len(sampler.batches) < 9
    for seed, response in enumerate(together):
        assert response.json()["data"] == post(seed=seed, n=2).json()["data"]


@pytest.mark.parametrize(
    ("seconds_per_batch", "retry_after"),
    [(2.5, 5), (600.0, 120)],  # 16 rows too many are 2 batches of 8
)
def test_a_full_queue_answers_429_with_a_time_that_clients_wait(seconds_per_batch, retry_after):
    sampler = FakeSampler()

    async def scenario(server):
        server.engine.seconds_per_batch = seconds_per_batch
        sampler.gate.clear()
        tasks = [asyncio.create_task(server.generate(n=8))]
        await eventually(lambda: len(sampler.batches) == 1)
        tasks.append(asyncio.create_task(server.generate(n=60)))
        await eventually(lambda: server.engine.queued_rows == 60)
        refused = await server.generate(n=20)
        sampler.gate.set()
        assert {r.status_code for r in await asyncio.gather(*tasks)} == {200}
        return refused

    refused = run(scenario, sampler=sampler, max_queued_rows=64)
    error = error_of(refused, 429)
    assert error["type"] == "rate_limit_error"
    assert error["code"] == "rate_limit_exceeded"
    assert refused.headers["retry-after"] == str(retry_after)
    assert retry_after <= openai._base_client.MAX_RETRY_AFTER_DELAY


def test_a_failure_in_sampling_is_a_500_without_its_detail(caplog):
    response = post(seed=13, server={"sampler": FakeSampler(broken_seeds=(13,))})
    assert error_of(response, 500)["type"] == "server_error"
    assert "secret" not in response.text
    assert "secret detail" in caplog.text  # which the operator finds in the log


def test_a_request_past_its_time_is_a_504_and_its_rows_are_dropped():
    sampler = FakeSampler()

    async def scenario(server):
        sampler.gate.clear()
        response = await server.generate(n=20)
        await eventually(lambda: server.engine.queued_rows == 0)
        sampler.gate.set()
        return response

    response = run(scenario, sampler=sampler, request_timeout_s=0.05)
    assert error_of(response, 504)["code"] == "timeout"
    assert len(sampler.batches) <= 1  # 8 of its 20 rows at most; the others never started


def test_rows_of_a_client_that_has_gone_are_dropped():
    sampler = FakeSampler()
    body = json.dumps({"prompt": "coat", "n": 20}).encode()

    async def scenario(server):
        sampler.gate.clear()
        hang_up = asyncio.Event()
        messages = [{"type": "http.request", "body": body}]

        async def receive():
            if messages:
                return messages.pop()
            await hang_up.wait()
            return {"type": "http.disconnect"}

        sent = []

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/images/generations",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }
        app = server.client._transport.app
        request = asyncio.create_task(app(scope, receive, send))
        await eventually(lambda: server.engine.queued_rows == 12)
        hang_up.set()
        await request
        await eventually(lambda: server.engine.queued_rows == 0)
        sampler.gate.set()
        assert (await server.generate(seed=5)).status_code == 200
        return sent

    sent = run(scenario, sampler=sampler)
    assert [len(rows) for rows in sampler.rows] == [8, 1]
    assert all(message.get("body", b"") == b"" for message in sent)
