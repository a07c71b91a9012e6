"""The trainer: a run may be cut anywhere and goes on bit for bit; what is not finite stops it."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from small_stack import SPEC
from torch import Tensor, distributed, nn

from pipeline.errors import UserError
from pipeline.stack import Stack
from pipeline.training.checkpoint import newest_checkpoint, save_checkpoint
from pipeline.training.trainer import Recipe, StackTrainer
from pipeline.training.weighting import WEIGHTINGS

RECIPE = Recipe(
    num_steps=12,
    batch_size=8,
    stage_share=(1.0, 0.5),
    learning_rate=3e-3,
    warmup_steps=3,
    ema_halflife=30.0,
    drop_condition=0.1,
    gradient_clip=1.0,
    weighting=WEIGHTINGS["edm"],
    seed=5,
)
DROPPING = replace(SPEC, dropout=0.3)


def batch(step: int, num: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.rand(num, 1, 8, 8, generator=generator) * 2 - 1
    return x, torch.randint(0, 3, (num,), generator=generator)


def new_trainer(recipe: Recipe = RECIPE, **changes: Any) -> StackTrainer:
    return StackTrainer(Stack.fresh(replace(DROPPING, **changes), 0), recipe)


def advance(trainer: StackTrainer, until: int) -> list[tuple[float, ...]]:
    return [trainer.update(*batch(step)) for step in range(trainer.step, until)]


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@cache
def uncut(network: str) -> tuple[StackTrainer, list[tuple[float, ...]]]:
    """A trainer after 12 steps that nothing interrupted, and their losses."""
    whole = new_trainer(network=network)
    return whole, advance(whole, 12)


@pytest.mark.parametrize("cut", [1, 5, 11])
@pytest.mark.parametrize("network", ["nested", "stage"])
def test_a_run_cut_anywhere_ends_with_the_same_bits(tmp_path: Path, cut: int, network: str) -> None:
    whole, losses = uncut(network)
    first = new_trainer(network=network)
    advance(first, cut)
    save_checkpoint(tmp_path, first.step, first.state())
    found = newest_checkpoint(tmp_path)
    assert found is not None
    torch.manual_seed(99)  # another process, whose global generator stands elsewhere
    torch.rand(17)
    second = StackTrainer(Stack(replace(DROPPING, network=network)), RECIPE)
    second.load_state(found[1], found[0])
    assert advance(second, 12) == losses[cut:]
    assert_same(second.state(), whole.state())


def test_a_run_made_longer_differs_from_one_as_long_in_the_rates_of_its_first_steps_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def continued(longer: Recipe) -> StackTrainer:
        first = new_trainer(replace(longer, num_steps=6))
        advance(first, 6)
        second = new_trainer(longer)
        second.load_state(first.state(), first.step)
        advance(second, longer.num_steps)
        return second

    assert RECIPE.learning_rate_at(6) > 0
    assert replace(RECIPE, num_steps=6).learning_rate_at(5) < RECIPE.learning_rate_at(5)
    monkeypatch.setattr(Recipe, "learning_rate_at", lambda recipe, step: 1e-3 / (1 + step))
    whole = new_trainer()
    advance(whole, RECIPE.num_steps)
    assert_same(continued(RECIPE).state(), whole.state())


def test_training_leaves_the_global_generator_as_it_was() -> None:
    trainer = new_trainer()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    trainer.update(*batch(0))
    assert torch.equal(torch.rand(3), expected)


def test_training_lowers_the_loss_of_every_stage() -> None:
    """Pictures of one grey for each class are soon known from their label."""
    recipe = replace(RECIPE, num_steps=60, learning_rate=1e-2, stage_share=(1.0, 1.0))
    trainer = new_trainer(replace(recipe, batch_size=16), dropout=0.0)
    labels = torch.arange(16) % 3
    x = (labels - 1.0)[:, None, None, None].expand(16, 1, 8, 8)
    losses = torch.tensor([trainer.update(x, labels) for _ in range(60)])
    assert (losses[-10:].mean(dim=0) < 0.5 * losses[:10].mean(dim=0)).all()


def test_the_average_is_the_weights_past_values_with_growing_half_life() -> None:
    trainer = new_trainer()
    expected = {k: v.detach().double() for k, v in trainer.stack.named_parameters()}
    for step in range(6):
        trainer.update(*batch(step))
        # half-life: 30 pictures, and at most a twentieth of what was seen so far
        half_life = min(30.0, 0.05 * 8 * (step + 1))
        decay = 0.5 ** (8 / half_life)
        assert trainer.recipe.averaging.decay(step) == pytest.approx(decay)
        for name, value in trainer.stack.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach().double()
    for name, value in trainer.ema.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)


def test_the_averages_half_life_is_in_pictures_once_enough_were_seen() -> None:
    recipe = replace(RECIPE, ema_halflife=800.0)
    decay = recipe.averaging.decay(10**6)
    assert decay ** (800 / 8) == pytest.approx(0.5)


def test_the_averaged_stack_samples_with_the_averages() -> None:
    trainer = new_trainer()
    advance(trainer, 3)
    averaged = trainer.averaged()
    assert not averaged.training
    assert_same(dict(averaged.named_parameters()), trainer.ema)
    assert not torch.equal(next(averaged.parameters()), next(iter(trainer.stack.parameters())))


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero_as_a_cosine() -> None:
    recipe = replace(RECIPE, num_steps=103, warmup_steps=3, learning_rate=0.1)
    rates = [recipe.learning_rate_at(step) for step in range(104)]
    assert rates[:3] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1])
    assert rates[3] == pytest.approx(0.1)
    assert rates[53] == pytest.approx(0.05)
    assert rates[28] == pytest.approx(0.1 * (1 + math.cos(math.pi / 4)) / 2)
    assert rates[103] == pytest.approx(0)
    trainer = new_trainer()
    for step in range(5):
        trainer.update(*batch(step))
        rate = trainer.optimizer.param_groups[0]["lr"]
        assert rate == pytest.approx(RECIPE.learning_rate_at(step))


def assert_untouched(trainer: StackTrainer, before: dict[str, Tensor]) -> None:
    assert_same(trainer.state(), before)
    assert all(bool(torch.isfinite(v).all()) for v in trainer.state().values())


def test_a_loss_that_is_not_finite_names_its_step_and_leaves_everything_as_it_was() -> None:
    trainer = new_trainer()
    advance(trainer, 4)
    before = {k: v.clone() for k, v in trainer.state().items()}
    x, labels = batch(4)
    x[3, 0, 2, 2] = math.nan
    with pytest.raises(UserError, match="the loss is not finite at step 4") as raised:
        trainer.update(x, labels)
    assert "\n" not in str(raised.value)
    assert trainer.step == 4
    assert_untouched(trainer, before)


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights() -> None:
    trainer = new_trainer()
    advance(trainer, 2)
    before = {k: v.clone() for k, v in trainer.state().items()}
    parameter = next(iter(trainer.stack.parameters()))
    parameter.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(UserError, match="the gradient is not finite at step 2"):
        trainer.update(*batch(2))
    assert_untouched(trainer, before)


def test_a_loss_that_is_not_finite_on_another_worker_stops_this_one_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else this one would wait for the other's gradients for ever."""

    def all_reduce(values: Tensor) -> None:
        values += torch.tensor([math.nan, 1.0])

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    trainer = new_trainer()
    with pytest.raises(UserError, match="the loss is not finite at step 0"):
        trainer.update(*batch(0))


