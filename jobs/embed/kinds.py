"""What `embed` encodes: captions by a frozen language model, or pictures by a picture encoder."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, ClassVar

from jobs.common.records import Record
from jobs.embed.config import EmbedConfig
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.encoder_id import EncoderId
from pipeline.picture_embedder import PictureEmbedder
from pipeline.picture_encoder import PictureEncoder
from pipeline.text.embedder import CaptionEmbedder, check_captions
from pipeline.text.encoder import TextEncoder
from pipeline.text.tokens import cut_line


class Kind(ABC):
    """What is encoded, and by what. It is opened to know the encoder and what is wrong with it.

    Attributes:
        unit: what is encoded, in words.
        worker: the class that makes shards.
        has_tokens: whether there are token states beside the pooled vectors.
        encoder: which one.
    """

    unit: ClassVar[str]
    worker: ClassVar[type[Any]]
    has_tokens: ClassVar[bool]
    encoder: EncoderId

    @abstractmethod
    def check(self, info: DatasetInfo, splits: Sequence[str]) -> None:
        """Raises UserError for a row that cannot be encoded."""

    @abstractmethod
    def worker_args(self) -> dict[str, Any]:
        """What a worker is made with, beside what all kinds are."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Of packages that only this kind needs."""

    def tell_cut(self, records: Sequence[Record]) -> int:
        """Says which texts were cut; returns how many."""
        return 0


class Captions(Kind):
    """Captions, by a text encoder."""

    unit: ClassVar[str] = "captions"
    worker: ClassVar[type[Any]] = CaptionEmbedder
    has_tokens: ClassVar[bool] = True

    def __init__(self, config: EmbedConfig, info: DatasetInfo) -> None:
        if not info.has_captions:
            raise UserError(
                f"{info.path} has no captions; ingest it from Parquet or from a metadata file that "
                "has a column of texts (--caption-column)"
            )
        assert config.text_encoder is not None
        self.encoder = TextEncoder.load(
            config.text_encoder, max_length=config.max_length, pooling=config.pooling
        ).id

    def check(self, info: DatasetInfo, splits: Sequence[str]) -> None:
        check_captions(info, splits)

    def worker_args(self) -> dict[str, Any]:
        return {"encoder": self.encoder}

    def versions(self) -> dict[str, str]:
        return {"transformers": version("transformers")}

    def tell_cut(self, records: Sequence[Record]) -> int:
        num_cut = sum(int(record["num_cut"]) for record in records)
        if num_cut:
            first = next(record["first_cut"] for record in records if record["num_cut"])
            print(cut_line(num_cut, first, self.encoder.max_length), flush=True)
        return num_cut


class Pictures(Kind):
    """Pictures, by a picture encoder."""

    unit: ClassVar[str] = "pictures"
    worker: ClassVar[type[Any]] = PictureEmbedder
    has_tokens: ClassVar[bool] = False

    def __init__(self, config: EmbedConfig, info: DatasetInfo) -> None:
        assert config.pictures is not None
        self._model = config.pictures
        opened = PictureEncoder.load(config.pictures)
        opened.check_shape(info.shape, f"those of {info.path}")
        self.encoder = opened.id

    def check(self, info: DatasetInfo, splits: Sequence[str]) -> None:
        """Every picture of the right shape can be encoded."""

    def worker_args(self) -> dict[str, Any]:
        return {"model": self._model, "sha256": self.encoder.sha256}

    def versions(self) -> dict[str, str]:
        return {}


def kind_of(config: EmbedConfig, info: DatasetInfo) -> Kind:
    """The kind that a config names.

    Raises:
        UserError: its encoder is not at hand, or the dataset does not suit it.
    """
    return Captions(config, info) if config.pictures is None else Pictures(config, info)
