"""Training a stack on the device: steps a second in each mode, and whether a run repeats."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.device import peak_memory
from benchmarks.gpu.inputs import SHAPES, Sizes, pictures, recipe, spec_for
from pipeline.pictures import to_signed
from pipeline.stack import Stack
from pipeline.stack_spec import StackSpec
from pipeline.training.trainer import Recipe, StackTrainer


class Training:
    """A stack in training on pictures that lie on the device, in one of the modes."""

    def __init__(
        self,
        spec: StackSpec,
        data: tuple[np.ndarray, np.ndarray],
        device: torch.device,
        told: Recipe,
        *,
        channels_last: bool = False,
        compiled: bool = False,
    ) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self._x = to_signed(data[0]).to(device).contiguous(memory_format=layout)
        self._labels = torch.from_numpy(data[1]).to(device)
        self._batch = told.batch_size
        stack = Stack.fresh(spec, 0).to(device)
        if channels_last:
            stack.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            stack.compile()
        self.trainer = StackTrainer(stack, told)

    def step(self) -> tuple[float, ...]:
        """One step; waits for the device, since the losses are looked at."""
        first = self.trainer.step * self._batch % len(self._x)
        rows = torch.arange(first, first + self._batch, device=self._x.device) % len(self._x)
        return self.trainer.update(self._x[rows], self._labels[rows])


def train_throughput(name: str, sizes: Sizes, device: torch.device) -> Iterator[dict[str, Any]]:
    """Steps a second in each mode, at each size of a batch."""
    layouts = {"float32": (False, False), "bf16": (True, False), "bf16_channels_last": (True, True)}
    for mode, (bf16, channels_last) in layouts.items():
        for batch in sizes.batches:
            found = _speed(name, sizes, device, recipe(10_000, batch, bf16=bf16), channels_last)
            yield {f"{mode}_batch_{batch}": found}


def train_compiled(name: str, sizes: Sizes, device: torch.device) -> Iterator[dict[str, Any]]:
    """The same with torch.compile, whose first steps take a minute or more."""
    if device.type != "cuda":
        yield {"left_out": "without a GPU: it needs a C++ compiler"}
        return
    batch = sizes.batches[-1]
    found = _speed(name, sizes, device, recipe(10_000, batch, bf16=True), compiled=True)
    yield {f"bf16_compiled_batch_{batch}": found}


def _speed(
    name: str,
    sizes: Sizes,
    device: torch.device,
    told: Recipe,
    channels_last: bool = False,
    compiled: bool = False,
) -> dict[str, Any]:
    data = pictures(SHAPES[name][0], sizes.pictures)
    spec = spec_for(name, data[0], sizes)
    with peak_memory(device) as memory:
        start = time.perf_counter()
        training = Training(
            spec, data, device, told, channels_last=channels_last, compiled=compiled
        )
        for _ in range(sizes.warm_up):
            training.step()
        ready = time.perf_counter()
        steps = 0
        while steps < 3 or time.perf_counter() - ready < sizes.seconds:
            losses = training.step()
            steps += 1
        seconds = time.perf_counter() - ready
    return {
        "steps_per_second": steps / seconds,
        "pictures_per_second": steps * told.batch_size / seconds,
        "first_steps_seconds": ready - start,
        "loss": list(losses),
        **memory,
    }


def train_repeats(name: str, sizes: Sizes, device: torch.device) -> Iterator[dict[str, Any]]:
    """Whether two runs of the same steps leave the same weights, bit for bit."""
    data = pictures(SHAPES[name][0], sizes.pictures)
    spec = spec_for(name, data[0], sizes)
    states = []
    for _ in range(2):
        training = Training(spec, data, device, recipe(5, sizes.batches[0]))
        for _ in range(5):
            training.step()
        states.append({k: v.cpu() for k, v in training.trainer.state().items()})
    first, second = states
    yield {
        "equal_weights": all(torch.equal(first[key], second[key]) for key in first),
        "largest_difference": max(float((first[k] - second[k]).abs().max()) for k in first),
    }


def trained_stack(name: str, sizes: Sizes, device: torch.device) -> Stack:
    """A stack after some steps on the device."""
    data = pictures(SHAPES[name][0], sizes.pictures)
    training = Training(
        spec_for(name, data[0], sizes), data, device, recipe(sizes.learn, sizes.batches[0])
    )
    for _ in range(sizes.learn):
        training.step()
    return training.trainer.averaged().eval()
