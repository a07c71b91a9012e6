"""One perturbation for all: closed forms on linear models, the same bytes in any call, and more
than noise on pictures that it was not made from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from digit_models import digit_network
from digit_set import CLASSES, digits
from linear_models import TwoClassLinear
from torch import Tensor

from pipeline.attacks.base import Norm
from pipeline.attacks.methods.universal import BATCH, UniversalAttack, make_universal
from pipeline.classifier import Classifier
from pipeline.errors import UserError
from pipeline.formats.perturbation.universal import with_delta
from pipeline.perturbation.attack import PerturbedRows
from pipeline.pictures import to_unit

ATTACK = UniversalAttack(Norm.LINF, 6, steps=20)
UNCLIPPED = replace(ATTACK, loss_clip=1e6)


def linear(num: int = 5, seed: int = 0) -> tuple[TwoClassLinear, Tensor]:
    """A classifier and pictures, away from the box, that it puts into class 0."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, 4, 5, generator=generator)
    x = torch.randint(102, 154, (num, 2, 4, 5), generator=generator).float() / 255
    model = TwoClassLinear(weight, 0.0)
    model.bias = -0.5 - float(model.margin(x).max())
    return model, x


def labels(num: int, label: int = 0) -> Tensor:
    return torch.full((num,), label, dtype=torch.int64)


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_for_one_class_of_a_linear_model_it_is_the_ball_s_best_corner(steps: int) -> None:
    model, x = linear()
    made = make_universal(replace(UNCLIPPED, steps=steps), model, x, labels(5), rows_per_call=3)
    assert made.delta.dtype == np.int16
    assert np.array_equal(made.delta, (6 * model.weight.sign()).short().numpy())
    assert (made.usable, made.forwards, made.backwards) == (5, 5 + 5 * steps + 5, 5 * steps)


def test_in_l2_it_points_along_the_weights_and_is_as_long_as_the_ball_allows() -> None:
    model, x = linear()
    attack = UniversalAttack(Norm.L2, 200, loss_clip=1e6)
    delta = make_universal(attack, model, x, labels(5), rows_per_call=8).delta.astype(float)
    weight = model.weight.double().numpy()
    length = np.linalg.norm(delta)
    assert 199 < length <= 200
    assert (delta * weight).sum() / length / np.linalg.norm(weight) > 0.999


def test_towards_a_class_only_pictures_of_others_count_and_all_are_taken_there() -> None:
    model, x = linear()
    other = x + 0.2 * model.weight.sign()  # of class 1, which asks for nothing
    other = (other * 255).round().clamp(0, 255) / 255
    both, y = torch.cat((x, other)), torch.cat((labels(5), labels(5, 1)))
    assert bool((model(other).argmax(dim=1) == 1).all())
    made = make_universal(replace(ATTACK, target="1"), model, both, y, rows_per_call=8)
    assert made.usable == 5
    assert np.array_equal(made.delta, (6 * model.weight.sign()).short().numpy())
    moved = x + torch.from_numpy(made.delta) / 255
    assert made.fooled == int((model.margin(moved) > 1e-3).sum())


def test_values_that_the_box_holds_back_do_not_move() -> None:
    model, x = linear()
    x[:, 0] = 0.0  # black: nothing to be had from darker
    x[:, 1, 0] = 1.0
    model.bias -= float(model.margin(x).max()) + 0.5
    delta = make_universal(UNCLIPPED, model, x, labels(5), rows_per_call=8).delta
    best = (6 * model.weight.sign()).short().numpy()
    best[0] = best[0].clip(0, None)
    best[1, 0] = best[1, 0].clip(None, 0)
    assert np.array_equal(delta, best)


def test_a_picture_whose_loss_is_above_the_clip_pulls_no_more() -> None:
    model, x = linear(2)
    # Such weights part the two, by 2.6, and the bias puts one nearer to the border.
    model.weight, model.bias = model.weight.abs() * (x[1] - x[0]).sign(), 0.0
    model.weight *= 2.6 / float(model.margin(x)[1] - model.margin(x)[0])
    model.bias = -float(model.margin(x).sum()) / 2 - 0.3
    y = labels(2)
    y[1] = 1
    cross_entropy = torch.nn.functional.cross_entropy(model(x), y, reduction="none")
    loud, quiet = cross_entropy.max(), cross_entropy.min()
    assert quiet < 0.25 < loud
    assert int(cross_entropy.argmax()) == 1  # which falls with the margin
    best = (6 * model.weight.sign()).short().numpy()
    attack = replace(ATTACK, steps=1)
    unclipped = make_universal(replace(attack, loss_clip=9.0), model, x, y, rows_per_call=8)
    assert np.array_equal(unclipped.delta, -best)
    clipped = make_universal(replace(attack, loss_clip=0.25), model, x, y, rows_per_call=8)
    assert np.array_equal(clipped.delta, best)


