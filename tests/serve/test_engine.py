"""The engine without Ray or HTTP: batches, fairness, admission, cancellation, failures."""

import asyncio

import numpy as np
import pytest
from fake_model import FakeSampler, eventually, picture

from serve.engine import Engine, EngineClosed, QueueFull, SamplingFailed


def engine_of(sampler, rows_per_call=4, max_queued_rows=256, **settings):
    return Engine(sampler, rows_per_call, max_queued_rows=max_queued_rows, **settings)


def rows_of(seed, num_rows=1, *, sample_index=0, label=0, options="plain"):
    return {
        "seed": seed,
        "sample_index": sample_index,
        "condition": label,
        "num_rows": num_rows,
        "options": options,
    }


async def while_busy(sampler, engine, requests):
    """Sends the requests while a first batch is under way, so that all of them wait together."""
    sampler.gate.clear()
    first = asyncio.create_task(engine.sample(**rows_of(999)))
    await eventually(lambda: len(sampler.batches) == 1)
    tasks = []
    for request in requests:
        tasks.append(asyncio.create_task(engine.sample(**request)))
        await asyncio.sleep(0)  # one after the other: arrival order is the order of the list
    return first, tasks


def test_a_request_gets_its_own_rows_in_order():
    async def scenario():
        async with engine_of(FakeSampler()) as engine:
            return await engine.sample(**rows_of(5, 11, sample_index=100, label=2))

    images = asyncio.run(scenario())
    assert images.dtype == np.uint8
    expected = [picture(5, 100 + i, 2, "plain") for i in range(11)]
    np.testing.assert_array_equal(images, np.stack(expected))


def test_concurrent_requests_share_batches_and_get_what_they_would_get_alone():
    sampler = FakeSampler()
    requests = [rows_of(seed, 3, label=seed % 5) for seed in range(8)]

    async def scenario():
        async with engine_of(sampler, rows_per_call=12) as engine:
            first, tasks = await while_busy(sampler, engine, requests)
            sampler.gate.set()
            await first
            return await asyncio.gather(*tasks)

    together = asyncio.run(scenario())
    assert [len(rows) for rows in sampler.rows] == [1, 12, 12]  # 24 rows in two full batches

    async def alone(request):
        async with engine_of(FakeSampler(), rows_per_call=1) as engine:
            return await engine.sample(**request)

    for request, images in zip(requests, together, strict=True):
        np.testing.assert_array_equal(images, asyncio.run(alone(request)))


