"""How well samples show what they were asked for, by an encoder that their model never saw."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.common.retrieval import in_words
from pipeline.class_names import NO_LABEL, label_by_name
from pipeline.errors import UserError
from pipeline.evaluation.retrieval import Captions, retrieval
from pipeline.formats.dataset import DatasetInfo, images_of, iterate_shards
from pipeline.formats.sample_set import SampleSet, iterate_samples
from pipeline.picture_encoder import PictureEncoder
from pipeline.stack import Stack
from pipeline.text.encoder import TextEncoder, encoder_for

_CAPTION = "caption"


def check_judge(judge: PictureEncoder, samples: SampleSet, stack: Stack | None) -> None:
    """That an encoder can judge a sample set.

    Raises:
        UserError: the set has no captions or pictures of another shape; or its model was trained on
            this encoder's embeddings, as its manifest or the model says.
    """
    judge.check_shape(samples.shape, f"those of {samples.path}")
    seen = set(_strings(samples.origin))
    if stack is not None and stack.spec.condition.encoder is not None:
        seen.add(stack.spec.condition.encoder.sha256)
    if judge.sha256 in seen:
        raise UserError(
            f"the picture encoder {judge.name} is the one that these samples were drawn by, and "
            "what a model was made to please is no judge of it; train another with another seed"
        )


def retrieval_figures(
    samples: SampleSet,
    info: DatasetInfo,
    split: str,
    judge: PictureEncoder,
    text_encoder: str | None,
    seed: int,
) -> dict[str, Any]:
    """What the judge finds of the samples' prompts, and of the captions of real pictures.

    Both are compared with the same captions: the different ones of the split, and the prompts. The
    real pictures are those of the split whose captions were prompted.

    Args:
        text_encoder: where the judge's text encoder is; None for where it was.
        seed: keys the bootstrap.

    Returns:
        ``samples``, and ``real``, which is None where no caption of the split was prompted; as
        `Retrieval.to_json`. ``judge_sha256``: the picture encoder's identity.

    Raises:
        UserError: no sample has a prompt, or the text encoder is not at hand.
    """
    encoder = encoder_for(judge.text_encoder, text_encoder)
    drawn = _Pictures.of(iterate_samples(samples), judge)
    if not drawn.captions:
        raise UserError(f"{samples.path} carries no prompts, which a picture encoder judges by")
    real = _Pictures.of(iterate_shards(info, split), judge)
    vectors = _vectors(encoder, {*drawn.captions, *real.captions})
    captions = Captions(np.stack(list(vectors.values())))
    return {
        "samples": drawn.found(vectors, captions, seed),
        "real": real.only({*drawn.captions}).found(vectors, captions, seed),
        "judge_sha256": judge.sha256,
    }


def tell_retrieval(figures: dict[str, Any], split: str) -> None:
    """Prints the figures of `retrieval_figures`."""
    print(f"captions: samples {in_words(figures['samples'])}")
    if figures["real"] is None:
        print(f"captions: no picture of {split} has one of the prompts, so there is no ceiling")
    else:
        print(f"captions: the ceiling, real {split} pictures {in_words(figures['real'])}")


class _Pictures:
    """Pictures as the judge sees them, float32 ``[N, D]``, and the caption of each."""

    def __init__(self, vectors: np.ndarray, captions: list[str]) -> None:
        self.vectors, self.captions = vectors, captions

    @staticmethod
    def of(tables: Iterator[pa.Table], judge: PictureEncoder) -> "_Pictures":
        """Those of some tables that have a caption; a table at a time."""
        vectors = [np.empty((0, judge.text_encoder.width), np.float32)]
        captions: list[str] = []
        for table in tables:
            if _CAPTION not in table.column_names:
                continue
            texts = table.column(_CAPTION).to_pylist()
            told = [row for row, text in enumerate(texts) if _is_told(text)]
            vectors.append(judge.encode(images_of(table)[told]))
            captions += [texts[row] for row in told]
        return _Pictures(np.concatenate(vectors), captions)

    def only(self, wanted: set[str]) -> "_Pictures":
        """Those with these captions."""
        rows = [row for row, caption in enumerate(self.captions) if caption in wanted]
        return _Pictures(self.vectors[rows], [self.captions[row] for row in rows])

    def found(
        self, vectors: dict[str, np.ndarray], captions: Captions, seed: int
    ) -> dict[str, Any] | None:
        """What is found among the captions, whose vectors are given by their texts."""
        if not self.captions:
            return None
        texts = np.stack([vectors[caption] for caption in self.captions])
        return retrieval(self.vectors, texts, captions, seed=seed).to_json()


def _vectors(encoder: TextEncoder, captions: set[str]) -> dict[str, np.ndarray]:
    texts = sorted(captions)
    return dict(zip(texts, encoder.encode(texts).pooled, strict=True))


def _is_told(caption: str | None) -> bool:
    """Whether it is one that says something, and not a request for no condition."""
    return bool(caption and caption.strip()) and label_by_name(str(caption), ()) != NO_LABEL


def _strings(value: Any) -> Iterator[str]:
    """All strings in what JSON can hold."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
