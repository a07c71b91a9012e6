"""What the fault tests share: a small dataset, and runs that nothing interrupted."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from digit_set import write_digits

from jobs.train_stack import COMMAND

pytest.register_assert_rewrite("training_runs")
from training_runs import arguments  # noqa: E402


@pytest.fixture(scope="session")
def fault_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 100 digits in four shards."""
    path = tmp_path_factory.mktemp("faults") / "digits"
    write_digits(path, num_train=100, num_test=24, shard_rows=30)
    return path


@pytest.fixture(scope="session")
def whole_run(
    fault_digits: Path, tmp_path_factory: pytest.TempPathFactory, ray_cluster: None
) -> Callable[[int], Path]:
    """The output of a run of so many workers that nothing interrupted; one run for each number."""

    @cache
    def train(num_workers: int) -> Path:
        output = tmp_path_factory.mktemp("whole") / "run"
        words = arguments(fault_digits, output, num_workers=num_workers)
        assert COMMAND.run(words, "train-stack") == 0
        return output

    return train
