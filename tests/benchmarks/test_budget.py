"""Training for so much CPU time: each row once an epoch, and an end where the time ends."""

from itertools import islice

import numpy as np
import pytest
import torch
from small_stack import SPEC

from benchmarks import budget
from benchmarks.budget import batches, train_for
from pipeline.training.trainer import Recipe, StackTrainer
from pipeline.training.weighting import WEIGHTINGS


def test_each_row_comes_once_an_epoch_in_another_order_each_time() -> None:
    rows = np.concatenate(list(islice(batches(10, 4, seed=1), 5)))
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:])
    assert all(len(batch) == 12 for batch in islice(batches(5, 12, seed=1), 3))


def test_the_run_and_its_rate_end_with_the_time_however_long_a_step_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = Recipe(1000, 4, (1.0, 0.5), 1e-2, 2, 100.0, 0.1, 1.0, WEIGHTINGS["edm"], seed=3)
    pictures = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1)).astype(np.uint8)
    labels = torch.arange(9) % 3
    rates: list[float] = []
    update = StackTrainer.update

    def noted(self: StackTrainer, *given: torch.Tensor) -> tuple[float, ...]:
        rates.append(self.recipe.learning_rate_at(self.step))
        return update(self, *given)

    monkeypatch.setattr(StackTrainer, "update", noted)
    for seconds_a_step in (5.0, 12.5):
        rates.clear()
        clock = iter(np.arange(0, 200, seconds_a_step))
        monkeypatch.setattr(budget.time, "process_time", lambda clock=clock: float(next(clock)))
        said: list[str] = []
        trained = train_for(100.0, SPEC, recipe, pictures, lambda rows: labels[rows], said.append)
        assert trained.steps == len(rates) == round(100 / seconds_a_step)
        assert trained.cpu_seconds == 100.0
        assert max(rates) > 0.8e-2
        assert rates[-1] < 1e-3
        assert np.all(np.diff(rates[3:]) < 0)
        assert len(trained.losses) == 2
        assert 8 <= len(said) <= 20
    start = budget.Stack.fresh(SPEC, 3).state_dict()
    moved = trained.stack.state_dict()
    assert any(not torch.equal(start[name], moved[name]) for name in start)