def test_a_request_for_one_is_not_starved_by_a_request_for_sixty_four():
    sampler = FakeSampler()

    async def scenario():
        async with engine_of(sampler) as engine:
            first, (large, small) = await while_busy(
                sampler, engine, [rows_of(64, 64), rows_of(1, 1)]
            )
            sampler.gate.set()
            await small
            large_was_done = large.done()
            await asyncio.gather(first, large)
            return large_was_done

    assert asyncio.run(scenario()) is False
    assert (1, 0, 0) in sampler.rows[1]  # the first batch after its arrival
    assert len(sampler.rows) == 1 + -(-65 // 4)


def test_a_batch_takes_a_row_from_each_request_in_turn():
    sampler = FakeSampler()

    async def scenario():
        async with engine_of(sampler, rows_per_call=7) as engine:
            requests = [rows_of(seed, 5) for seed in (10, 20, 30)]
            first, tasks = await while_busy(sampler, engine, requests)
            sampler.gate.set()
            await asyncio.gather(first, *tasks)

    asyncio.run(scenario())
    assert [seed for seed, _, _ in sampler.rows[1]] == [10, 20, 30, 10, 20, 30, 10]
    assert [seed for seed, _, _ in sampler.rows[2]] == [20, 30, 10, 20, 30, 10, 20]


def test_options_are_never_mixed_in_a_batch_and_take_turns():
    sampler = FakeSampler()

    async def scenario():
        async with engine_of(sampler) as engine:
            requests = [
                rows_of(1, 12, options="a"),
                rows_of(2, 4, options="b"),
                rows_of(3, 4, options="c"),
            ]
            first, tasks = await while_busy(sampler, engine, requests)
            sampler.gate.set()
            await asyncio.gather(first, *tasks)

    asyncio.run(scenario())
    assert [options for _, options in sampler.batches] == ["plain", "a", "b", "c", "a", "a"]


def test_a_full_queue_refuses_whole_requests_and_says_when_there_is_room():
    sampler = FakeSampler()

    async def scenario():
        async with engine_of(
            sampler, rows_per_call=4, max_queued_rows=10, seconds_per_batch=3.0
        ) as engine:
            first, tasks = await while_busy(sampler, engine, [rows_of(1, 8)])
            with pytest.raises(QueueFull) as refused:
                await engine.sample(**rows_of(2, 7))
            assert engine.queued_rows == 8  # nothing of it was taken
            fits = asyncio.create_task(engine.sample(**rows_of(3, 2)))
            await asyncio.sleep(0)
            assert engine.queued_rows == 10
            sampler.gate.set()
            await asyncio.gather(first, fits, *tasks)
            assert engine.queued_rows == 0
            return refused.value.retry_after_s

    # 8 + 7 - 10 = 5 rows too many are two batches' worth, at 3 s each.
    assert asyncio.run(scenario()) == 6.0


def test_the_estimate_of_a_batch_follows_what_is_measured():
    async def scenario():
        async with engine_of(FakeSampler(), seconds_per_batch=1000.0) as engine:
            for seed in range(3):
                await engine.sample(**rows_of(seed))
            return engine.seconds_per_batch

    assert asyncio.run(scenario()) == pytest.approx(1000 * 0.8**3, rel=0.05)


@pytest.mark.parametrize("num_rows", [0, 11])
def test_a_request_that_can_never_be_admitted_is_an_error(num_rows):
    async def scenario():
        async with engine_of(FakeSampler(), max_queued_rows=10) as engine:
            await engine.sample(**rows_of(1, num_rows))

    with pytest.raises(ValueError, match="1 to 10"):
        asyncio.run(scenario())


def test_cancelling_drops_the_rows_that_have_not_started():
    sampler = FakeSampler()

    async def scenario():
        async with engine_of(sampler) as engine:
            first, (doomed, other) = await while_busy(
                sampler, engine, [rows_of(1, 9), rows_of(2, 2)]
            )
            sampler.gate.set()
            await first
            await eventually(lambda: len(sampler.batches) >= 2)  # some of its rows have started
            doomed.cancel()
            await asyncio.gather(doomed, return_exceptions=True)
            images = await other
            assert engine.queued_rows == 0
            await engine.sample(**rows_of(3))  # the engine goes on
            return images

    images = asyncio.run(scenario())
    np.testing.assert_array_equal(images[1], picture(2, 1, 0, "plain"))
    assert all(rows for rows in sampler.rows)


def test_cancelling_before_the_start_leaves_no_trace():
    sampler = FakeSampler()

    async def scenario():
        async with engine_of(sampler) as engine:
            first, (doomed,) = await while_busy(
                sampler, engine, [rows_of(1, 6, options="its own group")]
            )
            doomed.cancel()
            await asyncio.gather(doomed, return_exceptions=True)
            assert engine.queued_rows == 0
            sampler.gate.set()
            await first
            await engine.sample(**rows_of(2))

    asyncio.run(scenario())
    assert sampler.rows == [[(999, 0, 0)], [(2, 0, 0)]]


def test_a_failure_reaches_only_the_request_whose_rows_raise():
    sampler = FakeSampler(broken_seeds=(13,))

    async def scenario():
        async with engine_of(sampler) as engine:
            requests = [rows_of(12, 2), rows_of(13, 6), rows_of(14, 2)]
            first, tasks = await while_busy(sampler, engine, requests)
            sampler.gate.set()
            await first
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert engine.queued_rows == 0
            assert engine.healthy
            return outcomes

    before, broken, after = asyncio.run(scenario())
    assert isinstance(broken, SamplingFailed)
    assert isinstance(broken.__cause__, RuntimeError)
    np.testing.assert_array_equal(before[1], picture(12, 1, 0, "plain"))
    np.testing.assert_array_equal(after[1], picture(14, 1, 0, "plain"))


def test_a_sampler_that_always_fails_makes_the_engine_unhealthy_until_it_works_again():
    sampler = FakeSampler(broken_seeds=(13,))

    async def scenario():
        async with engine_of(sampler) as engine:
            healthy = [engine.healthy]
            for seed in (13, 13, 13, 13, 13, 1):
                await asyncio.gather(engine.sample(**rows_of(seed)), return_exceptions=True)
                healthy.append(engine.healthy)
            return healthy

    assert asyncio.run(scenario()) == [True, True, True, True, True, False, True]


def test_a_sampler_with_the_wrong_number_of_pictures_fails_its_requests():
    async def scenario():
        async with engine_of(lambda *_: np.zeros((2, 3, 3, 1), np.uint8)) as engine:
            with pytest.raises(SamplingFailed):
                await engine.sample(**rows_of(1, 3))
            return engine.healthy

    assert asyncio.run(scenario())


def test_closing_fails_what_waits_and_refuses_what_comes():
    sampler = FakeSampler()

    async def scenario():
        engine = engine_of(sampler)
        async with engine:
            first, (waiting,) = await while_busy(sampler, engine, [rows_of(1, 2)])
            asyncio.get_running_loop().call_later(0.05, sampler.gate.set)
        outcomes = await asyncio.gather(first, waiting, return_exceptions=True)
        with pytest.raises(EngineClosed):
            await engine.sample(**rows_of(2))
        return outcomes, engine.healthy

    outcomes, healthy = asyncio.run(scenario())
    assert [type(outcome) for outcome in outcomes] == [EngineClosed, EngineClosed]
    assert not healthy


def test_a_randomly_cancelled_crowd_leaves_an_empty_queue_and_right_answers():
    sampler = FakeSampler(broken_seeds=(7, 77))
    rng = np.random.default_rng(0)

    async def client(engine, seed):
        await asyncio.sleep(rng.random() * 0.02)
        num_rows = int(rng.integers(1, 20))
        request = rows_of(seed, num_rows, label=seed % 3, options=f"o{seed % 2}")
        try:
            async with asyncio.timeout(0.005 if seed % 4 == 0 else 30):
                images = await engine.sample(**request)
        except (TimeoutError, SamplingFailed):
            return seed % 4 == 0 or seed in sampler.broken_seeds
        expected = [picture(seed, i, seed % 3, f"o{seed % 2}") for i in range(num_rows)]
        return np.array_equal(images, np.stack(expected))

    async def scenario():
        async with engine_of(sampler, rows_per_call=5, max_queued_rows=10_000) as engine:
            outcomes = await asyncio.gather(*(client(engine, seed) for seed in range(100)))
            assert engine.queued_rows == 0
            assert not engine._groups
            return outcomes

    assert all(asyncio.run(scenario()))
    assert max(len(rows) for rows in sampler.rows) == 5


def test_what_the_options_need_of_each_row_comes_with_it_in_shared_batches():
    batches = []

    def sample(seeds, indices, conditions, options, *inputs):
        batches.append((options, len(seeds)))
        if not inputs:
            return np.zeros((len(seeds), 1, 1, 1), np.uint8)
        pictures, known = inputs
        assert (conditions.dtype, known.dtype) == (np.float32, bool)
        return (pictures + conditions[:, None, None, :1].astype(np.uint8)) * known[..., None]

    async def scenario():
        async with Engine(sample, 8, max_queued_rows=64) as engine:

            def ask(value, options, *inputs):
                condition = np.full(3, value, np.float32)
                return engine.sample(
                    seed=0,
                    sample_index=0,
                    condition=condition,
                    num_rows=2,
                    options=options,
                    inputs=inputs,
                )

            def around(level, known):
                return np.full((2, 2, 1), level, np.uint8), np.full((2, 2), known)

            return await asyncio.gather(
                ask(1, "whole"),
                ask(2, "rest", *around(10, True)),
                ask(3, "rest", *around(9, False)),
            )

    _, seen, unknown = asyncio.run(scenario())
    assert set(seen.ravel().tolist()) == {12}
    assert set(unknown.ravel().tolist()) == {0}
    assert sorted(batches) == [("rest", 4), ("whole", 2)]
