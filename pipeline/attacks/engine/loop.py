"""Drives an attack over rows so that the model's calls stay full and no row is asked in vain.

A row leaves at the step at which it is broken, and the next one takes its place at once: on a model
that few steps break, forty-step PGD costs some five gradients a picture and not forty. Rows are
asked about in calls of fixed sizes and draw noise by keys of their own, so what comes out of a
row does not depend on which rows were there, in which order, or how many at a time.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.base import Model, State, StepAttack, row_norm
from pipeline.attacks.engine.active import Active
from pipeline.attacks.engine.queries import Asker, NotedQueries
from pipeline.attacks.engine.restarts import Restarts
from pipeline.errors import UserError
from pipeline.perturbation_terms import MARGIN
from pipeline.precision import full_float32

# Rows in work at a time: of so many calls, which spreads what a step costs besides them and leaves
# few calls half filled; and of at most so many values, 1 MiB a tensor.
_CALLS_AT_A_TIME = 4
_CACHED_VALUES = 1 << 18
# Restarts go ahead of their turn while fewer rows are in work than this part of those that a call
# is worth filling to.
_AHEAD = 0.5


@dataclass(frozen=True)
class Attacked:
    """What came of an attack on N rows.

    Attributes:
        adversarial: float32 ``[N, C, H, W]``: lattice points (whole levels divided by 255). Of a
            broken row one that breaks it, else the one that came nearest to it; the clean picture
            where the answer was wrong from the start.
        margin: float32 ``[N]``: how far another class leads there, in logits; below 0 the answer
            is right.
        broken: bool ``[N]``: whether the margin exceeds `perturbation_terms.MARGIN`.
        step, restart: int64 ``[N]``: when the picture was found; both 0 for the clean one.
        forwards, backwards: int64 ``[N]``: the passes that each row was asked, the one of the clean
            picture included where its logits were not known.
        clean_right: bool ``[N]``: whether the clean picture is answered rightly.
        calls: of the model.
    """

    adversarial: Tensor
    margin: Tensor
    broken: Tensor
    step: Tensor
    restart: Tensor
    forwards: Tensor
    backwards: Tensor
    clean_right: Tensor
    calls: int


@full_float32()
def attack_rows(
    attack: StepAttack,
    model: Model,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    *,
    seed: int = 0,
    rows_per_call: int = 64,
    capacity: int | None = None,
    logits: Tensor | None = None,
    targets: Tensor | None = None,
) -> Attacked:
    """Attacks rows until each is broken or has had all its steps and restarts.

    Args:
        model: see `pipeline.attacks`; receives no gradients in its parameters.
        x: float32 ``[N, C, H, W]``, whole levels divided by 255.
        y: int64 ``[N]``, the true labels.
        rows: int64 ``[N]``, row numbers in the dataset; they key the randomness.
        seed: keys it as well.
        rows_per_call: rows in a full call of the model; see `smaller_calls` for others.
        capacity: rows that are worked on at a time; by default those of a few calls, while a few
            dozen tensors of their pictures fit in a CPU's cache. Changes no bit.
        logits: the model's for ``x``, ``[N, K]``, where they are known: then the clean pictures
            are not asked about, nor counted. With targets, their two of `aim.towards`.
        targets: int64 ``[N]``, the classes to be answered: each row is then judged by two logits,
            of which the right answer, ``y``, is 0. None for any wrong answer.

    Raises:
        ValueError: x, y, rows, rows_per_call or capacity are not what they should be.
        UserError: the model's logits for a clean picture are not finite.
    """
    _check(x, y, rows)
    for name, value in (("rows_per_call", rows_per_call), ("capacity", capacity)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if capacity is None:
        fitting = _CACHED_VALUES // max(1, x[:1].numel())
        calls = min(max(1, fitting // rows_per_call), _CALLS_AT_A_TIME)
        capacity = calls * rows_per_call
    run = _Run(attack, model, x, y, rows, seed, rows_per_call, logits, targets)
    if x.shape[0]:
        run.take_all(capacity)
    return run.result()


class _Run:
    """One call of `attack_rows`."""

    def __init__(
        self,
        attack: StepAttack,
        model: Model,
        x: Tensor,
        y: Tensor,
        rows: Tensor,
        seed: int,
        rows_per_call: int,
        logits: Tensor | None,
        targets: Tensor | None,
    ) -> None:
        self._attack, self._seed = attack, seed
        self._asker = Asker(model, rows_per_call, x)
        num = x.shape[0]
        asked = logits is None
        if logits is None:
            logits = self._asker.logits(x, targets) if num else x.new_zeros(0, 2)
        label, row = y.to(x.device), rows.to(x.device)
        finite = logits.isfinite().all(dim=1)
        if not bool(finite.all()):
            raise UserError(
                f"the classifier's logits for row {int(row[~finite][0])} are not finite numbers; "
                "look at its weights and at the range of the pictures"
            )
        margin = losses.margin(logits, label)
        self._clean_right = logits.argmax(dim=1) == label
        target = None if targets is None else targets.to(x.device)
        score = self._score(margin, x, x)
        # As each restart of a row begins, and what has come of the rows.
        self._clean = Active.at_clean(x, label, row, logits, target, margin, score)
        self._rows = self._clean.pick(self._clean.index)
        self._rows.forwards += asked
        self._passes = {  # of each restart of each row
            name: label.new_zeros(num, attack.restarts) for name in ("forwards", "backwards")
        }
        self._restarts = Restarts(
            self._clean_right.nonzero().flatten().tolist(), num, attack.restarts, x.device
        )
        self._full = rows_per_call
        self._fill = int(self._asker.rows_to_fill * _AHEAD)

    def take_all(self, capacity: int) -> None:
        """Works on all rows, at most ``capacity`` restarts at a time."""
        restarts, attack = self._restarts, self._attack
        active: Active | None = None
        state: State = {}
        while True:
            num = len(active) if active else 0
            new = restarts.due(capacity - num)
            num += len(new)
            few, full = (min(rows, capacity) - num for rows in (self._fill, self._full))
            new += restarts.ahead(few, full)
            if new:
                fresh = self._begin(new)
                state = _join(state, attack.begin(fresh.view(self._seed)))
                active = active.join(fresh) if active else fresh
            if not active:
                return
            queries = NotedQueries(self._asker, active, self._score)
            stepped = attack.step(active.view(self._seed), state, queries)
            active.step = active.step + stepped.taken
            # Where the smallest change is looked for, a broken row goes on.
            won = (active.margin > MARGIN) & (attack.smallest is None)
            leave = (active.step >= attack.num_steps) | won | stepped.done
            state = stepped.state
            if bool(leave.any()):
                restarts.has_broken(active.index[won], active.restart[won])
                counts = restarts.counts(active.index, active.restart)
                self._put_back(active.pick(leave & counts), won[leave & counts])
                leave = leave | ~counts
                restarts.end(active.index[leave])
                active = active.pick(~leave)
                state = {name: values[~leave] for name, values in state.items()} if active else {}

    def result(self) -> Attacked:
        """What has come of all rows."""
        rows = self._rows
        forwards, backwards = (
            own + self._restarts.sum_of_counting(self._passes[name])
            for name, own in (("forwards", rows.forwards), ("backwards", rows.backwards))
        )
        return Attacked(
            rows.best,
            rows.margin,
            rows.margin > MARGIN,
            rows.found_step,
            rows.found_restart,
            forwards,
            backwards,
            self._clean_right,
            self._asker.calls,
        )

    def _begin(self, new: list[tuple[int, int]]) -> Active:
        """Rows at a restart, which knows nothing of the row's others."""
        index, restart = torch.tensor(new, device=self._clean.index.device).unbind(1)
        return replace(self._clean.pick(index), restart=restart)

    def _put_back(self, left: Active, won: Tensor) -> None:
        """Keeps what came of restarts at their end, if it is better than what the row has."""
        rows = self._rows
        for restart in left.restart.unique().tolist():  # a row once in each
            this = left.restart == restart
            one = left.pick(this)
            at = one.index
            self._passes["forwards"][at, restart] = one.forwards
            self._passes["backwards"][at, restart] = one.backwards
            has = rows.score[at]
            # In turn, the first of two that are as good would have stayed. And what breaks a row
            # is what it comes to: that of a later restart may lead by more.
            earlier = one.found_restart < rows.found_restart[at]
            better = (one.score > has) | ((one.score == has) & earlier) | won[this]
            for name in ("best", "score", "margin", "found_step", "found_restart"):
                getattr(rows, name)[at[better]] = getattr(one, name)[better]

    def _score(self, margin: Tensor, x: Tensor, clean: Tensor) -> Tensor:
        """The score by which pictures of a row are compared, float64 ``[N]``.

        It is the margin. Where the smallest change is wanted, a picture that breaks the row comes
        first, and then the smaller change.
        """
        norm = self._attack.smallest
        if norm is None:
            return margin.double()
        size = row_norm((x - clean).double(), norm).flatten()
        return torch.where(margin > MARGIN, -size, -1e9 + margin.double())


def _join(first: State, second: State) -> State:
    return {k: torch.cat((first[k], v)) for k, v in second.items()} if first else second


def _check(x: Tensor, y: Tensor, rows: Tensor) -> None:
    """Refuse what an attack cannot mean (ValueError: a caller's defect, not a user's mistake)."""
    if x.dtype != torch.float32 or x.ndim != 4:
        raise ValueError(f"x must be float32 [N, C, H, W], not {x.dtype} {list(x.shape)}")
    for name, values in (("y", y), ("rows", rows)):
        if values.shape != x.shape[:1] or values.dtype != torch.int64:
            raise ValueError(
                f"{name} must be int64 [{x.shape[0]}], not {values.dtype} {list(values.shape)}"
            )
    levels = x * 255
    if x.numel() and not bool(((levels - levels.round()).abs() < 1e-3).all()):
        raise ValueError("x must be whole levels divided by 255")
    if x.numel() and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError("x must lie in [0, 1]")
