"""The engine: full calls, exact counts, the best picture kept, and rows that know no neighbours."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import pytest
import torch
from attack_driver import conv_network, lattice_pictures
from torch import Tensor, nn

from pipeline.attacks import losses
from pipeline.attacks.base import (
    MOST_RESTARTS,
    MOST_STEPS,
    Norm,
    Queries,
    Rows,
    State,
    StepAttack,
    Stepped,
)
from pipeline.attacks.engine.loop import Attacked, attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.apgd import Apgd
from pipeline.attacks.methods.ascent import Ascent
from pipeline.attacks.methods.fgsm import fgsm
from pipeline.attacks.methods.mi_fgsm import MiFgsm
from pipeline.attacks.methods.pgd import Pgd
from pipeline.attacks.methods.square import Square
from pipeline.errors import UserError
from pipeline.perturbation_terms import MARGIN

LINF8 = Ball(Norm.LINF, 8)


@dataclass
class Counted:
    """A model that notes how many rows each call has."""

    model: Callable[[Tensor], Tensor]
    sizes: list[int] = field(default_factory=list)

    def __call__(self, x: Tensor) -> Tensor:
        self.sizes.append(x.shape[0])
        return self.model(x)


def level_model(x: Tensor) -> Tensor:
    """Logits ``(0, v)`` of pictures ``[N, 1, 1, 1]`` of v levels less 100."""
    v = (x * 255 - 100).flatten(1)
    return torch.cat((torch.zeros_like(v), v), dim=1)


def of_levels(*levels: int) -> Tensor:
    return torch.tensor(levels, dtype=torch.float32).reshape(-1, 1, 1, 1) / 255


def ones(num: int) -> Tensor:
    return torch.ones(num, dtype=torch.int64)


@dataclass(frozen=True)
class Scripted:
    """Asks at step s of restart r about the clean picture less ``fall[r][s]`` levels."""

    fall: tuple[tuple[int, ...], ...]
    restarts: int = 1
    smallest: Norm | None = None
    record: bool = True

    @property
    def num_steps(self) -> int:
        return len(self.fall[0])

    def begin(self, rows: Rows) -> State:
        return {"begun": torch.ones_like(rows.row)}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        fall = torch.tensor(self.fall)[rows.restart, rows.step].reshape(-1, 1, 1, 1)
        queries.logits(((rows.clean * 255).round() - fall) / 255, record=self.record)
        return Stepped(state)


def attack(
    what: StepAttack, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, **more: int
) -> Attacked:
    rows = torch.arange(x.shape[0])
    return attack_rows(what, model, x, y, rows, **{"rows_per_call": 8, **more})


def test_easy_rows_make_room_at_once_and_the_calls_stay_full() -> None:
    # Plain PGD of 1 level a step from the picture: 101 is broken by the third picture it is asked
    # about (101, 100, 99), 200 never, after all ten pictures of nine steps.
    pgd = Pgd(Ball(Norm.LINF, 20), steps=9, step_size=1 / 255, random_start=False)
    levels = [200] * 4 + [101] * 12
    model = Counted(level_model)
    found = attack(pgd, model, of_levels(*levels), ones(16), capacity=8)
    assert found.broken.tolist() == [False] * 4 + [True] * 12
    # Two calls for the clean pictures. Four slots hold the hard rows for ten steps; the other
    # four hold three easy rows each, three steps a row, within those ten.
    assert found.calls == len(model.sizes) == 2 + 10
    assert set(model.sizes) == {8}
    # Held until the last of their eight was done, they would have taken 2 + 10 + 3.
    assert found.forwards.tolist() == [1 + 10] * 4 + [1 + 3] * 12
    assert found.backwards.tolist() == [9] * 4 + [3] * 12


@pytest.mark.parametrize(("rows", "calls"), [(8, 1 + 3), (16, 2 + 6), (24, 3 + 9), (20, 3 + 9)])
def test_rows_all_as_easy_cost_their_steps_and_no_more(rows: int, calls: int) -> None:
    pgd = Pgd(Ball(Norm.LINF, 20), steps=9, step_size=1 / 255, random_start=False)
    model = Counted(level_model)
    found = attack(pgd, model, of_levels(*[101] * rows), ones(rows))
    assert found.broken.all()
    assert found.calls == len(model.sizes) == calls


def test_a_capacity_of_several_calls_costs_as_many_calls_a_step() -> None:
    pgd = Pgd(Ball(Norm.LINF, 20), steps=9, step_size=1 / 255, random_start=False)
    model = Counted(level_model)
    found = attack(pgd, model, of_levels(*[200] * 20), ones(20), capacity=20)
    assert found.calls == len(model.sizes) == 3 + 3 * 10
    assert set(model.sizes) == {8}


@dataclass(frozen=True)
class Mixed:
    """Three forwards a step, of which even rows' second has a gradient."""

    steps: int = 4
    restarts: int = 1
    smallest: None = None

    @property
    def num_steps(self) -> int:
        return self.steps

    def begin(self, rows: Rows) -> State:
        return {}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        even = rows.row % 2 == 0
        queries.logits(rows.clean)
        queries.gradient(rows.clean, losses.cross_entropy, wanted=even)
        queries.gradient(rows.clean, losses.cross_entropy, wanted=torch.zeros_like(even))
        # Row 3 has enough after its second step.
        return Stepped({}, done=(rows.row == 3) & (rows.step == 1))


