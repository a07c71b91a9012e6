"""Prompts of requests into what the model is drawn on, beside the event loop. No Ray, no HTTP."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pipeline.formats.sample_set import condition_hashes
from pipeline.sampling.prompt_reader import PromptReader
from serve.engine import QueueFull

# The weight of the newest prompt in the running mean of seconds a prompt.
_NEWEST = 0.2


@dataclass(frozen=True)
class EncodedPrompt:
    """What a prompt became.

    Attributes:
        condition: float32, as the engine takes it.
        sha256: of the condition, as a sample set holds it.
        notice: that only its beginning was used; None where all of it was.
    """

    condition: np.ndarray
    sha256: str
    notice: str | None


class PromptEncoder:
    """Encodes one prompt at a time in a thread of its own; the last ones' conditions are kept.

    Args:
        reader: holds the encoder.
        max_waiting: prompts that may wait.
    """

    def __init__(self, reader: PromptReader, *, max_waiting: int) -> None:
        self.max_waiting, self.num_waiting = max_waiting, 0
        self._reader, self._seconds = reader, 0.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prompts")

    async def encode(self, prompt: str) -> EncodedPrompt:
        """Encodes a prompt; cancelling the call drops it if it has not been started.

        Raises:
            QueueFull: too many wait.
            UserError: the prompt is empty, or has nothing that the encoder's tokenizer knows.
        """
        if self.num_waiting >= self.max_waiting:
            raise QueueFull(self.num_waiting, self._seconds)
        self.num_waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._encode, prompt)
        finally:
            self.num_waiting -= 1

    def close(self) -> None:
        """Ends the thread; prompts that wait fail."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _encode(self, prompt: str) -> EncodedPrompt:
        start = time.perf_counter()
        cut = self._reader.cut([prompt])
        conditions = self._reader.conditions([prompt])
        notice = self._reader.notice(1, prompt) if cut else None
        self._seconds += _NEWEST * (time.perf_counter() - start - self._seconds)
        return EncodedPrompt(conditions[0], condition_hashes(conditions)[0], notice)
