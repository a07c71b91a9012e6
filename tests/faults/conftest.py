"""What the fault tests share: a small dataset, and runs that nothing interrupted."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from digit_set import write_digits
from in_this_process import train_here

from jobs.train_stack import COMMAND

pytest.register_assert_rewrite("training_runs", "batch_runs")
from batch_runs import Batch, make_batch  # noqa: E402
from training_runs import arguments  # noqa: E402


@pytest.fixture(scope="session")
def fault_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 100 digits in four shards."""
    path = tmp_path_factory.mktemp("faults") / "digits"
    write_digits(path, num_train=100, num_test=24, shard_rows=30)
    return path


@pytest.fixture(scope="session")
def whole_run(
    fault_digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """The output of a run of so many workers that nothing interrupted; one run for each number.

    Without Ray, which may change no bit.
    """

    @cache
    def train(num_workers: int) -> Path:
        output = tmp_path_factory.mktemp("whole") / "run"
        here = {"num_workers": num_workers if num_workers > 1 else 0, "data": "resident"}
        with pytest.MonkeyPatch.context() as patch:
            train_here(patch)
            assert COMMAND.run(arguments(fault_digits, output, **here), "train-stack") == 0
        return output

    return train


@pytest.fixture(scope="session")
def whole_batch(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[Batch, Path]]:
    """A batch job without its output, and the set that it made when nothing interrupted it."""

    @cache
    def make(job: str) -> tuple[Batch, Path]:
        batch = make_batch(job, tmp_path_factory.mktemp("batch"))
        return batch, batch.run_whole()

    return make
