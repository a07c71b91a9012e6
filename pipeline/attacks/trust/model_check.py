"""A look at a classifier before it is attacked: can it be, and will the result be worth anything?

The questions are those of Croce and Hein's AutoAttack (`checks.py`) and of Carlini and others, "On
evaluating adversarial robustness", 2019 (arXiv 1902.06705), section 4: a few calls about one batch
of clean pictures. What makes an attack meaningless is refused, the rest are warnings.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.base import Model
from pipeline.errors import UserError
from pipeline.fixed_batch import padded_calls
from pipeline.importable import error_line
from pipeline.perturbation_terms import TrustWarning

# Twice the same call may differ by what another order of sums gives, on a GPU; of `_size`.
_SAME = 1e-4
_FULL = 0.99  # of what a tanh can reach; a cosine's share of rows seldom comes so far
_FEW_VALUES = 10  # fewer may lie in [0, 1] by chance
_ODD_ROWS = 7  # another number of rows than any call of ours has
# What a classifier may have been trained on instead of [0, 1].
_RANGES = {"[0, 255]": (255.0, 0.0), "[-1, 1]": (2.0, -1.0)}


def look_at_model(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    num_classes: int,
    rows_per_call: int,
    uses_gradients: bool = True,
    num_draws: int = 1,
    training_layers: Sequence[str] = (),
) -> list[TrustWarning]:
    """Asks the model about clean pictures, in three calls, and a fourth backwards.

    Args:
        model: see `pipeline.attacks`.
        x, y: float32 ``[N, C, H, W]`` and int64 ``[N]``, N >= 1; the first ``rows_per_call`` count.
        num_classes: K.
        uses_gradients: whether the attack will ask for gradients.
        num_draws: of the expectation over transformation; more than 1 allows a randomised model.
        training_layers: see `FrozenClassifier`.

    Returns:
        What speaks against the result, with these codes: randomised, neighbours, batch_size,
        zero_gradient, gradient_not_finite, input_range, training_mode, bounded_output.

    Raises:
        UserError: the model raises, or its answers are not finite logits ``[N, K]`` with a gradient
            by ``x``; it returns probabilities; it is randomised and ``num_draws`` is 1.
    """
    real, (part, label) = next(padded_calls(x, y, rows_per_call=rows_per_call))
    logits, gradient = _answers(model, part, label, num_classes, uses_gradients)
    _refuse_probabilities(logits)
    with torch.no_grad():
        again = _ask(model, part)
    bounded = _bounded_output(logits[:real])
    warnings = [
        *bounded,
        *_training_mode(training_layers),
        *_randomised(logits, again, real, num_draws),
    ]
    if not warnings or warnings[-1].code != "randomised":
        warnings += _other_calls(model, part, logits)
    right = logits.argmax(dim=1) == label
    warnings += _gradients(gradient, right, real)
    warnings += _input_range(model, part, label, int(right[:real].sum()), real)
    return warnings


def _ask(model: Model, x: Tensor) -> Tensor:
    """The model's logits; UserError where it raises or returns none."""
    try:
        logits = model(x)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the classifier raised {error_line(error)} when asked about {x.shape[0]} pictures, "
            f"float32 {list(x.shape)}; it must take these, or give it another --rows-per-call"
        ) from None
    if not isinstance(logits, Tensor):
        raise UserError(
            f"the classifier returns a {type(logits).__name__}, not a tensor of logits; wrap it so "
            "that forward gives the logits alone"
        )
    return logits


def _answers(
    model: Model, x: Tensor, y: Tensor, num_classes: int, uses_gradients: bool
) -> tuple[Tensor, Tensor | None]:
    """Logits, and the gradient of the margin by ``x`` where it is asked for."""
    probe = x.detach().requires_grad_(uses_gradients)
    with torch.set_grad_enabled(uses_gradients):
        logits = _ask(model, probe)
    wanted = [x.shape[0], num_classes]
    if list(logits.shape) != wanted or not logits.is_floating_point():
        raise UserError(
            f"the classifier returns {logits.dtype} {list(logits.shape)} for {x.shape[0]} "
            f"pictures, where {num_classes} classes need float logits {wanted}"
        )
    if not bool(logits.isfinite().all()):
        raise UserError(
            "the classifier's logits for clean pictures are not all finite numbers; look at its "
            "weights and at the range of the pictures, which is [0, 1]"
        )
    if not uses_gradients:
        return logits, None
    detached = UserError(
        "the classifier's logits have no gradient by the picture: something in it detaches "
        "them; remove that, or take --attack square, which needs none"
    )
    if not logits.requires_grad:
        raise detached
    with torch.enable_grad():
        # Of the margin: the cross-entropy's is 0 in float32 wherever logits are large.
        lead = losses.margin(logits, y.to(logits.device)).sum()
        try:
            (gradient,) = torch.autograd.grad(lead, probe, allow_unused=True)
        except Exception as error:  # an operator without a derivative
            raise UserError(
                f"the gradient of the classifier's logits raised {error_line(error)}; change that, "
                "or take --attack square, which needs none"
            ) from None
    if gradient is None:  # they have one, by something else
        raise detached
    return logits.detach(), gradient


def _refuse_probabilities(logits: Tensor) -> None:
    """2 %, for a softmax in half precision."""
    if bool((logits >= 0).all()) and bool((logits.sum(dim=1) - 1).abs().max() < 0.02):
        raise UserError(
            "the classifier returns probabilities (no value below 0, each row's sum is 1), whose "
            "gradients vanish where it is sure; leave out its last softmax, or return the logarithm"
        )


