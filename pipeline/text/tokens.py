"""Texts as token numbers of one length, and which of them were cut."""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.transformers_log import quiet_transformers

_SHOWN = 40  # letters of a text in a message


class UnusableText(UserError):
    """A text that cannot be encoded.

    Attributes:
        row: its number among the texts that were given.
        what: is wrong with it, as the end of a sentence that begins with the text.
    """

    def __init__(self, row: int, what: str) -> None:
        super().__init__(f"text {row} {what}; give it words")
        self.row, self.what = row, what


def check_text(text: object, row: int) -> None:
    """UnusableText if a text is none at all, or holds nothing but blanks."""
    if not isinstance(text, str) or not text.strip():
        raise UnusableText(row, "is empty")


class Tokens:
    """Cuts texts into tokens; may be shared by threads.

    Args:
        tokenizer: of transformers.
        max_length: the most tokens of a text, marks of start and end included.
        inputs: what the network takes, by name.
        where: the encoder's directory, for messages.

    Raises:
        UserError: the length leaves no room for a text, or is more than the tokenizer allows.
    """

    def __init__(
        self, tokenizer: Any, max_length: int, inputs: Sequence[str], where: object
    ) -> None:
        self._tokenizer, self._max_length, self._inputs = tokenizer, max_length, tuple(inputs)
        # A fast tokenizer holds the length that it cuts to, and refuses a second thread meanwhile.
        self._lock = Lock()
        self._marks = int(tokenizer.num_special_tokens_to_add())
        if not self._marks < max_length <= tokenizer.model_max_length:
            most = min(tokenizer.model_max_length, 1 << 20)
            raise UserError(
                f"max_length is {max_length:,}; {where} takes {self._marks + 1} to {most:,} tokens"
            )

    def __call__(self, texts: Sequence[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """N texts as tokens.

        Returns:
            What the network takes, int64 ``[N, max_length]`` by name, ``attention_mask`` among it;
            and which texts were cut, bool ``[N]``.

        Raises:
            UnusableText: one is empty, or has not one token.
        """
        for row, text in enumerate(texts):
            check_text(text, row)
        with self._lock, quiet_transformers():
            found = self._tokenizer(
                list(texts),
                padding="max_length",
                truncation=True,
                max_length=self._max_length,
                return_attention_mask=True,
                return_tensors="np",
            )
            mask = np.asarray(found["attention_mask"], np.int64)
            lengths = mask.sum(1)
            cut = lengths == self._max_length
            for row in np.flatnonzero(cut).tolist():  # full: cut, or just as long
                whole = self._tokenizer(texts[row], padding=False, truncation=False)
                cut[row] = len(whole["input_ids"]) > self._max_length
        for row in np.flatnonzero(lengths <= self._marks).tolist():
            what = "has no letter that the encoder's tokenizer knows"
            raise UnusableText(row, f"({beginning(texts[row])}) {what}")
        arrays = {name: np.asarray(found[name], np.int64) for name in self._inputs if name in found}
        return {**arrays, "attention_mask": mask}, cut


def beginning(text: str) -> str:
    """A text's first letters, quoted, for a message."""
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…")


def notice_of_cut(texts: Sequence[str], cut: np.ndarray, max_length: int) -> str | None:
    """A line about the texts that were cut, for people; None where none was.

    Args:
        texts: N texts.
        cut: which were cut, bool ``[N]``.
        max_length: the length they were cut to.
    """
    rows = np.flatnonzero(cut)
    if not len(rows):
        return None
    return cut_line(len(rows), beginning(texts[rows[0]]), max_length)


def cut_line(num_cut: int, first: str, max_length: int) -> str:
    """What a person is told of texts that were cut.

    Args:
        first: the beginning of the first, and where it is.
    """
    were = "text was" if num_cut == 1 else "texts were"
    such = "" if num_cut == 1 else "the first "
    return (
        f"{num_cut:,} {were} longer than {max_length} tokens, and the rest was left out: "
        f"{such}{first}"
    )
