"""The mistake under the layers that Ray wraps around a worker's exception on its way here.

Ray's wrappers are read by the names of their attributes, so that this module needs no Ray.
"""

import errno

from pipeline.errors import UserError

# Ray Data 2.60 adds this, and advice on retries, to the message of what a worker raised.
RETRY_REMARK = " Failed to apply UDF transform after "


def unwrap(error: BaseException) -> BaseException:
    """The UserError or the full disk that `error` was caused by; `error` itself without one.

    Followed are `cause` (RayTaskError), `worker_failures` (Ray Train), `__cause__` and
    `__context__`. A RayTaskError is made an instance of its cause's class, with the remote
    traceback for a message: so the innermost `cause` is the one to show, never the wrapper.

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
    """Whether `error` says that no space, or none of the user's quota, is left on the disk."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
