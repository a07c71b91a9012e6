"""The batching engine: rows of many requests share each call of the sampler. No Ray, no HTTP.

A request asks for rows ``(seed, sample_index + i, condition)``, i = 0 … n-1, under its own options.
Rows wait in a bounded queue, grouped by options, since one call of the sampler has one set of
options. A batch takes one row from each waiting request in turn, so that a request for many
pictures delays a request for one picture by at most one round. Groups take turns in the same way.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

logger = logging.getLogger(__name__)

OptionsT = TypeVar("OptionsT", bound=Hashable)
OptionsT_contra = TypeVar("OptionsT_contra", contravariant=True)


class SampleFunction(Protocol[OptionsT_contra]):
    """What draws a batch."""

    def __call__(
        self,
        seeds: np.ndarray,
        indices: np.ndarray,
        conditions: np.ndarray,
        options: OptionsT_contra,
        /,
        *inputs: np.ndarray,
    ) -> np.ndarray:
        """N rows to uint8 ``[N, H, W, C]``.

        Args:
            seeds, indices: int64 ``[N]``.
            conditions: labels, int64 ``[N]``, or embeddings, float32 ``[N, …]``.
            options: of all rows.
            inputs: what else the options need of each row, ``[N, …]``.
        """


# The weight of the newest batch in the running mean of seconds a batch.
_NEWEST = 0.2
# After so many failures in a row the sampler counts as broken, and not only as given bad rows.
_BROKEN_AFTER = 5


class QueueFull(Exception):
    """The queue has no room for the request's rows; it may have in ``retry_after_s`` seconds."""

    def __init__(self, queued_rows: int, retry_after_s: float) -> None:
        super().__init__(f"{queued_rows} rows are waiting")
        self.retry_after_s = retry_after_s


class SamplingFailed(Exception):
    """The sampler raised on this request's rows; the cause is chained."""


class EngineClosed(Exception):
    """The engine stopped before the request was done."""


class _Request(Generic[OptionsT]):
    """A request, with the rows that the sampler has started and the pictures that are done."""

    def __init__(
        self,
        seed: int,
        sample_index: int,
        condition: int | np.ndarray,
        num_rows: int,
        options: OptionsT,
        inputs: tuple[np.ndarray, ...],
    ) -> None:
        self.seed, self.sample_index = seed, sample_index
        self.condition, self.inputs = condition, inputs
        self.num_rows, self.options = num_rows, options
        self.num_started = 0
        self.num_done = 0
        self.images: np.ndarray | None = None
        self.future: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()

    @property
    def num_waiting(self) -> int:
        return self.num_rows - self.num_started

    def deliver(self, row: int, image: np.ndarray) -> None:
        if self.images is None:
            self.images = np.empty((self.num_rows, *image.shape), dtype=np.uint8)
        self.images[row] = image
        self.num_done += 1
        if self.num_done == self.num_rows and not self.future.done():
            self.future.set_result(self.images)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


_Row = tuple[_Request[OptionsT], int]