def _bounded_output(logits: Tensor) -> list[TrustWarning]:
    """A warning if the outputs ``[N, K]`` come from a last layer that bounds them.

    Gradient attacks stand still where such a layer is saturated, which may account for half of the
    rows that look robust.
    """
    rows, sums = logits.shape[0], logits.double().sum(dim=1)
    if logits.numel() < _FEW_VALUES:
        return []
    low, high = float(logits.min()), float(logits.max())
    differ = float((logits.amax(dim=0) - logits.amin(dim=0)).max() / sums.mean())
    remedy = "return what goes into it: "
    if low >= 0 and high <= 1:
        seen = "every output lies in [0, 1], as after a sigmoid"
        remedy = "if the last layer is one, return what goes into it: "
    elif (
        low >= 0
        and rows >= _ODD_ROWS
        and differ > 0.1
        and bool((sums / sums.mean() - 1).abs().max() < 1e-3)
    ):
        seen = f"no output is below 0 and each row's sum is {sums.mean():.4g}, as after a softmax"
    elif low >= -1 and high <= 1 and low < -_FULL and high > _FULL:
        seen = "the outputs fill [-1, 1] and do not leave it, as after a tanh"
    else:
        return []
    text = f"{seen}: {remedy}the gradient vanishes where it is sure, and the accuracy is too high"
    return [TrustWarning("bounded_output", rows, rows, text)]


def _training_mode(names: Sequence[str]) -> list[TrustWarning]:
    if not names:
        return []
    text = (
        f"{len(names)} layers came in training mode ({names[0]} and the like): they were put in "
        "evaluation mode, which is what is attacked"
    )
    return [TrustWarning("training_mode", len(names), len(names), text)]


def _randomised(first: Tensor, again: Tensor, real: int, num_draws: int) -> list[TrustWarning]:
    differ = int(((first - again).abs().amax(dim=1) > _SAME * _size(first))[:real].sum())
    if not differ:
        return []
    seen = f"asked twice, the classifier gives other logits for {differ} of {real} pictures"
    if num_draws < 2:
        raise UserError(
            f"{seen}: it is randomised, and one draw proves nothing; make it deterministic, or "
            "attack the mean over draws with --eot-draws 20"
        )
    text = f"{seen}: it is randomised, and verdicts hold for the draws that were made"
    return [TrustWarning("randomised", differ, real, text)]


def _other_calls(model: Model, x: Tensor, logits: Tensor) -> list[TrustWarning]:
    """Whether a call of another size works, and gives each picture the same answer."""
    few = min(_ODD_ROWS, x.shape[0])
    try:
        with torch.no_grad():
            alone = _ask(model, x[:few])
    except UserError as error:
        text = (
            f"asked about {few} pictures at a time it fails, so the set cannot be checked by calls "
            f"of another size than {x.shape[0]}: {error}"
        )
        return [TrustWarning("batch_size", few, few, text)]
    own = logits[:few]
    if alone.shape != own.shape:
        text = f"asked about {few} pictures it returns {list(alone.shape)}, not {list(own.shape)}"
        return [TrustWarning("batch_size", few, few, text)]
    differ = int(((alone - own).abs().amax(dim=1) > 10 * _SAME * _size(own)).sum())
    if not differ:
        return []
    text = (
        f"{differ} of {few} pictures get other logits among other pictures: the classifier mixes "
        "the rows of a call (a layer in training mode?), so no verdict on a picture is its own"
    )
    return [TrustWarning("neighbours", differ, few, text)]


def _size(logits: Tensor) -> Tensor:
    """The size of logits that rounding is a share of, ``[N]``.

    It is how far the highest logit is from 0, or from the middle one. Logits have no unit, so no
    constant will do, and the lowest may be a mask's -1e9.
    """
    highest = logits.amax(dim=1)
    return torch.maximum(highest.abs(), highest - logits.median(dim=1).values)


def _gradients(gradient: Tensor | None, right: Tensor, real: int) -> list[TrustWarning]:
    if gradient is None:
        return []
    flat, right = gradient[:real].flatten(1), right[:real].to(gradient.device)
    num, warnings = int(right.sum()), []
    if zero := int(((flat == 0).all(dim=1) & right).sum()):
        text = (
            f"the gradient is zero for {zero} of {num} pictures that were looked at: attacks that "
            "follow it find nothing there; take square, which asks for none"
        )
        warnings.append(TrustWarning("zero_gradient", zero, num, text))
    if broken := int((~flat.isfinite().all(dim=1) & right).sum()):
        text = f"the gradient is not finite for {broken} of {num} pictures that were looked at"
        warnings.append(TrustWarning("gradient_not_finite", broken, num, text))
    return warnings


def _input_range(model: Model, x: Tensor, y: Tensor, right: int, real: int) -> list[TrustWarning]:
    """Where few answers are right, whether more would be if values had another range."""
    if right > 0.5 * real:
        return []
    warnings = []
    for name, (factor, offset) in _RANGES.items():
        try:
            with torch.no_grad():
                answers = _ask(model, x * factor + offset).argmax(dim=1)
        except UserError:
            continue
        better = int((answers == y.to(answers.device))[:real].sum())
        if better >= 2 * right + 0.2 * real:
            text = (
                f"the classifier is right about {right} of {real} clean pictures in [0, 1], and "
                f"about {better} with values in {name}: scale them inside it"
            )
            warnings.append(TrustWarning("input_range", real - right, real, text))
    return warnings