def test_passes_are_counted_a_row_as_they_were_asked() -> None:
    found = attack(Mixed(), level_model, of_levels(200, 200, 200, 200, 50), ones(5))
    assert found.forwards.tolist() == [1 + 12, 1 + 12, 1 + 12, 1 + 6, 1]
    assert found.backwards.tolist() == [4, 0, 4, 0, 0]


@dataclass(frozen=True)
class Asking:
    """One gradient of a loss with a further tensor of the rows; keeps what came of it."""

    got: list[tuple[Tensor, Tensor]]
    wanted: bool
    num_steps: int = 1
    restarts: int = 1
    smallest: None = None

    def begin(self, rows: Rows) -> State:
        return {"factor": rows.row.float() + 1}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        def loss(logits: Tensor, label: Tensor, factor: Tensor) -> Tensor:
            return factor * logits.gather(1, label[:, None]).squeeze(1) ** 2

        wanted = torch.full_like(rows.row, self.wanted, dtype=torch.bool)
        self.got.append(queries.gradient(rows.clean, loss, state["factor"], wanted=wanted))
        return Stepped(state)


@pytest.mark.parametrize("wanted", [True, False])
def test_each_rows_loss_and_gradient_are_its_own(wanted: bool) -> None:
    got: list[tuple[Tensor, Tensor]] = []
    levels = list(range(101, 112))
    found = attack(Asking(got, wanted), level_model, of_levels(*levels), ones(11), capacity=11)
    value, gradient = got[0]
    # ℓ = k v² with v = level - 100, so dℓ/dx = 2 k v 255
    expected = torch.tensor([k * (k + 0.0) ** 2 for k in range(1, 12)])
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=0)
    slope = 2 * 255 * torch.arange(1.0, 12.0) ** 2 * (1 if wanted else 0)
    torch.testing.assert_close(gradient.flatten(), slope, rtol=1e-4, atol=0)
    assert found.backwards.tolist() == [int(wanted)] * 11


def test_a_row_wrong_from_the_start_is_asked_once_and_stays_clean() -> None:
    x = of_levels(90, 150, 100)
    # 100 has two equal logits, and the first of them, class 0, is the answer.
    found = attack(Pgd(LINF8, 3), level_model, x, ones(3))
    assert found.clean_right.tolist() == [False, True, False]
    assert torch.equal(found.adversarial[[0, 2]], x[[0, 2]])
    assert found.forwards.tolist() == [1, 1 + 4, 1]
    assert found.backwards.tolist() == [0, 3, 0]
    assert found.step[[0, 2]].tolist() == [0, 0]
    # 90 is wrong by 10 logits; 100 by none, which is no lead
    assert found.broken.tolist() == [True, False, False]
    torch.testing.assert_close(found.margin[0], torch.tensor(10.0), rtol=0, atol=1e-3)


