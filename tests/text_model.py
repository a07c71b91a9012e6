"""A small untrained stack that is drawn on sentences, and the tiny encoder that reads them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_stack import small_stack
from tiny_encoders import tiny_bert

from pipeline.conditions import ConditionSpec, embedded_condition
from pipeline.stack import save_stack
from pipeline.text.encoder import TextEncoder

MAX_LENGTH = 6


@dataclass(frozen=True)
class TextModel:
    """A model directory, its condition, and its encoder's directory."""

    path: Path
    condition: ConditionSpec
    encoder: Path

    def load_encoder(self) -> TextEncoder:
        return TextEncoder.load(self.encoder, max_length=MAX_LENGTH)


def text_model(place: Path, kind: str = "text", **changes: Any) -> TextModel:
    """The model in ``place/model``, the encoder in ``place/encoder``."""
    encoder = tiny_bert(place / "encoder")
    opened = TextEncoder.load(encoder, max_length=MAX_LENGTH)
    condition = embedded_condition(kind, opened.id)
    attends = (0, 1) if condition.rule.has_tokens else ()
    stack = small_stack(condition=condition, classes=(), attends=attends, **changes)
    save_stack(stack, {}, place / "model", {})
    return TextModel(place / "model", condition, encoder)
