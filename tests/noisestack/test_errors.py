import errno

import pytest

from noisestack.errors import unwrap
from pipeline.errors import UserError

MISTAKE = UserError("no model at m; train one")
FULL = OSError(errno.ENOSPC, "No space left on device")


class Wrapper(Exception):
    """Has the shape of Ray's wrappers."""

    def __init__(self, cause=None, worker_failures=None):
        super().__init__("a long remote traceback")
        self.cause = cause
        self.worker_failures = worker_failures


class MistakenWrapper(Wrapper, UserError):
    """RayTaskError makes its wrappers instances of the class of what they wrap."""


def chained(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("inner", [MISTAKE, FULL])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: inner,
        Wrapper,
        MistakenWrapper,
        lambda inner: Wrapper(Wrapper(inner)),
        lambda inner: Wrapper(worker_failures={0: RuntimeError(), 1: Wrapper(inner)}),
        lambda inner: chained(RuntimeError(), Wrapper(inner)),
    ],
)
def test_the_workers_own_exception_is_found(wrap, inner):
    assert unwrap(wrap(inner)) is inner


def test_what_ray_data_adds_to_a_message_is_left_out():
    told = "no model at m; train one"
    noisy = UserError(f"{told}\nFailed to apply UDF transform after 1/1 attempts. To change …")
    assert str(unwrap(Wrapper(noisy))) == told


def test_an_error_that_is_nobodys_mistake_stays_itself():
    error = chained(RuntimeError(), ValueError())
    error.__cause__.__context__ = error  # a cycle must not hang it
    assert unwrap(error) is error
