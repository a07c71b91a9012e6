"""Each warning and each refusal is given for a model built to deserve it, and for no honest one."""

import re

import pytest
import torch
from torch import nn

from pipeline.attacks.trust.model_check import look_at_model
from pipeline.errors import UserError

ROWS, CLASSES = 16, 4


class Honest(nn.Module):
    """A fixed linear classifier whose answers are the labels of `asked`."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.randn(12, CLASSES, generator=generator)

    def forward(self, x):
        return (x.flatten(1) - 0.5) @ self.weight


HONEST = Honest()
X = torch.randint(0, 256, (ROWS, 3, 2, 2), generator=torch.Generator().manual_seed(0)).float() / 255
Y = HONEST(X).argmax(dim=1)


def look(model, x=X, y=Y, **how):
    how = {"num_classes": CLASSES, "rows_per_call": ROWS, **how}
    return {w.code: (w.count, w.of) for w in look_at_model(model, x, y, **how)}


def test_an_honest_model_gives_no_warning_however_many_rows_a_call_has():
    for rows_per_call in (1, 5, 16, 64):
        assert look(HONEST, rows_per_call=rows_per_call) == {}
    assert look(lambda x: HONEST(x).log_softmax(dim=1)) == {}
    assert look(lambda x: 100 * HONEST(x)) == {}
    assert look(lambda x: HONEST(x).relu() + 0.1) == {}


def raising(_):
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\n(16x12 and 784x10)")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: HONEST(x).softmax(dim=1), "returns probabilities .* leave out its last softmax"),
        (lambda x: HONEST(x) / 0, "not all finite"),
        (lambda x: HONEST(x)[:, :3], r"\[16, 3\] for 16 pictures, .* float logits \[16, 4\]"),
        (lambda x: HONEST(x)[0], r"returns torch.float32 \[4\]"),
        (lambda x: HONEST(x).argmax(dim=1), r"returns torch.int64 \[16\]"),
        (lambda x: {"logits": HONEST(x)}, "returns a dict, not a tensor"),
        (lambda x: HONEST(x.detach()), "have no gradient by the picture"),
        (lambda x: HONEST(x) + torch.randn(ROWS, CLASSES), "for 16 of 16 pictures: it is randomis"),
        (raising, r"raised RuntimeError: mat1 .* multiplied when asked about 16 pictures, .*\[16,"),
    ],
    ids=["softmax", "nan", "classes", "rows", "labels", "dict", "detached", "random", "raises"],
)
def test_a_model_that_cannot_be_attacked_is_refused_in_one_line(model, message):
    with pytest.raises(UserError, match=message) as refused:
        look(model)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (
            lambda z: z.sigmoid(),
            r"lies in \[0, 1\], as after a sigmoid: if .* return what goes into",
        ),
        (lambda z: (z + 8) / 16, r"lies in \[0, 1\]"),
        (
            lambda z: 100 * z.softmax(dim=1),
            "each row's sum is 100, as after a softmax: return what",
        ),
        (lambda z: (5 * z).tanh(), r"fill \[-1, 1\] and do not leave it, as after a tanh"),
    ],
    ids=["sigmoid", "scaled", "percent", "tanh"],
)
def test_outputs_that_a_last_layer_bounds_are_warned_of(last, message):
    found = look_at_model(lambda x: last(HONEST(x)), X, Y, num_classes=CLASSES, rows_per_call=ROWS)
    assert next((w.code, w.count, w.of) for w in found) == ("bounded_output", ROWS, ROWS)
    assert re.search(message, found[0].text)


@pytest.mark.parametrize(
    "last",
    [
        lambda z: z / z.norm(dim=1, keepdim=True),  # a cosine
        lambda z: z.log_softmax(dim=1),
        lambda z: z - z.mean(dim=1, keepdim=True),
        lambda z: z.relu(),
    ],
    ids=["cosine", "log_softmax", "centred", "relu"],
)
def test_outputs_that_are_normalised_without_a_bound_are_none(last):
    assert "bounded_output" not in look(lambda x: last(HONEST(x)))


def test_a_softmax_in_half_precision_is_one():
    with pytest.raises(UserError, match="returns probabilities"):
        look(lambda x: HONEST(x).bfloat16().softmax(dim=1).float())


def test_a_detached_model_may_be_asked_by_attacks_without_gradients():
    assert look(lambda x: HONEST(x.detach()), uses_gradients=False) == {}


def test_a_randomised_model_is_warned_of_where_draws_are_averaged():
    torch.manual_seed(0)
    noisy = nn.Sequential(nn.Flatten(), nn.Dropout(0.5).train(), nn.Linear(12, CLASSES))
    found = look(noisy, y=noisy(X).argmax(dim=1), num_draws=20)
    assert found["randomised"] == (ROWS, ROWS)


class Gregarious(nn.Module):
    """Each picture's logits depend on the mean of all pictures of the call."""

    def forward(self, x):
        return HONEST(x) + x.mean()


