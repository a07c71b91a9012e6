"""What every test shares: one torch thread, one Ray a process, the real data if there."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

# Before torch is imported, here or in a Ray worker: several threads a process would fight over the
# few cores of a test machine, and sums would depend on their number.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)

# No test depends on speed, and each run tries the same examples.
hypothesis.settings.register_profile(
    "noisestack",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("noisestack")

ROOT = Path(__file__).resolve().parent.parent


@cache
def with_ray(file: str) -> bool:
    """Whether there are tests in a file that need Ray; its path is from the root."""
    return "mark.ray" in (ROOT / file).read_text(encoding="utf-8")


# The tests with Ray that a process runs one after another, by the beginnings of their files' paths;
# about as long as one another on two cores. The first need no Ray session: they bring up clusters.
_RAY_LOTS = {
    "clusters": ("tests/faults/test_lost_node.py", "tests/faults/test_two_hosts.py"),
    "faults and streams": (
        "tests/faults/",
        "tests/jobs/test_stream.py",
        "tests/jobs/test_sharded.py",
    ),
    "the others": ("tests/",),
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How processes share the tests: those with Ray in three lots, which go first.

    So Ray starts rarely, each time in a process of its own, which has it for its lot alone. Of the
    others a file is a unit, so that what its tests share is made once.
    (The groups of pytest-xdist 3.8 would say so more plainly; pytest 9.2 passes over them.)
    """
    from xdist.scheduler import LoadFileScheduling

    class RayInLots(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            if not with_ray(file):
                return file
            return next(lot for lot, files in _RAY_LOTS.items() if file.startswith(files))

        def _assign_work_unit(self, node: Any) -> None:
            for lot in reversed(_RAY_LOTS):
                if lot in self.workqueue:
                    self.workqueue.move_to_end(lot, last=False)
            super()._assign_work_unit(node)

    return RayInLots(config, log)


class _OneRay:
    """The Ray session of this process: private, on loopback, with CPUs enough not to starve."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self.wanted = self.runs = False

    def start(self) -> None:
        from noisestack.session import ray_session

        if not self.runs:
            self._running.enter_context(ray_session(num_cpus=8))
            self.wanted = self.runs = True

    def stop(self) -> None:
        self._running.close()
        self.runs = False


_ONE_RAY = _OneRay()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """The one Ray session that the tests of a process share."""
    _ONE_RAY.start()
    yield
    _ONE_RAY.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where processes share the tests, Ray is there for its lot alone: idle, it costs a tenth of a
    core."""
    if not hasattr(item.config, "workerinput") or not _ONE_RAY.wanted:
        return
    if with_ray(item.nodeid.partition("::")[0]):
        _ONE_RAY.start()
    else:
        _ONE_RAY.stop()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures beside the repository; skips where there is none."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no real pictures at {path}")
    return path


@pytest.fixture(scope="session")
def minilm() -> Any:
    """The real text encoder that comes as a package, for texts of up to 32 tokens."""
    pytest.importorskip("transformers")
    from pipeline.text.encoder import TextEncoder

    return TextEncoder.load("minilm")
