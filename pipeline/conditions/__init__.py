"""What pictures are drawn on: one kind of condition a file; `CONDITIONS` holds them, by name."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipeline.conditions.base import Condition, ConditionEntry
from pipeline.errors import UserError
from pipeline.formats.encoder_id import EncoderId
from pipeline.registry import entries_of

CONDITIONS = entries_of(__name__, __path__, ConditionEntry)

EMBEDDED_CONDITIONS = {name: entry for name, entry in CONDITIONS.items() if entry.kind.embedded}

if TYPE_CHECKING:
    ConditionName = str
    EmbeddedConditionName = str
else:
    ConditionName = Literal[tuple(CONDITIONS)]
    EmbeddedConditionName = Literal[tuple(EMBEDDED_CONDITIONS)]


@dataclass(frozen=True)
class ConditionSpec:
    """What a model's config.json says of its condition.

    Attributes:
        kind: a key of `CONDITIONS`.
        size: the number of classes, a vector's dimensions, or 0.
        length: places for tokens, for a kind that has them; else 0.
        encoder: whose embeddings the model was trained on; None for a kind without.
    """

    kind: ConditionName
    size: int = 0
    length: int = 0
    encoder: EncoderId | None = None

    @property
    def rule(self) -> Condition:
        """The condition of this kind and size."""
        return CONDITIONS[self.kind].kind(self.size, self.length)

    @property
    def is_of_pictures(self) -> bool:
        """Whether a model is drawn on the embeddings of pictures: whether it is a decoder."""
        return self.encoder is not None and not self.encoder.reads_texts

    def to_json(self) -> dict[str, Any]:
        """The form in config.json, in which what a kind does not have is left out."""
        return {
            key: value for key, value in asdict(self).items() if value or key in ("kind", "size")
        }


def embedded_condition(kind: ConditionName, encoder: EncoderId) -> ConditionSpec:
    """The condition of a model that is trained on an encoder's embeddings.

    Args:
        kind: one whose `Condition.embedded` is true.
        encoder: that made the embeddings.

    Raises:
        UserError: the kind needs tokens, and the encoder gives none.
    """
    rule = CONDITIONS[kind].kind
    if not rule.has_tokens:
        return ConditionSpec(kind, encoder.width, encoder=encoder)
    if not encoder.reads_texts:
        raise UserError(
            f"the embeddings of {encoder.name} have no tokens, which the condition {kind} needs; "
            "train with --condition embedding"
        )
    return ConditionSpec(kind, encoder.width, encoder.max_length, encoder)