def test_rows_that_look_at_their_neighbours_are_found():
    assert look(Gregarious()) == {"neighbours": (7, 7)}
    batch_norm = nn.Sequential(HONEST, nn.BatchNorm1d(CLASSES, affine=False))
    labels = batch_norm(X).argmax(dim=1)
    assert look(batch_norm, y=labels) == {"neighbours": (7, 7)}
    assert look(batch_norm.eval(), y=labels) == {}


def test_a_model_that_takes_one_size_alone_is_told_of():
    def stubborn(x):
        if x.shape[0] != ROWS:
            raise ValueError("expected 16")
        return HONEST(x)

    assert look(stubborn) == {"batch_size": (7, 7)}
    with pytest.raises(UserError, match=r"raised ValueError: expected 16 .* another --rows-per-ca"):
        look(stubborn, rows_per_call=8)
    assert look(lambda x: HONEST(x) if len(x) == ROWS else HONEST(x)[:1]) == {"batch_size": (7, 7)}


def test_pictures_without_a_gradient_are_counted_among_those_that_are_right():
    flat = torch.arange(ROWS) % 4 == 0
    wrong = torch.where(torch.arange(ROWS) < 4, (Y + 1) % CLASSES, Y)

    def model(x):
        still = flat[: len(x)].reshape(-1, 1, 1, 1)
        return HONEST(torch.where(still, x.detach(), x))

    assert look(model) == {"zero_gradient": (4, ROWS)}
    assert look(model, y=wrong) == {"zero_gradient": (3, ROWS - 4)}


def test_a_gradient_that_is_not_finite_is_told_of():
    class Root(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient / 0

    assert look(lambda x: HONEST(Root.apply(x))) == {"gradient_not_finite": (ROWS, ROWS)}


@pytest.mark.parametrize(("factor", "offset"), [(255.0, 0.0), (2.0, -1.0)])
def test_a_model_of_another_range_of_values_is_recognised(factor, offset):
    middle = factor / 2 + offset

    def model(x):  # class 0 for all that lies in [0, 1] where [0, 255] is meant
        centred = HONEST((x - middle) / factor + 0.5)
        return centred + torch.tensor([50.0, 0, 0, 0]) * (x.amax() <= 1) * (x.amin() >= 0)

    found = look(model)
    assert list(found) == ["input_range"]
    count, of = found["input_range"]
    assert (count, of) == (int((Y != 0).sum()), ROWS)
    assert "input_range" not in look(lambda x: model(x * factor + offset))


def test_layers_that_came_in_training_mode_are_named():
    (warning,) = look_at_model(
        HONEST, X, Y, num_classes=CLASSES, rows_per_call=ROWS, training_layers=("a.dropout", "b")
    )
    assert (warning.code, warning.count) == ("training_mode", 2)
    assert "2 layers came in training mode (a.dropout and the like)" in warning.text


def test_padding_is_not_counted():
    flat = torch.zeros(64, dtype=torch.bool)
    flat[2:] = True

    def model(x):
        return HONEST(torch.where(flat[: len(x)].reshape(-1, 1, 1, 1), x.detach(), x))

    assert look(model, x=X[:3], y=Y[:3], rows_per_call=64) == {"zero_gradient": (1, 3)}
