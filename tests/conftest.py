"""What every test shares: one torch thread, one Ray for the whole run, the real data if there."""

import os
from collections.abc import Iterator
from pathlib import Path

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


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where two processes share the tests, those with Ray stay in one, so that it starts once; of
    the others a file is a unit, so that what its tests share is made once."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            with_ray = item.get_closest_marker("ray") is not None
            item.add_marker(pytest.mark.xdist_group("ray" if with_ray else item.path.name))


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