def test_rows_all_wrong_cost_one_call_for_each_eight() -> None:
    model = Counted(level_model)
    found = attack(Pgd(LINF8, 3), model, of_levels(*[90] * 17), ones(17))
    assert found.calls == len(model.sizes) == 3
    assert not found.clean_right.any()


def test_the_picture_that_came_nearest_is_kept_with_its_margin_and_step() -> None:
    script = Scripted(((1, 7, 3, 5),))
    found = attack(script, level_model, of_levels(130, 120), ones(2))
    assert not found.broken.any()
    assert torch.equal(found.adversarial, of_levels(123, 113))
    assert found.step.tolist() == [1, 1]
    assert found.restart.tolist() == [0, 0]
    torch.testing.assert_close(found.margin, torch.tensor([-23.0, -13.0]), rtol=0, atol=1e-3)


def test_of_pictures_equally_near_the_first_is_kept() -> None:
    found = attack(Scripted(((5, 2, 5),)), level_model, of_levels(130), ones(1))
    assert found.step.tolist() == [0]


def test_where_nothing_came_nearer_the_clean_picture_is_the_result() -> None:
    found = attack(Scripted(((-1, -7, 0),)), level_model, of_levels(130), ones(1))
    assert torch.equal(found.adversarial, of_levels(130))
    assert (int(found.step), int(found.restart)) == (0, 0)
    assert found.forwards.tolist() == [4]


def test_what_is_not_to_be_recorded_is_counted_and_not_kept() -> None:
    found = attack(Scripted(((50, 7),), record=False), level_model, of_levels(130), ones(1))
    assert not found.broken.any()
    assert torch.equal(found.adversarial, of_levels(130))
    assert found.forwards.tolist() == [3]


@dataclass(frozen=True)
class Choosy:
    """Asks rows of even numbers alone, records those whose number is no multiple of four, and wants
    a gradient of row 2 alone."""

    num_steps: int = 1
    restarts: int = 1
    smallest: None = None

    def begin(self, rows: Rows) -> State:
        return {"gradient": torch.zeros_like(rows.clean)}

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        nearer = ((rows.clean * 255).round() - 30) / 255
        even, recorded = rows.row % 2 == 0, rows.row % 4 != 0
        queries.logits(nearer, asked=even, record=recorded)
        wanted = rows.row <= 2
        _, gradient = queries.gradient(
            nearer, losses.margin, wanted=wanted, asked=even, record=recorded
        )
        assert (gradient != 0).flatten(1).any(dim=1)[even & wanted].all()
        return Stepped(state)


def test_rows_that_are_not_asked_take_no_pass_and_keep_what_they_have() -> None:
    found = attack(Choosy(), level_model, of_levels(*[150] * 8), ones(8), capacity=8)
    assert found.forwards.tolist() == [3, 1] * 4
    assert found.backwards.tolist() == [1, 0, 1, 0, 0, 0, 0, 0]
    best = torch.tensor([150, 150, 120, 150, 150, 150, 120, 150]).reshape(-1, 1, 1, 1) / 255
    assert torch.equal(found.adversarial, best)


def test_clean_pictures_whose_logits_are_known_are_not_asked_about() -> None:
    network, x, y, rows = network_rows(23)
    asked = attack_rows(Pgd(LINF8, 4), network, x, y, rows, rows_per_call=8)
    with torch.no_grad():
        logits = torch.cat([network(x[:8]), network(x[8:16]), network(x[-8:])[-7:]])
    told = attack_rows(Pgd(LINF8, 4), network, x, y, rows, rows_per_call=8, logits=logits)
    for part in PARTS:
        if part != "forwards":
            assert torch.equal(getattr(told, part), getattr(asked, part)), part
    assert torch.equal(told.forwards, asked.forwards - 1)
    assert told.calls == asked.calls - 3


def test_a_row_leaves_at_the_first_picture_that_breaks_it() -> None:
    found = attack(Scripted(((1, 21, 29, 3),)), level_model, of_levels(120), ones(1))
    assert found.broken.all()
    assert torch.equal(found.adversarial, of_levels(99))
    assert found.step.tolist() == [1]
    assert found.forwards.tolist() == [3]
    torch.testing.assert_close(found.margin, torch.tensor([1.0]), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("scale", "broken"), [(0.9 * MARGIN, False), (1.1 * MARGIN, True)])
