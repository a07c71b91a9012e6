"""What the C library does with memory that tensors on the CPU have given back.

By default glibc hands large blocks back to the system at once, and each layer's output begins with
a page fault for every 4 KiB of it: 77,000 faults a training step of a stage of 14 pixels and 128
pictures, 1,500 a sampled picture. Kept for the next tensor of that size, that step took 0.56
CPU-seconds and not 0.69, and sampling 256 pictures in a worker 7.9 and not 8.7. A process that
keeps what is freed stays as large as it was at its peak.
"""

import ctypes

_KEPT = 1 << 30  # bytes at the end of the heap
_GROWTH = 64 << 20  # bytes by which the heap grows at a time

# For the environment of a process that is to keep freed memory, in all its threads. Threads other
# than the main one otherwise have arenas of their own, which give large blocks back all the same.
KEEP_FREED_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(_KEPT),
    "MALLOC_TOP_PAD_": str(_GROWTH),
}

# The same as numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Makes this process keep what its main thread frees, from now on.

    Returns:
        Whether the C library can be told so; where it cannot, nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _GROWTH))
    return [mallopt(name, value) for name, value in wanted] == [1] * len(wanted)
