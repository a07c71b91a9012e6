"""Prompts into what a model is drawn on, by the frozen encoder that it was trained with."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch

from pipeline.conditions import ConditionSpec
from pipeline.errors import UserError
from pipeline.sampling.prompts import is_null_prompt
from pipeline.text.encoder import TextEncoder, encoder_for
from pipeline.text.tokens import beginning, cut_line

_KEPT_BYTES = 64 << 20


class PromptReader:
    """Holds the frozen encoder, and the conditions of the last prompts, 64 MiB of them.

    Threads may share it.

    Args:
        condition: of the model, of a kind that is drawn on embeddings.
        encoder: of texts, the one that the model was trained with.
    """

    def __init__(self, condition: ConditionSpec, encoder: TextEncoder) -> None:
        self.condition, self._encoder = condition, encoder
        self._has_tokens = condition.rule.has_tokens
        shape = (1 + condition.length, condition.size) if self._has_tokens else (condition.size,)
        self._null = np.zeros(shape, np.float32)
        self._most_kept = max(1, _KEPT_BYTES // self._null.nbytes)
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def max_tokens(self) -> int:
        """The most tokens of a prompt, marks of start and end included."""
        return self._encoder.id.max_length

    def conditions(self, prompts: Sequence[str]) -> np.ndarray:
        """The conditions of N prompts, each bit for bit a function of its prompt alone.

        Args:
            prompts: sentences; ``<none>`` and ``-`` ask for the null condition.

        Returns:
            float32 ``[N, 1+L, D]``; ``[N, D]`` for a kind without tokens.

        Raises:
            UserError: a prompt is empty, or has nothing that the encoder's tokenizer knows.
        """
        with self._lock:
            rows = {p: self._null if is_null_prompt(p) else self._kept.get(p) for p in prompts}
            new = [prompt for prompt, row in rows.items() if row is None]
            if new:
                encoded = self._encoder.conditions(new)
                rows |= zip(new, encoded if self._has_tokens else encoded[:, 0], strict=True)
            found = {prompt: row for prompt, row in rows.items() if row is not None}
            self._keep(found)
        return np.stack([self._null, *(found[prompt] for prompt in prompts)])[1:]

    def cut(self, prompts: Sequence[str]) -> list[str]:
        """Those prompts of which the encoder sees only the beginning; errors as `conditions`."""
        texts = [prompt for prompt in prompts if not is_null_prompt(prompt)]
        if not texts:
            return []
        try:
            return [text for text, cut in zip(texts, self._encoder.cut(texts), strict=True) if cut]
        except UserError:
            for text in texts:  # the message numbers them, and a person sees no such list
                self._check(text)
            raise

    def notice(self, num_cut: int, first: str) -> str:
        """A line for people about prompts that `cut` names: how many, and the first."""
        return cut_line(num_cut, beginning(first), self.max_tokens)

    def _check(self, text: str) -> None:
        try:
            self._encoder.cut([text])
        except UserError:
            raise UserError(
                f"the prompt {beginning(text)} has nothing that the model's encoder knows; "
                "write words"
            ) from None

    def _keep(self, rows: dict[str, np.ndarray]) -> None:
        for prompt, row in rows.items():
            if row is self._null:
                continue
            if prompt not in self._kept:
                self._kept[prompt] = row.copy()  # a view would keep its whole array in memory
            self._kept.move_to_end(prompt)
        while len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)


def open_prompt_reader(
    condition: ConditionSpec, given: str | None = None, device: torch.device | str = "cpu"
) -> PromptReader:
    """The reader of a model's prompts, with the encoder that the model was trained with.

    Args:
        condition: of the model, of a kind that is drawn on embeddings.
        given: the encoder's name or directory; None for the name that the model has it by.
        device: where the encoder computes.

    Raises:
        UserError: the encoder is not at hand, or another than the model was trained with; or the
            model is drawn on embeddings of pictures.
    """
    encoder = condition.encoder
    if encoder is None or not encoder.reads_texts:
        whose = "" if encoder is None else f" by {encoder.name}"
        raise UserError(
            f"the model is drawn on embeddings{whose} that no sentence gives; put a prior of "
            "train-prior before it (--prior)"
        )
    return PromptReader(condition, encoder_for(encoder, given, device=device))
