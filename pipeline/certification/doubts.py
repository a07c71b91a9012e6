"""What speaks against certificates before any is made: seen by a look at the base."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.perturbation_terms import TrustWarning
from pipeline.pictures import to_unit
from pipeline.precision import full_float32
from pipeline.smoothing.base import Logits, SmoothingBase
from pipeline.smoothing.noise import DrawKeys
from pipeline.smoothing.settings import CertifySettings

# Of the spread of a call's logits: what another order of sums may change on a GPU.
_SAME = 1e-4
_NEAR = 0.02  # of a call's votes


def look_at_base(
    base: SmoothingBase, images: np.ndarray, settings: CertifySettings
) -> list[TrustWarning]:
    """Asks a base, and the classifier inside it, about one call of noisy pictures, and again.

    Args:
        images: uint8 ``[N, H, W, C]``, N >= 1, of which the first are used.

    Returns:
        A warning of code training_mode, or nothing.

    Raises:
        UserError: its answers are not a function of the picture: it is randomised, or it mixes the
            rows of a call; a score is not a number.
    """
    size, classifier = base.rows_per_call, base.classifier
    rows = np.arange(size) % len(images)
    keys = DrawKeys(settings.seed, rows, np.arange(size) // len(images))
    x = settings.make_noise().noisy(to_unit(images[rows]), keys)
    turned = DrawKeys(keys.seed, keys.row_keys[::-1].copy(), keys.draws[::-1].copy())
    with full_float32(), torch.inference_mode():
        if classifier is not None:
            _look_at_logits(classifier, x)
        votes, again = base.answers(x, keys), base.answers(x, keys)
        _refuse(int((votes != again).sum()), size, _RANDOM)
        other = base.answers(x.flip(0), turned)[::-1]
        # A GPU may add in another order, which turns a vote where two scores are that near.
        turned_votes = int((votes != other).sum())
        _refuse(turned_votes if turned_votes > _NEAR * size else 0, size, _MIXES)
    return _training_mode(() if classifier is None else classifier.training_layers)


_RANDOM = (
    "asked twice about the same noisy pictures, the classifier answers otherwise for {} of {}: it "
    "is randomised, and certificates speak of a function; put it into evaluation mode, or take out "
    "what draws in it"
)
_MIXES = (
    "{} of {} noisy pictures are answered otherwise in another order: the classifier mixes the "
    "rows of a call (a layer in training mode?), so votes are not each draw's own, and nothing can "
    "be certified"
)


def _look_at_logits(classifier: Logits, x: Tensor) -> None:
    """Logits say sooner than votes that a classifier is random, or mixes rows."""
    logits, again = classifier(x), classifier(x)
    size = (logits.amax() - logits.amin()).clamp_min(1e-30) * _SAME
    if not bool(logits.isfinite().all()):
        return  # the base says what is to be done
    for text, other in ((_RANDOM, again), (_MIXES, classifier(x.flip(0)).flip(0))):
        _refuse(int(((logits - other).abs().amax(dim=1) > size).sum()), len(x), text)


def _refuse(differ: int, size: int, text: str) -> None:
    if differ:
        raise UserError(text.format(differ, size))


def _training_mode(names: Sequence[str]) -> list[TrustWarning]:
    if not names:
        return []
    text = (
        f"{len(names)} layers came in training mode ({names[0]} and the like): they were put in "
        "evaluation mode, which is what is certified"
    )
    return [TrustWarning("training_mode", len(names), len(names), text)]
