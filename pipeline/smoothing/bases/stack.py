"""A stack as a classifier: under which class does it find the noisy picture the likeliest?"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.formats.dataset import check_fits
from pipeline.smoothing.base import SmoothingBase
from pipeline.smoothing.bases.entry import BaseEntry, BaseOptions
from pipeline.smoothing.bases.opened import open_stack, staged
from pipeline.smoothing.evidence import EvidenceClassifier, looks_through
from pipeline.stack import Stack

HIGHEST = 12.0
"""Above this level of a stack's units its classes look alike: all is their mean picture."""
LEAVE = 20.0
"""Nats by which a class may be going to lag and still be asked about; see `EvidenceClassifier`."""


class OfStack:
    """The class of least ``-log p(y | c)`` of the noisy picture y; see `evidence`.

    Args:
        stack: conditioned on labels.
        sigma: the certificate's noise level in [0, 1] units.
        looks: pairs of denoising errors in each stage, coarsest first; None for one in each, and
            two in the last.
        leave: see `LEAVE`; None for that, infinite to ask about all classes at each look.

    Raises:
        UserError: the stack has no labels, no stage for this noise, or too few trained classes.
    """

    classifier = None

    def __init__(
        self,
        stack: Stack,
        sigma: float,
        looks: tuple[int, ...] | None = None,
        leave: float | None = None,
    ) -> None:
        spec = stack.spec
        if spec.condition.kind != "label":
            raise UserError(
                f"the stack {stack.name} is conditioned on {spec.condition.kind}, so it tells no "
                "classes apart; train one with --condition label"
            )
        self._stack, self._device = stack, stack.device
        self._leave = LEAVE if leave is None else leave
        self._counts = (*(1,) * (len(spec.stages) - 1), 2) if looks is None else looks
        labels = np.arange(len(spec.classes))
        conditions = spec.condition.rule.read({"label": labels})
        assert conditions is not None
        denoiser = staged(stack)
        denoiser.stage_of(sigma)
        self._looks = looks_through(denoiser, sigma, self._counts, HIGHEST)
        self.classify = EvidenceClassifier(
            denoiser,
            conditions.to(stack.device),
            sigma,
            self._looks,
            leave=self._leave,
            rows_per_call=spec.rows_per_call,
            candidates=~np.isin(labels, spec.untrained),
        )
        self.classes, self.shape = spec.classes, spec.shape
        self.rows_per_call = spec.rows_per_call

    def record(self) -> dict[str, Any]:
        """The stack, the levels that it is asked at, and when a class leaves."""
        return {
            "base": "stack",
            "stack_sha256": self._stack.sha256,
            "rows_per_call": self.rows_per_call,
            "looks": [look.level for look in self._looks],
            "leave_nats": self._leave,
        }

    def answers(self, x: Tensor, keys: Any) -> np.ndarray:
        """See `SmoothingBase`; its own noise is keyed by the same keys for another purpose."""
        return self.classify(x.to(self._device, torch.float32), keys)


def _open(options: BaseOptions, sigma: float, device: str) -> SmoothingBase:
    if options.classifier is not None:
        raise UserError("the base stack is its own classifier; leave classifier out")
    stack = open_stack(options.stack, options.info, device)
    check_fits(
        options.info, shape=stack.shape, classes=stack.classes, what=f"the stack {options.stack}"
    )
    return OfStack(stack, sigma, options.looks, options.leave)


ENTRY = BaseEntry(
    "stack",
    "the class under which a stack finds the noisy picture the likeliest, by pairs of denoising "
    "errors with noise of its own",
    frozenset({"stack"}),
    _open,
)
