"""Restarts that go ahead of their turn: fewer calls, and to the last bit what comes in turn."""

from dataclasses import dataclass, fields

import pytest
import torch
from torch import Tensor

from pipeline.attacks.base import Norm, Queries, Rows, State, Stepped
from pipeline.attacks.engine.loop import Attacked, attack_rows
from pipeline.attacks.engine.restarts import Restarts

CPU = torch.device("cpu")
STEPS, RESTARTS = 4, 5


def level_model(x: Tensor) -> Tensor:
    """Logits ``(0, v)`` of pictures ``[N, 1, 1, 1]`` of v levels less 100."""
    v = (x * 255 - 100).flatten(1)
    return torch.cat((torch.zeros_like(v), v), dim=1)


@dataclass(frozen=True)
class Fated:
    """Asks at each step of each restart about the clean picture less as many levels as a table
    says for the row; some restarts are done before their last step."""

    smallest: Norm | None = None
    restarts: int = RESTARTS
    num_steps: int = STEPS

    def begin(self, rows: Rows) -> State:
        return {}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        generator = torch.Generator().manual_seed(0)
        falls = torch.randint(0, 34, (100, RESTARTS, STEPS), generator=generator)
        last = torch.randint(0, 2 * STEPS, (100, RESTARTS), generator=generator)
        fall = falls[rows.row, rows.restart, rows.step].reshape(-1, 1, 1, 1)
        wanted = (rows.row + rows.restart) % 2 == 0
        x = ((rows.clean * 255).round() - fall) / 255
        queries.gradient(x, lambda z, y: z[:, 0] - z[:, 1], wanted=wanted)
        return Stepped({}, done=rows.step >= last[rows.row, rows.restart])


def run(attack: Fated, rows: Tensor, capacity: int | None) -> Attacked:
    x = torch.full((len(rows), 1, 1, 1), 130 / 255)
    return attack_rows(
        attack, level_model, x, torch.ones_like(rows), rows, rows_per_call=64, capacity=capacity
    )


@pytest.mark.parametrize("smallest", [None, Norm.LINF])
@pytest.mark.parametrize("together", [1, 4, 40])
def test_what_goes_ahead_changes_no_row_and_no_count(together: int, smallest: Norm | None) -> None:
    attack, found, calls = Fated(smallest), [], torch.zeros(2)
    for rows in torch.arange(60).split(together):
        # One at a time, every restart waits for its turn.
        in_turn, ahead = (run(attack, rows, capacity) for capacity in (1, None))
        for field in fields(Attacked):
            if field.name != "calls":
                a, b = getattr(in_turn, field.name), getattr(ahead, field.name)
                assert torch.equal(a, b), field.name
        found.append(ahead)
        calls += torch.tensor([in_turn.calls, ahead.calls])
    assert calls[1] < calls[0]
    # All that can come has come.
    broken, restart = (torch.cat([getattr(f, n) for f in found]) for n in ("broken", "restart"))
    assert set(restart[broken].tolist()) == set(range(RESTARTS))
    assert 0 < (~broken).sum() < len(broken)


def test_all_restarts_of_one_row_go_into_the_same_calls() -> None:
    ahead = run(Fated(Norm.LINF), torch.tensor([0]), None)
    assert ahead.calls == 1 + STEPS


def test_restarts_ahead_are_the_lowest_that_are_left_and_none_beyond_one_that_broke() -> None:
    queue = Restarts([0, 1, 2], 4, 5, CPU)
    assert queue.due(2) == [(0, 0), (1, 0)]
    assert queue.ahead(9, 9) == []  # row 2 has not begun at all
    assert queue.due(2) == [(2, 0)]
    assert queue.ahead(4, 4) == [(0, 1), (1, 1), (2, 1), (0, 2)]
    queue.has_broken(torch.tensor([1]), torch.tensor([1]))
    assert queue.ahead(3, 3) == [(2, 2), (0, 3), (2, 3)]
    rows, restarts = torch.tensor([1, 1, 1, 0]), torch.tensor([0, 1, 2, 2])
    assert queue.counts(rows, restarts).tolist() == [True, True, False, True]
    passes = torch.arange(20).reshape(4, 5)
    # Row 1's up to its first that broke it, and all of the others'.
    sums = [0 + 1 + 2 + 3 + 4, 5 + 6, 10 + 11 + 12 + 13 + 14, 15 + 16 + 17 + 18 + 19]
    assert queue.sum_of_counting(passes).tolist() == sums


def test_restarts_of_rows_that_have_withstood_one_fill_a_whole_call() -> None:
    queue = Restarts([0, 1, 2], 3, 4, CPU)
    assert queue.due(3) == [(0, 0), (1, 0), (2, 0)]
    assert queue.ahead(1, 5) == [(0, 1)]
    queue.end(torch.tensor([1]))
    assert queue.due(9) == [(1, 1)]
    # Row 1 alone is known to withstand: the others stay below the lower limit.
    assert queue.ahead(0, 5) == [(1, 2), (1, 3)]
    assert queue.ahead(2, 5) == [(2, 1), (0, 2)]


def test_a_row_whose_last_restart_in_work_ends_has_its_next_one_due() -> None:
    queue = Restarts([0], 1, 3, CPU)
    queue.due(1)
    queue.ahead(1, 1)
    queue.end(torch.tensor([0]))
    assert queue.due(9) == []
    queue.end(torch.tensor([0]))
    assert queue.due(9) == [(0, 2)]
    queue.end(torch.tensor([0]))
    assert queue.due(9) == queue.ahead(9, 9) == []
