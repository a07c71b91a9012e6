"""Attacks in turn: later ones see the survivors alone, passes add up, and what any of the attacks
breaks alone is broken."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
import torch
from attack_driver import conv_network, lattice_pictures
from torch import Tensor

from pipeline.attacks.autoattack.brief_apgd import BriefApgd
from pipeline.attacks.autoattack.shrinking_apgd_l1 import ShrinkingApgdL1
from pipeline.attacks.base import Named, Norm, Queries, Rows, State, StepAttack, Stepped
from pipeline.attacks.engine.ensemble import AttackedInTurn, Ensemble, attack_in_turn, for_classes
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.apgd import Apgd
from pipeline.attacks.methods.autoattack import fast, standard
from pipeline.attacks.methods.fab import FabTargeted
from pipeline.attacks.methods.pgd import Pgd
from pipeline.attacks.methods.square import Square
from pipeline.attacks.methods.square_l1 import SquareL1
from pipeline.attacks.methods.square_l2 import SquareL2
from pipeline.attacks.trust.audit import Audit
from pipeline.errors import UserError
from pipeline.perturbation_terms import MARGIN

LINF8 = Ball(Norm.LINF, 8)


@dataclass
class Counted:
    """A model that notes how many rows each call has, and the pictures of one value."""

    model: Callable[[Tensor], Tensor]
    sizes: list[int] = field(default_factory=list)
    levels: list[list[int]] = field(default_factory=list)

    def __call__(self, x: Tensor) -> Tensor:
        self.sizes.append(x.shape[0])
        self.levels.append((x[:, 0, 0, 0] * 255).round().int().tolist())
        return self.model(x)


def level_model(x: Tensor) -> Tensor:
    """Logits ``(0, v)`` of pictures ``[N, 1, 1, 1]`` of v levels less 100."""
    v = (x * 255 - 100).flatten(1)
    return torch.cat((torch.zeros_like(v), v), dim=1)


def of_levels(*levels: int) -> Tensor:
    return torch.tensor(levels, dtype=torch.float32).reshape(-1, 1, 1, 1) / 255


@dataclass(frozen=True)
class Falls:
    """Asks at step s about the clean picture less ``falls[s]`` levels, where its row is one of
    ``rows``; else about the clean picture."""

    rows: tuple[int, ...]
    falls: tuple[int, ...]
    restarts: int = 1
    smallest: None = None

    @property
    def num_steps(self) -> int:
        return len(self.falls)

    def begin(self, rows: Rows) -> State:
        return {"begun": torch.ones_like(rows.row)}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        takes = torch.isin(rows.row, torch.tensor(self.rows))
        fall = (torch.tensor(self.falls)[rows.step] * takes).reshape(-1, 1, 1, 1)
        queries.logits(((rows.clean * 255).round() - fall) / 255)
        return Stepped(state)


# Row 5 is wrong from the start. The second attack breaks rows 1 and 2, and would break row 0.
PICTURES = of_levels(110, 110, 110, 110, 110, 90)
TOYS: tuple[Named, ...] = (
    ("first", Falls((0,), (3, 12), restarts=2)),
    ("second", Falls((0, 1, 2), (4, 5, 11))),
    ("third", Falls((3,), (7, 20))),
    ("fourth", Falls((4,), (9,))),
)


def in_turn(
    attacks: tuple[Named, ...],
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    **more: int,
) -> AttackedInTurn:
    return attack_in_turn(
        Ensemble(attacks), model, x, y, torch.arange(len(x)), **{"rows_per_call": 4, **more}
    )


def test_the_union_of_what_each_attack_breaks_is_broken_and_the_first_is_named() -> None:
    found = in_turn(TOYS, level_model, PICTURES, torch.ones(6, dtype=torch.int64))
    assert found.broken.tolist() == [True] * 4 + [False, True]
    assert found.clean_right.tolist() == [True] * 5 + [False]
    assert found.attack.tolist() == [0, 1, 1, 2, 3, 0]
    assert found.step.tolist() == [1, 2, 2, 1, 0, 0]
    # Row 4 stands: the nearest picture is the last attack's.
    levels = (found.adversarial.flatten() * 255).round().int().tolist()
    assert levels == [98, 99, 99, 90, 101, 90]
    torch.testing.assert_close(
        found.margin, torch.tensor([2.0, 1, 1, 10, -1, 10]), rtol=0, atol=1e-4
    )


def test_the_nearest_picture_of_a_row_that_stands_may_be_an_earlier_attacks() -> None:
    attacks = (("far", Falls((0,), (2,))), ("near", Falls((0,), (8,))), ("mid", Falls((0,), (5,))))
    found = in_turn(attacks, level_model, of_levels(110), torch.ones(1, dtype=torch.int64))
    assert found.broken.tolist() == [False]
    assert found.attack.tolist() == [1]
    assert found.margin.tolist() == pytest.approx([-2.0], abs=1e-4)


def test_later_attacks_ask_about_survivors_alone_and_passes_add_up() -> None:
    x, y = of_levels(110, 120, 130, 140, 150, 90), torch.ones(6, dtype=torch.int64)
    falls = (
        ("first", Falls((0,), (3, 12), restarts=2)),
        ("second", Falls((0, 1, 2), (4, 5, 31))),
        ("third", Falls((3,), (7, 60))),
        ("fourth", Falls((4,), (9,))),
    )
    model = Counted(level_model)
    found = in_turn(falls, model, x, y, rows_per_call=1)
    # One clean pass, and the steps of each attack that a row was given to: two of the first (four
    # where it begins twice), three of the second, two of the third and one of the fourth.
    first, second, third, fourth = 1 + 4, 3, 2, 1
    assert found.forwards.tolist() == [
        1 + 2,
        first + second,
        first + second,
        first + second + third,
        first + second + third + fourth,
        1,
    ]
    assert found.backwards.tolist() == [0] * 6
    # With one row a call, calls are passes.
    assert found.calls == len(model.sizes) == int(found.forwards.sum())
    # The fourth's call is about row 4 alone, the third's four before it about rows 3 and 4.
    asked = [level for (level,) in model.levels]
    assert asked[-1] == 141
    assert set(asked[-5:-1]) == {133, 80, 150}
    in_calls_of_four = in_turn(falls, Counted(level_model), x, y)
    assert torch.equal(in_calls_of_four.forwards, found.forwards)
    assert in_calls_of_four.calls < found.calls


def test_no_row_standing_costs_no_further_call() -> None:
    model = Counted(level_model)
    x, y = of_levels(110, 90), torch.ones(2, dtype=torch.int64)
    found = in_turn((("all", Falls((0,), (11,))), TOYS[1]), model, x, y)
    assert found.calls == len(model.sizes) == 2
    assert found.broken.all()


def test_the_same_attack_a_second_time_is_passed_over() -> None:
    again = (TOYS[0], ("again", Falls((0,), (3, 12), restarts=2)), TOYS[1])
    y = torch.ones(6, dtype=torch.int64)
    model = Counted(level_model)
    found = in_turn(again, model, PICTURES, y)
    once = in_turn((TOYS[0], TOYS[1]), level_model, PICTURES, y)
    assert found.calls == len(model.sizes) == once.calls
    assert found.attack.tolist() == [0, 2, 2, 0, 0, 0]


def test_no_rows_are_no_calls() -> None:
    model = Counted(level_model)
    none = torch.zeros(0, dtype=torch.int64)
    found = attack_in_turn(standard(LINF8), model, torch.zeros(0, 1, 1, 1), none, none)
    assert found.calls == len(model.sizes) == 0
    assert found.attack.shape == found.broken.shape == (0,)


def test_no_attack_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one attack"):
        in_turn((), level_model, PICTURES, torch.ones(6, dtype=torch.int64))


@pytest.mark.parametrize("attacks", [TOYS, standard(LINF8).attacks])
def test_calls_of_no_rows_are_refused(attacks: tuple[Named, ...]) -> None:
    with pytest.raises(ValueError, match="rows_per_call must be at least 1, not 0"):
        in_turn(attacks, level_model, PICTURES, torch.ones(6, dtype=torch.int64), rows_per_call=0)


def short(ball: Ball) -> tuple[Named, ...]:
    """As the standard ones, with fewer steps."""
    return (
        ("apgd_ce", Apgd(ball, 4)),
        ("apgd_targeted", Apgd(ball, 3, "targeted", restarts=9)),
        ("fab_targeted", FabTargeted(ball, 3)),
        ("square", Square(ball, 60)),
    )


def pictures() -> tuple[torch.nn.Module, Tensor, Tensor]:
    model, x = conv_network(), lattice_pictures(28, seed=4)
    y = model(x).argmax(dim=1)
    y[:2] = (y[:2] + 1) % 4
    return model, x, y


def test_the_verdicts_contain_those_of_each_attack_alone() -> None:
    model, x, y = pictures()
    ball = Ball(Norm.LINF, 6)
    found = in_turn(short(ball), model, x, y, rows_per_call=8, seed=3)
    union = torch.zeros(len(x), dtype=torch.bool)
    best = torch.full((len(x),), -torch.inf)
    for _, attack in short(ball):
        alone = attack_rows(
            for_classes(attack, 4), model, x, y, torch.arange(len(x)), rows_per_call=8, seed=3
        )
        assert not (alone.broken & ~found.broken).any()
        union |= alone.broken
        best = torch.maximum(best, alone.margin)
    assert torch.equal(found.broken, union)
    standing = ~found.broken
    assert 0 < standing.sum() < len(x)
    assert torch.equal(found.margin[standing], best[standing])
    # In a pass of its own each broken row is wrong, and its picture lies in the ball.
    logits = model(found.adversarial)
    own = logits.gather(1, y[:, None])
    margin = (logits.scatter(1, y[:, None], -torch.inf) - own).amax(dim=1)
    torch.testing.assert_close(margin, found.margin, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.margin > MARGIN, found.broken)
    assert ball.contains(found.adversarial, x).all()
    assert len(set(found.attack[found.broken & found.clean_right].tolist())) > 1


def fast_and_short(ball: Ball) -> Ensemble:
    """As the fast ones, with fewer steps, and every second row audited."""
    *dear, square = short(ball)
    return Ensemble(
        (
            ("apgd_ce", BriefApgd(ball, 8)),
            ("apgd_targeted", BriefApgd(ball, 8, "targeted", restarts=9)),
        ),
        audit=Audit(tuple(dear), 0.5, alarm=square),
    )


@pytest.mark.parametrize("version", [lambda ball: Ensemble(short(ball)), fast_and_short])
def test_rows_do_not_depend_on_their_order_and_capacity(
    version: Callable[[Ball], Ensemble],
) -> None:
    model, x, y = pictures()
    ensemble = version(Ball(Norm.LINF, 6))
    rows = torch.arange(len(x))
    wanted = attack_in_turn(ensemble, model, x, y, rows, rows_per_call=8)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    for capacity in (1, 5, 40):
        found = attack_in_turn(
            ensemble,
            model,
            x[order],
            y[order],
            rows[order],
            rows_per_call=8,
            capacity=capacity,
        )
        for name in (
            "adversarial",
            "margin",
            "broken",
            "attack",
            "audited",
            "step",
            "restart",
            "forwards",
            "backwards",
        ):
            assert torch.equal(getattr(found, name), getattr(wanted, name)[order]), name


@pytest.mark.parametrize(
    ("classes", "targeted", "fab"),
    [
        (10, Apgd(LINF8, 100, "targeted", 9), FabTargeted(LINF8, 100, 9)),
        (100, Apgd(LINF8, 100, "targeted", 9), FabTargeted(LINF8, 100, 9)),
        (4, Apgd(LINF8, 100, "targeted", 3), FabTargeted(LINF8, 100, 3)),
        (3, Apgd(LINF8, 100, "dlr"), FabTargeted(LINF8, 100, 2)),
        (2, Apgd(LINF8, 100, "ce"), FabTargeted(LINF8, 100, 1)),
    ],
)
def test_the_standard_attacks_aim_at_each_wrong_class_at_most_once(
    classes: int, targeted: StepAttack, fab: StepAttack
) -> None:
    assert [(name, for_classes(attack, classes)) for name, attack in standard(LINF8).attacks] == [
        ("apgd_ce", Apgd(LINF8, 100, "ce", 1)),
        ("apgd_targeted", targeted),
        ("fab_targeted", fab),
        ("square", Square(LINF8, 5000)),
    ]


def test_in_l2_square_is_that_of_l2() -> None:
    ball = Ball(Norm.L2, 100)
    assert standard(ball).names == standard(LINF8).names
    assert standard(ball).attacks[-1] == ("square", SquareL2(ball, 5000))


@pytest.mark.parametrize(
    ("classes", "targeted"), [(10, ("targeted", 5)), (4, ("targeted", 3)), (3, ("dlr", 1))]
)
def test_in_l1_auto_pgd_comes_in_from_larger_balls_five_times_and_to_five_classes(
    classes: int, targeted: tuple[Literal["targeted", "dlr"], int]
) -> None:
    ball = Ball(Norm.L1, 3000)
    assert [(name, for_classes(attack, classes)) for name, attack in standard(ball).attacks] == [
        ("apgd_ce", ShrinkingApgdL1(ball, 100, "ce", 5)),
        ("apgd_targeted", ShrinkingApgdL1(ball, 100, *targeted)),
        ("fab_targeted", FabTargeted(ball, 100, min(9, classes - 1))),
        ("square", SquareL1(ball, 5000)),
    ]


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_with_few_classes_each_is_aimed_at_once(classes: int) -> None:
    """On logits without a gradient no row is broken, so all passes are made, and can be counted."""

    def flat(x: Tensor) -> Tensor:
        logits = torch.zeros(len(x), classes) + 0 * x.sum(dim=(1, 2, 3))[:, None]
        return logits + torch.arange(classes).flip(0)

    x, y = lattice_pictures(3), torch.zeros(3, dtype=torch.int64)
    model = Counted(flat)
    found = in_turn(short(LINF8), model, x, y)
    assert found.calls == len(model.sizes)
    assert set(model.sizes) == {4}
    # A beginning of Auto-PGD takes its steps and a look; one of FAB, stuck, three passes. Square
    # asks about what its draws change.
    alone = attack_rows(Square(LINF8, 60), flat, x, y, torch.arange(3), rows_per_call=4)
    clean, ce = 1, 5
    # With two classes the cross-entropy again, here with other steps, so it is not passed over.
    targeted = {2: 4, 3: 4, 4: 3 * 4}[classes]
    fab = 3 * (classes - 1)
    assert (alone.forwards > 1 + 20).all()
    assert torch.equal(found.forwards, clean + ce + targeted + fab + alone.forwards - 1)
    assert not found.broken.any()


def test_weak_steps_first_leave_fewer_rows_to_the_strong_ones() -> None:
    model, x, y = pictures()
    ball = Ball(Norm.LINF, 6)
    weak: Named = ("pgd", Pgd(ball, 3))
    attacks = short(ball)
    before, after = in_turn(attacks, model, x, y), in_turn((weak, *attacks), model, x, y)
    assert not (before.broken & ~after.broken).any()
    assert (after.attack == 0)[after.broken].any()


def many_levels(num: int) -> tuple[Tensor, Tensor, Tensor]:
    return of_levels(*[110] * num), torch.ones(num, dtype=torch.int64), torch.arange(num)


def test_the_audit_is_given_to_a_keyed_sample_of_what_stands_and_to_no_other_row() -> None:
    x, y, rows = many_levels(400)
    weak: Named = ("weak", Falls(tuple(range(0, 400, 2)), (11,)))
    ensemble = Ensemble((weak,), audit=Audit((("strong", Falls((7, 9, 11), (12,))),), 0.25))
    found = attack_in_turn(ensemble, level_model, x, y, rows, seed=5)
    # Every second row is broken before; of the other 200 a quarter is drawn: binomial, sd 6.1.
    assert not found.audited[::2].any()
    assert abs(int(found.audited.sum()) - 50) < 4 * 6.2
    assert torch.equal(found.forwards, 2 + found.audited.long())
    struck = torch.isin(rows, torch.tensor([7, 9, 11])) & found.audited
    assert torch.equal(found.overturned, struck)
    assert torch.equal(found.broken, (rows % 2 == 0) | struck)
    assert ensemble.names == ("weak", "strong")
    assert torch.equal(found.attack, struck.long())
    # In another company the same rows are drawn, and others with another seed.
    alone = attack_in_turn(ensemble, level_model, x[301:], y[301:], rows[301:], seed=5)
    assert torch.equal(alone.audited, found.audited[301:])
    other = attack_in_turn(ensemble, level_model, x, y, rows, seed=6)
    assert not torch.equal(other.audited, found.audited)


def test_an_alarm_that_goes_off_is_given_to_all_where_that_is_wanted_and_the_audit_is_not() -> None:
    x, y, rows = many_levels(60)
    weak: Named = ("weak", Falls((), (11,)))

    def ensemble(strong: tuple[int, ...], struck: tuple[int, ...]) -> Ensemble:
        dear: Named = ("strong", Falls(strong, (12,)))
        return Ensemble((weak,), audit=Audit((dear,), 0.2, alarm=("alarm", Falls(struck, (12,)))))

    def audited(strong: tuple[int, ...], struck: tuple[int, ...], widen: bool) -> AttackedInTurn:
        return attack_in_turn(ensemble(strong, struck), level_model, x, y, rows, widen=widen)

    sample = audited((), (), False).audited
    assert 0 < sample.sum() < 60
    inside, other = rows[sample][:2].tolist()
    outside = int(rows[~sample][0])
    # What would break outside of the sample is not seen, nor what the dear attacks break there;
    for widen in (False, True):
        found = audited((outside,), (outside,), widen)
        assert not found.broken.any()
        assert torch.equal(found.audited, sample)
    # what both would break in it is no alarm;
    found = audited((inside, outside), (inside, outside), True)
    assert found.overturned.nonzero().flatten().tolist() == [inside]
    assert torch.equal(found.overturned, found.broken)
    assert not found.alarming.any()
    # what the alarm alone breaks in it is one.
    found = audited((other, outside), (inside,), False)
    assert found.alarming.nonzero().flatten().tolist() == [inside]
    assert found.audited.nonzero().flatten().tolist() == sorted(
        set(rows[sample].tolist()) - {inside}
    )
    assert found.overturned.nonzero().flatten().tolist() == [other]
    chosen = ensemble((other,), (inside, outside))
    found = attack_in_turn(chosen, level_model, x, y, rows, widen=True)
    assert found.alarming.nonzero().flatten().tolist() == sorted((inside, outside))
    assert int(found.broken.sum()) == 3
    # The clean picture, the weak attack, the strong one in the sample, and the alarm.
    wanted = 1 + 1 + sample.long() + (rows != other)
    assert torch.equal(found.forwards, wanted)
    whole = attack_in_turn(chosen.widened(), level_model, x, y, rows)
    for name in ("adversarial", "margin", "attack", "alarming", "audited", "forwards"):
        assert torch.equal(getattr(whole, name), getattr(found, name)), name


def test_an_audited_row_has_the_verdict_of_the_standard_attacks() -> None:
    model, x, y = pictures()
    ball = Ball(Norm.LINF, 6)
    ensemble = fast_and_short(ball)
    assert ensemble.audit is not None
    ensemble = replace(ensemble, audit=replace(ensemble.audit, share=1.0))
    found = attack_in_turn(ensemble, model, x, y, torch.arange(len(x)), rows_per_call=8)
    wanted = in_turn(short(ball), model, x, y, rows_per_call=8)
    assert not (wanted.broken & ~found.broken).any()
    assert 0 < found.audited.sum() < len(x)


def test_the_fast_attacks_are_audited_by_the_standard_ones() -> None:
    assert fast(LINF8).names == (
        "apgd_ce",
        "apgd_targeted",
        "fab_targeted",
        "square",
        "audit_apgd_ce",
        "audit_apgd_targeted",
        "audit_fab_targeted",
        "audit_square",
    )
    audit = fast(LINF8).audit
    assert audit is not None
    assert [attack for _, attack in audit.named] == [a for _, a in standard(LINF8).attacks]
    assert audit.alarm == ("audit_square", Square(LINF8, 5000))
    with pytest.raises(UserError, match="norms linf and l2, not l1"):
        fast(Ball(Norm.L1, 100))


def test_logits_that_are_known_are_not_asked_for_and_change_nothing() -> None:
    model, x, y = pictures()
    counted = Counted(model)
    rows, ensemble = torch.arange(len(x)), Ensemble(short(Ball(Norm.LINF, 6)))
    asked = attack_in_turn(ensemble, model, x, y, rows, rows_per_call=28)
    with torch.no_grad():
        logits = model(x)
    known = attack_in_turn(ensemble, counted, x, y, rows, rows_per_call=28, logits=logits)
    for name in ("adversarial", "margin", "forwards", "backwards", "attack"):
        assert torch.equal(getattr(known, name), getattr(asked, name)), name
    assert known.calls == asked.calls - 1 == len(counted.sizes)