def test_a_lead_within_the_rounding_of_logits_breaks_nothing(scale: float, broken: bool) -> None:
    # 119 levels less 20 is 99: class 0 leads by one level times the scale.
    found = attack(Scripted(((20,),)), lambda x: level_model(x) * scale, of_levels(119), ones(1))
    assert found.broken.tolist() == [broken]
    assert torch.equal(found.adversarial, of_levels(99))


def test_restarts_are_for_unbroken_rows_alone_and_in_order() -> None:
    # The first beginning breaks 103, the second 110, the third 125; 140 stands.
    script = Scripted(((1, 4), (2, 12), (30, 28)), restarts=3)
    found = attack(script, level_model, of_levels(103, 110, 125, 140), ones(4))
    assert found.broken.tolist() == [True, True, True, False]
    assert found.restart.tolist() == [0, 1, 2, 2]
    assert found.step.tolist() == [1, 1, 0, 0]
    assert torch.equal(found.adversarial, of_levels(99, 98, 95, 110))
    assert found.forwards.tolist() == [1 + 2, 1 + 4, 1 + 5, 1 + 6]


def test_a_restart_that_comes_less_near_does_not_replace_what_was_found() -> None:
    script = Scripted(((9, 1), (3, 8)), restarts=2)
    found = attack(script, level_model, of_levels(120), ones(1))
    assert torch.equal(found.adversarial, of_levels(111))
    assert (int(found.restart), int(found.step)) == (0, 0)


def test_the_smallest_change_is_looked_for_over_all_steps_and_restarts() -> None:
    script = Scripted(((30, 3, 25), (22, 27, 21)), restarts=2, smallest=Norm.L2)
    found = attack(script, level_model, of_levels(120, 140), ones(2))
    assert found.broken.tolist() == [True, False]
    # Of 120, the changes by 30, 25, 22, 27 and 21 break it; of 140 none, and 30 came nearest.
    assert torch.equal(found.adversarial, of_levels(99, 110))
    assert found.step.tolist() == [2, 0]
    assert found.restart.tolist() == [1, 0]
    assert found.forwards.tolist() == [7, 7]


NETWORK_ATTACKS: dict[str, StepAttack] = {
    "pgd_linf": Pgd(LINF8, 5, restarts=2),
    "pgd_l2": Pgd(Ball(Norm.L2, 30), 5),
    "pgd_l1": Pgd(Ball(Norm.L1, 100), 5),
    "ascent": Ascent(Ball(Norm.L2, 30), 0.2, 4),
    "mi_fgsm": MiFgsm(LINF8, 5),
    "apgd_ce": Apgd(LINF8, 10, "ce"),
    "apgd_dlr_l2": Apgd(Ball(Norm.L2, 30), 10, "dlr"),
    "apgd_targeted": Apgd(LINF8, 10, "targeted", 3),
    "square": Square(LINF8, 40),
}
PARTS = [f.name for f in fields(Attacked) if f.name != "calls"]


