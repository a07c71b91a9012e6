"""Which encoder made an embedding: stored with it, and with the models that are drawn on it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderId:
    """A frozen encoder of texts or pictures; two of the same id give the same embeddings.

    Attributes:
        name: what loads it: a directory's name, or a public name. Not a part of its identity.
        sha256: over its weights and its config.
        tokenizer_sha256: over its tokenizer's files; empty for an encoder of pictures.
        max_length: the most tokens of a text, marks of start and end included; 0 for pictures.
        pooling: how a text's token states become one vector: ``mean`` or ``first``; ``picture``
            for an encoder of pictures.
        width: dimensions of a token's state and of the pooled vector.
    """

    name: str
    sha256: str
    tokenizer_sha256: str
    max_length: int
    pooling: str
    width: int

    @property
    def reads_texts(self) -> bool:
        """Whether it is an encoder of texts; else of pictures."""
        return self.max_length > 0

    def same_as(self, other: "EncoderId") -> bool:
        """Whether both give the same embeddings: all but the name agrees."""
        return (
            self.sha256,
            self.tokenizer_sha256,
            self.max_length,
            self.pooling,
            self.width,
        ) == (other.sha256, other.tokenizer_sha256, other.max_length, other.pooling, other.width)