class _Counting(nn.Module):
    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.stack, self.rows = stack, [0, 0]

    def forward(self, stage: int, z: Tensor, *rest: Tensor) -> Tensor:
        self.rows[stage] += len(z)
        x_hat: Tensor = self.stack(stage, z, *rest)
        return x_hat


@pytest.mark.parametrize(("share", "expected"), [(0.3, 2), (1.0, 8), (0.01, 1)])
def test_each_stage_trains_on_its_share_of_the_batch_through_the_parallel_wrapper(
    share: float, expected: int
) -> None:
    stack = Stack(SPEC)
    counting = _Counting(stack)
    trainer = StackTrainer(stack, replace(RECIPE, stage_share=(1.0, share)), parallel=counting)
    assert len(trainer.update(*batch(0))) == 2
    assert counting.rows == [8, expected]


def test_other_seeds_and_steps_draw_other_noise_and_repeat_their_own() -> None:
    def first_loss(seed: int = 5, step: int = 0) -> tuple[float, ...]:
        trainer = new_trainer(replace(RECIPE, seed=seed))
        trainer.step = step
        return trainer.update(*batch(0))

    assert first_loss() == first_loss()
    losses = [first_loss(), first_loss(step=1), first_loss(seed=6), first_loss(seed=2**63 - 1)]
    losses.append(first_loss(seed=-1))
    assert len(set(losses)) == 5


