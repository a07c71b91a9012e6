"""Prompts and pictures of requests into what the model is drawn on, beside the event loop.

No Ray, no HTTP.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from pipeline.formats.sample_set import condition_hashes
from pipeline.picture_encoder import PictureEncoder
from pipeline.sampling.picture_file import picture_of
from pipeline.sampling.prompt_reader import PromptReader
from serve.engine import QueueFull
from serve.pictures import refuse_other_size

Given = TypeVar("Given")

# The weight of the newest in the running mean of seconds that one takes.
_NEWEST = 0.2


@dataclass(frozen=True)
class Encoded:
    """What a prompt or a picture became.

    Attributes:
        condition: float32, as the engine takes it.
        sha256: of the condition, as a sample set holds it.
        notice: that only a prompt's beginning was used; None where all of it was.
    """

    condition: np.ndarray
    sha256: str
    notice: str | None = None


class EncodingQueue(Generic[Given]):
    """Encodes one at a time in a thread of its own.

    Args:
        encode: by what.
        max_waiting: how many may wait.
    """

    def __init__(self, encode: Callable[[Given], Encoded], *, max_waiting: int) -> None:
        self.max_waiting, self.num_waiting = max_waiting, 0
        self._encode, self._seconds = encode, 0.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoding")

    async def encode(self, given: Given) -> Encoded:
        """Encodes one; cancelling the call drops it if it has not been started.

        Raises:
            QueueFull: too many wait.
            Exception: as ``encode``.
        """
        if self.num_waiting >= self.max_waiting:
            raise QueueFull(self.num_waiting, self._seconds)
        self.num_waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._timed, given)
        finally:
            self.num_waiting -= 1

    def close(self) -> None:
        """Ends the thread; those that wait fail."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _timed(self, given: Given) -> Encoded:
        start = time.perf_counter()
        encoded = self._encode(given)
        self._seconds += _NEWEST * (time.perf_counter() - start - self._seconds)
        return encoded


def encode_prompt(reader: PromptReader, prompt: str) -> Encoded:
    """A sentence; errors as `PromptReader.conditions`."""
    cut = reader.cut([prompt])
    conditions = reader.conditions([prompt])
    notice = reader.notice(1, prompt) if cut else None
    return Encoded(conditions[0], condition_hashes(conditions)[0], notice)


def encode_picture(encoder: PictureEncoder, data: bytes) -> Encoded:
    """A picture from the bytes of its file; errors as `picture_of`, beginning with ``image``."""
    refuse_other_size("image", data, encoder.shape)
    picture = picture_of(data, "image", encoder.shape, "this model takes")
    vectors = encoder.encode(picture[None])
    return Encoded(vectors[0], condition_hashes(vectors)[0])
