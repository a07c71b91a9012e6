"""Drives an attack over rows so that the model's calls stay full and no row is asked in vain.

A row leaves at the step at which it is broken, and the next one takes its place at once: on a model
that few steps break, forty-step PGD costs some five gradients a picture and not forty. Rows are
asked about in calls of fixed sizes and draw noise by keys of their own, so what comes out of a
row does not depend on which rows were there, in which order, or how many at a time.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.base import Model, Rows, State, StepAttack, row_norm
from pipeline.attacks.engine.queries import Asker, NotedQueries
from pipeline.attacks.engine.restarts import Beginnings
from pipeline.errors import UserError
from pipeline.perturbation_terms import MARGIN
from pipeline.precision import full_float32

# Rows in work at a time: of so many calls, which spreads what a step costs besides them and leaves
# few calls half filled; and of at most so many values, 1 MiB a tensor.
_CALLS_AT_A_TIME = 4
_CACHED_VALUES = 1 << 18
# Beginnings go ahead of their turn while fewer rows are in work than this part of those that a call
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
        zeros = torch.zeros(num, dtype=torch.int64, device=x.device)
        asked = logits is None
        if logits is None:
            logits = self._asker.logits(x, targets) if num else x.new_zeros(0, 2)
        # Of each row.
        self._rows: State = {
            "clean": x,
            "label": y.to(x.device),
            "row": rows.to(x.device),
            "logits": logits,
            "best": x.clone(),
            "found_step": zeros.clone(),
            "found_restart": zeros.clone(),
            "forwards": zeros + asked,
            "backwards": zeros.clone(),
        }
        # What of a row is the same for each of its beginnings.
        self._given = ["clean", "label", "row", "logits"]
        if targets is not None:
            self._rows["target"] = targets.to(x.device)
            self._given.append("target")
        # Of each beginning of each row.
        by_restart = (num, attack.restarts)
        self._passes = {name: zeros.new_zeros(by_restart) for name in ("forwards", "backwards")}
        finite = self._rows["logits"].isfinite().all(dim=1)
        if not bool(finite.all()):
            row = int(self._rows["row"][~finite][0])
            raise UserError(
                f"the classifier's logits for row {row} are not finite numbers; look at its "
                "weights and at the range of the pictures"
            )
        margin = losses.margin(self._rows["logits"], self._rows["label"])
        self._clean_right = self._rows["logits"].argmax(dim=1) == self._rows["label"]
        self._rows["margin"] = margin
        self._rows["score"] = self._score(margin, x, x)
        self._clean = {name: self._rows[name].clone() for name in ("score", "margin")}
        self._beginnings = Beginnings(
            self._clean_right.nonzero().flatten().tolist(), num, attack.restarts, x.device
        )
        self._full = rows_per_call
        self._fill = int(self._asker.rows_to_fill * _AHEAD)

    def take_all(self, capacity: int) -> None:
        """Works on all rows, at most ``capacity`` beginnings at a time."""
        beginnings, attack = self._beginnings, self._attack
        active: State = {}
        state: State = {}
        while True:
            num = len(active["index"]) if active else 0
            new = beginnings.due(capacity - num)
            num += len(new)
            few, full = (min(rows, capacity) - num for rows in (self._fill, self._full))
            new += beginnings.ahead(few, full)
            if new:
                begun = self._begin(new)
                begun_state = attack.begin(_view(begun, self._seed))
                active = _join(active, begun)
                state = _join(state, begun_state)
            if not active:
                return
            queries = NotedQueries(self._asker, active, self._score)
            state = attack.step(_view(active, self._seed), state, queries)
            active["step"] = active["step"] + state.pop("taken", 1)
            # Where the smallest change is looked for, a broken row goes on.
            won = (active["margin"] > MARGIN) & (attack.smallest is None)
            leave = (active["step"] >= attack.num_steps) | won
            if "done" in state:
                leave = leave | state["done"]
            if bool(leave.any()):
                beginnings.has_broken(active["index"][won], active["restart"][won])
                counts = beginnings.counts(active["index"], active["restart"])
                self._put_back(_pick(active, leave & counts), won[leave & counts])
                leave = leave | ~counts
                beginnings.end(active["index"][leave])
                keep = ~leave
                active = _pick(active, keep) if bool(keep.any()) else {}
                state = _pick(state, keep) if active else {}

    def result(self) -> Attacked:
        """What has come of all rows."""
        rows = self._rows
        forwards, backwards = (
            rows[name] + self._beginnings.sum_of_counting(self._passes[name])
            for name in ("forwards", "backwards")
        )
        return Attacked(
            rows["best"],
            rows["margin"],
            rows["margin"] > MARGIN,
            rows["found_step"],
            rows["found_restart"],
            forwards,
            backwards,
            self._clean_right,
            self._asker.calls,
        )

    def _begin(self, new: list[tuple[int, int]]) -> State:
        """Rows at a beginning, which knows nothing of the row's others."""
        index = torch.tensor([i for i, _ in new], device=self._rows["clean"].device)
        restart = torch.tensor([r for _, r in new], device=index.device)
        nothing = torch.zeros_like(index)
        begun = {name: self._rows[name][index] for name in self._given}
        clean = {name: self._clean[name][index] for name in ("score", "margin")}
        zeros = ("step", "found_step", "found_restart", *self._passes)
        return {
            **begun,
            **clean,
            **dict.fromkeys(zeros, nothing),
            "best": begun["clean"],
            "index": index,
            "restart": restart,
        }

    def _put_back(self, left: State, won: Tensor) -> None:
        """Keeps what came of beginnings at their end, if it is better than what the row has."""
        for restart in left["restart"].unique().tolist():  # a row once in each
            this = left["restart"] == restart
            one, at = _pick(left, this), left["index"][this]
            for name, counted in self._passes.items():
                counted[at, restart] = one[name]
            score, has = one["score"], self._rows["score"][at]
            # In turn, the first of two that are as good would have stayed. And what breaks a row
            # is what it comes to: that of a later beginning may lead by more.
            earlier = one["found_restart"] < self._rows["found_restart"][at]
            better = (score > has) | ((score == has) & earlier) | won[this]
            for name in ("best", "score", "margin", "found_step", "found_restart"):
                self._rows[name][at[better]] = one[name][better]

    def _score(self, margin: Tensor, x: Tensor, clean: Tensor) -> Tensor:
        """What makes one picture better than another, float64 ``[N]``: the margin; or, where the
        smallest change is looked for, first whether it breaks the row and then how small it is."""
        norm = self._attack.smallest
        if norm is None:
            return margin.double()
        size = row_norm((x - clean).double(), norm).flatten()
        return torch.where(margin > MARGIN, -size, -1e9 + margin.double())


def _view(active: State, seed: int) -> Rows:
    return Rows(
        active["clean"],
        active["label"],
        active["logits"],
        active["row"],
        active["restart"],
        active["step"],
        seed,
    )


def _join(first: State, second: State) -> State:
    return {k: torch.cat((first[k], v)) for k, v in second.items()} if first else second


def _pick(rows: State, chosen: Tensor) -> State:
    return {name: values[chosen] for name, values in rows.items()}


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