def test_passes_are_those_of_pictures_that_the_model_is_asked_about() -> None:
    model, x = linear(8)
    asked = []

    def counting(pictures: Tensor) -> Tensor:
        asked.append((len(pictures), pictures.requires_grad))
        return model(pictures)

    made = make_universal(ATTACK, counting, x, labels(8), rows_per_call=8)
    assert made.forwards == sum(num for num, _ in asked)
    assert made.backwards == sum(num for num, gradient in asked if gradient)
    row = PerturbedRows.asked_once(np.zeros((3, 8, 8, 1), np.uint8), "universal")
    assert (row.forwards.tolist(), row.backwards.tolist()) == ([1, 1, 1], [0, 0, 0])
    assert (row.steps.tolist(), row.restarts.tolist()) == ([1, 1, 1], [0, 0, 0])


@pytest.mark.parametrize("target", ["none", "8"])
def test_on_new_digits_it_fools_far_more_often_than_noise_and_has_its_bits_in_any_call(
    target: str,
) -> None:
    classifier = Classifier(digit_network(), CLASSES)
    images, y = digits()
    attack = UniversalAttack(Norm.LINF, 60, steps=25, target=target)
    x, label = to_unit(images[:200]), torch.from_numpy(y[:200])
    deltas = [
        make_universal(attack, classifier, x, label, rows_per_call=rows).delta.transpose(1, 2, 0)
        for rows in (64, 7)
    ]
    assert np.array_equal(deltas[0], deltas[1])
    assert np.abs(deltas[0]).max() == 60
    held_out, truth = images[-360:], y[-360:]
    right = classifier.predict(held_out) == truth

    def rate(delta: np.ndarray) -> float:
        answers = classifier.predict(with_delta(held_out, delta))
        fooled = answers != truth if target == "none" else (answers == 8) & (truth != 8)
        return float(fooled[right].mean())

    noise = np.random.default_rng(0).choice([-60, 60], size=(20, 8, 8, 1))
    by_noise = np.mean([rate(delta.astype(np.int16)) for delta in noise])
    other = make_universal(replace(attack, seed=1), classifier, x, label, rows_per_call=64).delta
    fools = np.mean([rate(deltas[0]), rate(other.transpose(1, 2, 0))])  # seeds lie 0.05 apart
    assert fools > by_noise + 0.15, by_noise


def test_of_several_beginnings_the_one_that_fools_most_of_the_sample_is_kept() -> None:
    classifier = Classifier(digit_network(), CLASSES)
    x, y = to_unit(digits()[0][:60]), torch.from_numpy(digits()[1][:60])
    attack = UniversalAttack(Norm.LINF, 60, steps=4, step_size=0.1)
    one, *more = (
        make_universal(replace(attack, restarts=num), classifier, x, y, rows_per_call=64)
        for num in (1, 2, 3, 6)
    )
    assert one.restart == 0
    fooled = [made.fooled for made in (one, *more)]
    assert fooled == sorted(fooled)
    last = more[-1]
    assert last.fooled > one.fooled
    answers = classifier.predict(with_delta(digits()[0][:60], last.delta.transpose(1, 2, 0)))
    right = classifier.predict(digits()[0][:60]) == y.numpy()
    assert last.fooled == int((answers != y.numpy())[right].sum())
    assert last.restart in range(1, 6)
    assert last.backwards == 6 * one.backwards


def test_batches_go_round_a_sample_in_a_new_order_each_time() -> None:
    model, x = linear(BATCH + 40)
    seen = []

    def looking(pictures: Tensor) -> Tensor:
        if pictures.requires_grad:
            seen.append(pictures.detach().clone())
        return model(pictures)

    attack = replace(ATTACK, steps=21, step_size=1e-9)  # 21 * 128 = 16 * 168: whole epochs
    make_universal(attack, looking, x, labels(len(x)), rows_per_call=8)
    epochs = torch.cat(seen).flatten(1).reshape(16, BATCH + 40, -1)
    for epoch in epochs:
        assert sorted(map(tuple, epoch.tolist())) == sorted(map(tuple, x.flatten(1).tolist()))
    assert not torch.equal(epochs[0], epochs[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": Norm.L1}, "for the norms linf and l2, not l1"),
        ({"eps_levels": 0}, "at least one level of 1/255"),
        ({"steps": 0}, "steps must be from 1"),
        ({"restarts": 0}, "restarts must be from 1"),
        ({"sample_rows": 0}, "sample_rows must be at least 1, not 0"),
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"loss_clip": float("nan")}, "loss_clip must be positive"),
        ({"target": "random"}, "aims all pictures at one class, not at random"),
        ({"target": "1", "loss_clip": 2.0}, "takes no loss_clip with a target"),
    ],
)
def test_contradictions_are_user_errors(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(ATTACK, **change)


def test_a_sample_without_a_picture_to_fool_and_a_broken_gradient_are_user_errors() -> None:
    model, x = linear()
    with pytest.raises(UserError, match="right about none of the 5 pictures of train"):
        make_universal(ATTACK, model, x, labels(5, 1), rows_per_call=8)
    with pytest.raises(UserError, match="right about none"):
        make_universal(replace(ATTACK, target="0"), model, x, labels(5), rows_per_call=8)

    def broken(pictures: Tensor) -> Tensor:
        return model(pictures) + torch.sqrt(pictures - pictures).sum() * 0

    with pytest.raises(UserError, match="gradients by the picture are not finite"):
        make_universal(ATTACK, broken, x, labels(5), rows_per_call=8)