class Engine(Generic[OptionsT]):
    """Gathers rows into batches and samples them in one thread. Use as ``async with engine:``.

    Args:
        sample: see `SampleFunction`. A row's picture must not depend on the other rows.
        rows_per_call: rows in a batch at most. A call costs the same whether it is full or not.
        max_queued_rows: rows that may wait, without those of the batch that is being sampled.
        seconds_per_batch: a first estimate; the engine then measures it.
    """

    def __init__(
        self,
        sample: SampleFunction[OptionsT],
        rows_per_call: int,
        *,
        max_queued_rows: int,
        seconds_per_batch: float = 1.0,
    ) -> None:
        self.rows_per_call = rows_per_call
        self.max_queued_rows = max_queued_rows
        self.seconds_per_batch = seconds_per_batch
        self.queued_rows = 0
        self._sample = sample
        self._groups: OrderedDict[OptionsT, deque[_Request[OptionsT]]] = OrderedDict()
        self._running: set[_Request[OptionsT]] = set()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._failures_in_a_row = 0

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sampling")
        self._worker = asyncio.create_task(self._work(), name="sampling-engine")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Fails waiting requests with `EngineClosed`, and finishes the batch being sampled."""
        assert self._worker is not None
        assert self._thread is not None
        self._worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._worker
        await asyncio.to_thread(self._thread.shutdown)

    @property
    def healthy(self) -> bool:
        """Whether the engine runs and its sampler does not fail every time."""
        running = self._worker is not None and not self._worker.done()
        return running and self._failures_in_a_row < _BROKEN_AFTER

    async def sample(
        self,
        *,
        seed: int,
        sample_index: int,
        condition: int | np.ndarray,
        num_rows: int,
        options: OptionsT,
        inputs: tuple[np.ndarray, ...] = (),
    ) -> np.ndarray:
        """The pictures of rows ``(seed, sample_index + i, condition)``, i < num_rows.

        Cancelling the call drops those of its rows that have not started.

        Args:
            condition: a label, or an embedding of the same type and shape in all requests.
            inputs: what the options need of each row; of the same number, types and shapes in all
                requests of the same options.

        Returns:
            uint8 ``[num_rows, H, W, C]``.

        Raises:
            QueueFull: there is no room for all of the rows; none is queued.
            SamplingFailed: the sampler raised on these rows.
            EngineClosed: the engine does not run, or stopped in the meantime.
            ValueError: ``num_rows`` is below 1, or more than the queue can ever hold.
        """
        if not 1 <= num_rows <= self.max_queued_rows:
            raise ValueError(f"{num_rows} rows; the queue takes 1 to {self.max_queued_rows}")
        if self._worker is None or self._worker.done():
            raise EngineClosed("the engine is not running")
        if self.queued_rows + num_rows > self.max_queued_rows:
            raise QueueFull(self.queued_rows, self._seconds_until_room(num_rows))
        request = _Request(seed, sample_index, condition, num_rows, options, inputs)
        self._groups.setdefault(options, deque()).append(request)
        self.queued_rows += num_rows
        self._arrived.set()
        try:
            return await request.future
        finally:
            self._withdraw(request)

    def _seconds_until_room(self, num_rows: int) -> float:
        """Seconds until the queue has room, if no other request comes and batches are full."""
        excess = self.queued_rows + num_rows - self.max_queued_rows
        return math.ceil(excess / self.rows_per_call) * self.seconds_per_batch

    def _withdraw(self, request: _Request[OptionsT]) -> None:
        """Removes those rows of a request from the queue that have not started."""
        if request.num_waiting == 0:
            return
        self.queued_rows -= request.num_waiting
        request.num_started = request.num_rows
        group = self._groups[request.options]
        group.remove(request)
        if not group:
            del self._groups[request.options]

    def _next_batch(self) -> list[_Row[OptionsT]]:
        """Up to ``rows_per_call`` rows of the next group, one of each request in turn."""
        if not self._groups:
            return []
        options, group = next(iter(self._groups.items()))
        rows: list[_Row[OptionsT]] = []
        while group and len(rows) < self.rows_per_call:
            request = group.popleft()
            rows.append((request, request.num_started))
            request.num_started += 1
            if request.num_waiting:
                group.append(request)
        self.queued_rows -= len(rows)
        if group:
            self._groups.move_to_end(options)
        else:
            del self._groups[options]
        return rows

    async def _work(self) -> None:
        try:
            while True:
                await self._arrived.wait()
                rows = self._next_batch()
                if not rows:
                    self._arrived.clear()
                    continue
                self._running = {request for request, _ in rows}
                await self._run(rows)
                self._running = set()
        finally:
            closed = EngineClosed("the server is stopping")
            waiting = [request for group in self._groups.values() for request in group]
            for request in {*waiting, *self._running}:
                request.fail(closed)

    async def _run(self, rows: list[_Row[OptionsT]]) -> None:
        """Samples the rows; if that fails, each request alone, so that only bad ones fail."""
        try:
            images = await self._call(rows)
        except Exception as error:
            if len({request for request, _ in rows}) > 1:
                for request in dict.fromkeys(request for request, _ in rows):
                    await self._run([row for row in rows if row[0] is request])
                return
            self._failures_in_a_row += 1
            logger.exception("sampling failed for %d rows", len(rows))
            request = rows[0][0]
            self._withdraw(request)
            failure = SamplingFailed("sampling failed")
            failure.__cause__ = error
            request.fail(failure)
        else:
            self._failures_in_a_row = 0
            for (request, row), image in zip(rows, images, strict=True):
                request.deliver(row, image)

    async def _call(self, rows: list[_Row[OptionsT]]) -> np.ndarray:
        seeds = np.array([request.seed for request, _ in rows], dtype=np.int64)
        indices = np.array([request.sample_index + i for request, i in rows], dtype=np.int64)
        conditions = np.stack([np.asarray(request.condition) for request, _ in rows])
        options = rows[0][0].options
        inputs = map(np.stack, zip(*(request.inputs for request, _ in rows), strict=True))
        start = time.perf_counter()
        images = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._sample, seeds, indices, conditions, options, *inputs
        )
        seconds = time.perf_counter() - start
        self.seconds_per_batch += _NEWEST * (seconds - self.seconds_per_batch)
        if len(images) != len(rows):
            raise RuntimeError(f"the sampler gave {len(images)} pictures for {len(rows)} rows")
        return images