def gradients_of_shared_batch(recipe: Recipe, world: int) -> tuple[dict[str, Tensor], list[Tensor]]:
    """What the workers' averaged gradients and summed losses are, without a process group."""
    x, labels = batch(3, recipe.batch_size)
    gradients: dict[str, Tensor] = {}
    losses = []
    for rank in range(world):
        stack = Stack.fresh(DROPPING, 0)
        # the wrapper that averages is the test's: a step of size 0 leaves the gradients to see
        trainer = StackTrainer(stack, recipe, rank=rank, world=world)
        own = slice(trainer.rows.start, trainer.rows.stop)
        losses.append(torch.tensor(trainer.update(x[own], labels[own])))
        for name, parameter in stack.named_parameters():
            assert parameter.grad is not None
            gradients[name] = gradients.get(name, 0) + parameter.grad / world
    return gradients, losses


@pytest.mark.parametrize("world", [2, 3, 8])
@pytest.mark.parametrize("parts", [1, 3])
def test_workers_that_share_a_batch_have_the_gradient_and_the_loss_of_one_that_has_it_all(
    world: int, parts: int
) -> None:
    """Whatever their number, in parts or not, with dropout, and with stages of a few rows."""
    recipe = replace(RECIPE, batch_size=24, stage_share=(1.0, 0.2), gradient_clip=1e9, parts=parts)
    alone, (loss,) = gradients_of_shared_batch(replace(recipe, parts=1), 1)
    shared, losses = gradients_of_shared_batch(recipe, world)
    torch.testing.assert_close(torch.stack(losses).sum(dim=0), loss, rtol=1e-5, atol=1e-6)
    for name, gradient in alone.items():
        torch.testing.assert_close(shared[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_a_stage_trained_alone_goes_the_way_it_goes_beside_the_others() -> None:
    """Where each stage has a network, and the gradient's norm is not clipped."""
    recipe = replace(RECIPE, gradient_clip=1e9)
    spec = replace(DROPPING, network="stage")
    together = StackTrainer(Stack.fresh(spec, 0), recipe)
    alone = [StackTrainer(Stack.fresh(spec, 0, (stage,)), recipe) for stage in (0, 1)]
    for step in range(4):
        losses = together.update(*batch(step))
        assert losses == tuple(trainer.update(*batch(step))[0] for trainer in alone)
    weights = together.state()
    for trainer in alone:
        for name, value in trainer.state().items():
            assert torch.equal(value, weights[name]), name


def test_pictures_that_are_not_the_workers_share_are_refused() -> None:
    with pytest.raises(ValueError, match="7 pictures for rows"):
        new_trainer().update(*batch(0, num=7))


def test_bfloat16_is_what_the_network_computes_in_and_weights_stay_float32() -> None:
    seen: list[torch.dtype] = []
    recipe = replace(RECIPE, bf16=True, stage_share=(1.0, 1.0))
    trainer = new_trainer(recipe)
    network = trainer.stack.network_of(1)
    network.heads["1"][2].register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    losses = advance(trainer, 3)[-1]  # in the first step the heads are still zero
    assert set(seen) == {torch.bfloat16}
    assert {value.dtype for value in trainer.state().values()} == {torch.float32}
    exact = advance(new_trainer(replace(recipe, bf16=False)), 3)[-1]
    assert losses != exact
    assert losses == pytest.approx(exact, rel=0.02)


def test_every_weight_gets_a_gradient_in_every_step() -> None:
    """Data-parallel workers wait for each weight's gradient."""
    for network in ("nested", "stage"):
        trainer = new_trainer(network=network)
        trainer.update(*batch(0))
        missing = [n for n, p in trainer.stack.named_parameters() if p.grad is None]
        assert missing == []


def test_a_stack_without_condition_trains() -> None:
    trainer = new_trainer(condition=replace(SPEC.condition, kind="none", size=0), classes=())
    x, _ = batch(0)
    assert all(math.isfinite(v) for v in trainer.update(x, None))
