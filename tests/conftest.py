"""What every test shares: one torch thread, one Ray for the whole run, the real data if there."""

import os
from collections.abc import Iterator
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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where two processes share the tests, the files with Ray in them stay in one: it starts once.

    Of the others a file is a unit, so that what its tests share is made once.
    (The groups of pytest-xdist 3.8 would say so more plainly; pytest 9.2 passes over them.)
    """
    from xdist.scheduler import LoadFileScheduling

    @cache
    def with_ray(file: str) -> bool:
        return "mark.ray" in (ROOT / file).read_text(encoding="utf-8")

    class RayInOne(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "ray" if with_ray(file) else file

    return RayInOne(config, log)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """The one Ray session of the test run: private, on loopback, with CPUs enough not to starve."""
    from noisestack.session import ray_session

    with ray_session(num_cpus=8):
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures beside the repository; skips where there is none."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no real pictures at {path}")
    return path
