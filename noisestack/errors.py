"""Finds a user's mistake inside the exceptions that Ray wraps around a worker's.

Ray's wrappers are recognised by their attributes, so that this module needs no Ray.
"""

import errno

from pipeline.errors import UserError

# Ray Data 2.60 adds this, and advice on retries, to the message of what a worker raised.
RETRY_REMARK = " Failed to apply UDF transform after "


def unwrap(error: BaseException) -> BaseException:
    """The UserError or full disk that caused `error`; `error` itself if there is none.

    It follows `cause` (RayTaskError), `worker_failures` (Ray Train), `__cause__` and `__context__`.
    A RayTaskError is an instance of its cause's class whose message is the remote traceback, so the
    innermost `cause` is returned and never the wrapper.

    Use: `raise unwrap(error) from None`.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        inner = getattr(current, "cause", None)
        if isinstance(inner, BaseException):
            waiting.insert(0, inner)
        elif isinstance(current, UserError):
            message, remark, _ = str(current).partition(RETRY_REMARK)
            return UserError(message) if remark else current
        elif is_disk_full(current):
            return current
        failures = getattr(current, "worker_failures", None) or {}
        waiting += [*failures.values(), current.__cause__, current.__context__]
    return error


def is_disk_full(error: BaseException) -> bool:
    """Whether `error` means that the disk, or the user's quota on it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
