"""Orders that are keyed as the noise is, and what draws are for.

Of numpy alone: what reads a training stream in a process of its own needs no torch, which takes two
seconds and 200 MB.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a draw is for: draws of different purposes are independent.

    The numbers are part of every draw's key: none is used again.
    """

    PRIOR = 0
    STEP = 1
    DETAIL = 2
    ATTACK = 3
    ORDER = 7
    BOUND = 8
    AUDIT = 11
    PROBE = 12
    GENERATED_ORDER = 13
    UNIVERSAL_ORDER = 14
    STATISTICS_ROWS = 15
    ERROR_CURVE = 16
    BOUND_ROWS = 17
    EVALUATION_ROWS = 18
    SMOOTHING = 19
    SMOOTHING_BASE = 20
    PURIFIER = 21
    BOUNDARY = 22
    KNOWN = 23
    AGAIN = 24
    VECTOR = 25


def keyed_permutation(seed: int, index: int, purpose: Purpose, size: int) -> np.ndarray:
    """A uniform permutation of ``range(size)``, int64, keyed by ``(seed, index, purpose)``.

    The order of ``size`` raw words of Philox4x64-10. Their stream numpy promises to keep, which it
    does not of its permutations.

    Args:
        seed: any integer; taken modulo 2**64.
        index: which of the seed's permutations for this purpose, in [0, 2**64).
        purpose: what is put in order: orders of different purposes are independent.
        size: from 0 on.
    """
    # As uint64: a list with one number from 2**63 on would pass through float64 and lose its end.
    key = np.array([seed % 2**64, index], np.uint64)
    counter = np.array([0, 0, 0, purpose], np.uint64)
    words = np.random.Philox(key=key, counter=counter).random_raw(size)
    return np.argsort(words, kind="stable")
