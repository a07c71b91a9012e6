"""What a stack is asked to draw, in the forms that people give: labels, sentences or vectors."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from noisestack.face.pictures import whole_number
from pipeline.class_names import NO_CONDITION, NO_LABEL
from pipeline.errors import UserError
from pipeline.sampling.labels import all_in_turn, labels_in_turn, refuse_untrained
from pipeline.sampling.prompt_reader import PromptReader, open_prompt_reader
from pipeline.sampling.prompts import is_null_prompt
from pipeline.stack import Stack

Labels = str | int | Sequence[str | int | None] | np.ndarray | Tensor | None


class Conditions:
    """Reads what a stack is asked to draw; holds the encoder of its sentences once it is needed.

    Args:
        stack: that is asked.
        text_encoder: the directory or name of its text encoder; None for the model's own name.
    """

    def __init__(self, stack: Stack, text_encoder: str | None = None) -> None:
        self._stack, self._text_encoder = stack, text_encoder
        self._reader: PromptReader | None = None

    def read(self, given: Labels) -> np.ndarray:
        """The conditions that samples get in turn, as `pipeline.sampling.sample` takes them.

        Args:
            given: one or several labels or names of classes; of a stack that takes sentences one or
                several of those, or vectors, floats ``[…]`` or ``[K, …]``. None for all classes.

        Returns:
            int64 ``[K]``, or float32 ``[K, …]``.

        Raises:
            UserError: what the stack does not take.
        """
        if isinstance(given, Tensor):
            given = given.detach().cpu().numpy()
        if not self._stack.spec.condition.rule.embedded:
            return np.array(self._labels(given), np.int64)
        if isinstance(given, np.ndarray) and np.issubdtype(given.dtype, np.floating):
            return self._vectors(given)
        if given is None:
            raise UserError(
                f"this stack has no classes to draw in turn; say what, or {NO_CONDITION!r}"
            )
        texts = [NO_CONDITION if text is None else text for text in _several(given)]
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise UserError("this stack is drawn on sentences; give texts, none of them empty")
        return self._sentences(texts)

    def null(self) -> np.ndarray:
        """No condition, as `read` gives it, for one row."""
        if not self._stack.spec.condition.rule.embedded:
            return np.array([NO_LABEL], np.int64)
        return np.zeros((1, *self._row_shape()), np.float32)

    def _sentences(self, texts: list[str]) -> np.ndarray:
        if all(map(is_null_prompt, texts)):
            return np.repeat(self.null(), len(texts), axis=0)
        if self._reader is None:
            spec, device = self._stack.spec, self._stack.device
            self._reader = open_prompt_reader(spec.condition, self._text_encoder, device)
        if cut := self._reader.cut(texts):
            warnings.warn(self._reader.notice(len(cut), cut[0]), stacklevel=4)
        return self._reader.conditions(texts)

    def _vectors(self, given: np.ndarray) -> np.ndarray:
        shape = self._row_shape()
        rows = given[None] if given.shape == shape else given
        if rows.shape[1:] != shape or not len(rows):
            raise UserError(f"vectors have the shape {given.shape}; the stack takes {shape} a row")
        return np.ascontiguousarray(rows, np.float32)

    def _row_shape(self) -> tuple[int, ...]:
        condition = self._stack.spec.condition
        if condition.rule.has_tokens:
            return (1 + condition.length, condition.size)
        return (condition.size,)

    def _labels(self, labels: Labels) -> tuple[int, ...]:
        classes, untrained = self._stack.classes, self._stack.spec.untrained
        if labels is None:
            return all_in_turn(classes, untrained).labels
        several = labels.reshape(-1).tolist() if isinstance(labels, np.ndarray) else labels
        numbers = tuple(map(self._label, _several(several)))
        if not numbers:
            raise UserError("labels is empty; name classes, or leave it out for all of them")
        refuse_untrained(np.array(numbers), classes, untrained, "labels")
        return numbers

    def _label(self, label: Any) -> int:
        classes = self._stack.classes
        if label is None:
            return NO_LABEL
        if isinstance(label, str):
            return labels_in_turn((label,), classes, "labels").labels[0]
        return whole_number(label, "a label", NO_LABEL, max(len(classes) - 1, NO_LABEL))


def _several(given: Any) -> list[Any]:
    alone = isinstance(given, str) or not isinstance(given, Iterable)
    return [given] if alone else list(given)