def network_rows(num: int) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A network, pictures near its borders, its own answers (three made wrong), row numbers."""
    network, x = conv_network(), lattice_pictures(num)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    y[2:5] = (y[2:5] + 1) % 4
    return network, x, y, torch.arange(100, 100 + num)


@pytest.mark.parametrize("name", list(NETWORK_ATTACKS))
def test_a_row_comes_out_bit_for_bit_the_same_in_any_company(name: str) -> None:
    network, x, y, rows = network_rows(23)
    what = NETWORK_ATTACKS[name]

    def run(chosen: Tensor, capacity: int | None = None) -> Attacked:
        return attack_rows(
            what, network, x[chosen], y[chosen], rows[chosen], seed=9, rows_per_call=8,
            capacity=capacity,
        )  # fmt: skip

    whole = run(torch.arange(23))
    right = whole.clean_right
    assert 0 < int(whole.broken[right].sum()) < int(right.sum())  # else this would say little
    order = torch.randperm(23, generator=torch.Generator().manual_seed(1))
    few = torch.tensor([20, 1, 13])
    for chosen, capacity in (
        (order, None),
        (torch.arange(23), 3),
        (torch.arange(23), 24),
        (few, None),
        (few[:1], None),
    ):
        other = run(chosen, capacity)
        for part in PARTS:
            assert torch.equal(getattr(other, part), getattr(whole, part)[chosen]), part


@pytest.mark.parametrize("name", list(NETWORK_ATTACKS))
def test_the_stored_picture_is_in_the_ball_and_has_the_margin_that_is_told(name: str) -> None:
    network, x, y, rows = network_rows(23)
    what = NETWORK_ATTACKS[name]
    found = attack_rows(what, network, x, y, rows, rows_per_call=8)
    assert what.ball.contains(found.adversarial, x).all()  # type: ignore[attr-defined]
    assert found.adversarial.min() >= 0
    assert found.adversarial.max() <= 1
    levels = (found.adversarial * 255).round()
    assert torch.equal(found.adversarial, levels / 255)
    with torch.no_grad():
        again = torch.cat([network(found.adversarial[i : i + 8]) for i in range(0, 23, 8)])
    margin = losses.margin(again, y)
    # Another number of rows in a call may change the last bits.
    torch.testing.assert_close(found.margin, margin, rtol=0, atol=1e-5)
    assert torch.equal(found.broken, margin > MARGIN)
    with torch.no_grad():
        clean = losses.margin(network(x), y)
    assert (margin >= clean - 1e-5).all()
    assert torch.equal(found.clean_right, clean < 0)


def test_the_seed_and_the_rows_number_key_the_draws() -> None:
    network, x, y, rows = network_rows(16)
    pgd = Pgd(Ball(Norm.LINF, 3), 1)

    def run(rows: Tensor, seed: int) -> Tensor:
        return attack_rows(pgd, network, x, y, rows, seed=seed, rows_per_call=8).adversarial

    assert torch.equal(run(rows, 0), run(rows, 0))
    assert not torch.equal(run(rows, 0), run(rows, 1))
    assert not torch.equal(run(rows, 0), run(rows + 1, 0))


@pytest.mark.parametrize("name", list(NETWORK_ATTACKS))
def test_parameters_get_no_gradients_and_inputs_stay_as_they_were(name: str) -> None:
    network, x, y, rows = network_rows(10)
    given = (x, y, rows)
    before = [values.clone() for values in given]
    found = attack_rows(NETWORK_ATTACKS[name], network, x, y, rows, rows_per_call=8)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in network.parameters())
    for values, old in zip(given, before, strict=True):
        assert torch.equal(values, old)
        assert not values.requires_grad
    for part in PARTS:
        assert not getattr(found, part).requires_grad


def test_nothing_is_written_to_the_inputs_not_even_what_stands_there() -> None:
    # Memory-mapped pictures are read-only.
    given = (of_levels(120, 150), ones(2), torch.arange(2))
    versions = [values._version for values in given]
    attack_rows(Scripted(((1, 21),)), level_model, *given, rows_per_call=8)
    assert [values._version for values in given] == versions


def test_rows_may_share_their_memory() -> None:
    x, y = of_levels(120).expand(5, 1, 1, 1), torch.ones(1, dtype=torch.int64).expand(5)
    found = attack(Scripted(((1, 21),)), level_model, x, y)
    assert torch.equal(found.adversarial, of_levels(*[99] * 5))


def test_attacks_work_where_gradients_are_switched_off() -> None:
    network, x, y, rows = network_rows(10)
    for what in NETWORK_ATTACKS.values():
        with torch.no_grad():
            silent = attack_rows(what, network, x, y, rows, rows_per_call=8)
        loud = attack_rows(what, network, x, y, rows, rows_per_call=8)
        assert torch.equal(silent.adversarial, loud.adversarial)
        assert not torch.equal(silent.adversarial, x)
        assert not silent.adversarial.requires_grad


def test_a_network_frozen_or_not_is_attacked_alike() -> None:
    network, x, y, rows = network_rows(10)
    free = attack_rows(fgsm(LINF8), network, x, y, rows, rows_per_call=8)
    frozen = attack_rows(fgsm(LINF8), network.requires_grad_(False), x, y, rows, rows_per_call=8)
    assert torch.equal(free.adversarial, frozen.adversarial)


def test_no_rows_have_an_empty_result_and_ask_nothing() -> None:
    model = Counted(level_model)
    nothing = torch.zeros(0, dtype=torch.int64)
    found = attack_rows(Pgd(LINF8), model, torch.zeros(0, 3, 4, 5), nothing, nothing)
    assert found.adversarial.shape == (0, 3, 4, 5)
    for part in PARTS[1:]:
        assert getattr(found, part).shape == (0,), part
    assert found.broken.dtype == found.clean_right.dtype == torch.bool
    assert found.calls == len(model.sizes) == 0


GOOD = torch.full((2, 1, 3, 3), 100.0) / 255


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": GOOD.double()}, "x must be float32"),
        ({"x": GOOD[0]}, "x must be float32"),
        ({"x": GOOD + 0.5 / 255}, "whole levels"),
        ({"x": torch.full_like(GOOD, float("nan"))}, "whole levels"),
        ({"x": torch.full_like(GOOD, 256 / 255)}, r"lie in \[0, 1\]"),
        ({"x": torch.full_like(GOOD, -1 / 255)}, r"lie in \[0, 1\]"),
        ({"y": torch.ones(3, dtype=torch.int64)}, "y must be int64"),
        ({"y": torch.ones(2)}, "y must be int64"),
        ({"y": torch.ones(2, 1, dtype=torch.int64)}, "y must be int64"),
        ({"rows": torch.ones(1, dtype=torch.int64)}, "rows must be int64"),
        ({"rows": torch.ones(2, dtype=torch.int32)}, "rows must be int64"),
    ],
)
def test_what_an_attack_cannot_mean_is_refused_unasked(
    change: dict[str, Tensor], message: str
) -> None:
    given = {"x": GOOD, "y": ones(2), "rows": torch.arange(2), **change}
    model = Counted(level_model)
    with pytest.raises(ValueError, match=message):
        attack_rows(Pgd(LINF8), model, given["x"], given["y"], given["rows"])
    assert model.sizes == []


@pytest.mark.parametrize("name", ["rows_per_call", "capacity"])
@pytest.mark.parametrize("value", [0, -1])
def test_calls_or_a_capacity_of_no_rows_are_refused(name: str, value: int) -> None:
    # With no room for any row, all would come back as having withstood.
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not {value}"):
        attack(Pgd(LINF8), level_model, of_levels(120), ones(1), **{name: value})


def test_the_largest_numbers_of_draws_are_still_keys_of_their_own() -> None:
    # The last restart's last draw is the generator's last number; beyond it is refused there.
    rows = Rows(
        GOOD, ones(2), torch.zeros(2, 2), torch.arange(2),
        torch.full((2,), MOST_RESTARTS - 1), torch.zeros(2, dtype=torch.int64), 0,
    )  # fmt: skip
    last = rows.uniform(MOST_STEPS - 1, (4,))
    assert not torch.equal(last, rows.uniform(MOST_STEPS - 2, (4,)))
    with pytest.raises(ValueError, match="layer must lie in"):
        rows.uniform(MOST_STEPS, (4,))


def test_logits_that_are_no_numbers_are_a_user_error_that_names_the_row() -> None:
    def broken(x: Tensor) -> Tensor:
        logits = x.mean(dim=(1, 2, 3))[:, None].expand(-1, 3).clone()
        logits[x.amax(dim=(1, 2, 3)) == 1, 2] = torch.nan
        return logits

    x = torch.zeros(4, 1, 2, 2)
    x[2, 0, 0, 0] = 1.0
    with pytest.raises(UserError, match="row 12 are not finite"):
        attack_rows(
            fgsm(Ball(Norm.LINF, 3)), broken, x, torch.zeros(4).long(), torch.arange(10, 14)
        )
