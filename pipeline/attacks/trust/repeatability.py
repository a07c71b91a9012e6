"""Whether a user's attack gives the same pictures again, and heeds the seed that it is given.

A library may set a global generator itself: to a number of its own, and then every seed draws the
same noise; or by the clock, and then no set is made twice.
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Repeat:
    """What a batch that was attacked twice with one seed showed.

    Attributes:
        rows: of the batch.
        differing: rows whose pictures had other bits the second time.
        reseeded: whose global generator the attack set itself: of torch, numpy, random.
    """

    rows: int
    differing: int
    reseeded: tuple[str, ...]


@dataclass
class Generators:
    """The global generators while an attack runs.

    Attributes:
        reseeded: whose generators were set by somebody else.
    """

    reseeded: set[str] = field(default_factory=set)


@contextmanager
def seeded(seed: int, row: int) -> Iterator[Generators]:
    """The generators of torch, numpy and Python seeded by (seed, row), and put back afterwards."""
    digest = hashlib.sha256(f"{seed} {row}".encode()).digest()
    number = int.from_bytes(digest[:4], "big")
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # what libraries use
    watched = Generators()

    def noting(name: str, seeds: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **more: Any) -> Any:
            watched.reseeded.add(name)
            return seeds(*arguments, **more)

        return noted

    try:
        with torch.random.fork_rng():
            torch.manual_seed(number)
            np.random.seed(number)  # noqa: NPY002
            random.seed(number)
            with (
                patch.object(torch, "manual_seed", noting("torch", torch.manual_seed)),
                patch.object(torch.random, "manual_seed", noting("torch", torch.manual_seed)),
                patch.object(np.random, "seed", noting("numpy", np.random.seed)),
                patch.object(random, "seed", noting("random", random.seed)),
            ):
                yield watched
            if torch.initial_seed() != number:
                watched.reseeded.add("torch")
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def repeated(first: Tensor, again: Callable[[], tuple[Tensor, Generators]]) -> Repeat:
    """Compares an attack's pictures with those for the same seed in another second.

    A seed from the clock often counts whole seconds.

    Args:
        first: what it gave.
        again: runs it once more.
    """
    next_second = int(time.time()) + 1
    while (left := next_second - time.time()) > 0:
        time.sleep(left)
    second, generators = again()
    differing = (first != second).flatten(1).any(dim=1)
    return Repeat(len(first), int(differing.sum()), tuple(sorted(generators.reseeded)))
