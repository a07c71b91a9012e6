"""What keeping freed memory changes, counted by the system: page faults."""

import os
import subprocess
import sys

import pytest

from pipeline.allocator import KEEP_FREED_MEMORY, keep_freed_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")

# In pages of 4 KiB the last 152 MiB are 38,912 faults; were they huge pages of 2 MiB, 76.
_PROGRAM = """
import resource, sys, threading
from pipeline.allocator import keep_freed_memory

def work():
    for size in (48, 8, 48):
        b"x" * (size << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in (48, 8, 48, 8, 40):
        b"x" * (size << 20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

if "told" in sys.argv and not keep_freed_memory():
    raise SystemExit("mallopt refused")
if "thread" in sys.argv:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    work()
"""


def _faults(*how: str, **environment: str) -> int:
    command = [sys.executable, "-c", _PROGRAM, *how]
    told = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | environment
    )
    return int(told.stdout)


def test_a_process_that_is_told_to_uses_its_freed_memory_again_without_page_faults() -> None:
    assert _faults("told") < 20
    assert _faults() > 60


def test_a_process_started_with_the_environment_does_so_in_every_thread() -> None:
    assert _faults("thread", **KEEP_FREED_MEMORY) < 20
    assert _faults("thread") > 60


def test_a_c_library_that_cannot_be_told_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not keep_freed_memory()
