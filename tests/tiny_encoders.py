"""Text encoders small enough for tests, with random weights: directories of transformers."""

import random
from pathlib import Path
from typing import Any

import torch

WORDS = [
    *("a", "and", "the", "of", "small", "large", "red", "green", "blue", "black"),
    *("circle", "square", "triangle", "above", "below", "left", "right", "cat", "dog", "sleeping"),
    *("one", "two", "three", ".", ","),
]
_MARKS = {"bert": ("[CLS]", "[SEP]"), "t5": (None, "</s>")}


def tiny_bert(path: Path, seed: int = 0, **changes: Any) -> Path:
    """An encoder-only model of 16 dimensions that takes up to 24 tokens; the directory."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=_num_words(),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        **changes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.BertModel(config).save_pretrained(path)
    return _with_tokenizer(path, "bert")


def tiny_t5(path: Path, seed: int = 0) -> Path:
    """A model with encoder and decoder, of 16 dimensions; the directory."""
    import transformers

    config = transformers.T5Config(
        vocab_size=_num_words(), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.T5ForConditionalGeneration(config).save_pretrained(path)
    return _with_tokenizer(path, "t5")


def sentences(num: int, seed: int = 0, most: int = 8) -> list[str]:
    """Sentences of one to ``most`` words that the tokenizers know, all drawn by the seed."""
    draws = random.Random(seed)
    return [" ".join(draws.choices(WORDS, k=draws.randint(1, most))) for _ in range(num)]


def _num_words() -> int:
    return len(WORDS) + 4


def _with_tokenizer(path: Path, kind: str) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    first, last = _MARKS[kind]
    marks = ["<pad>", "<unk>", first or "<first>", last]
    numbers = {word: number for number, word in enumerate([*marks, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}" if first else f"$A {last}",
        special_tokens=[(mark, numbers[mark]) for mark in (first, last) if mark],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token=last
    ).save_pretrained(path)
    return path
