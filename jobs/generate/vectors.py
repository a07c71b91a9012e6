"""The pictures whose vectors samples are drawn on, as the config of `generate` names them."""

import sys

import numpy as np

from jobs.generate.config import GenerateConfig
from noisestack.flags import flag_of
from pipeline.conditions import ConditionSpec
from pipeline.errors import UserError
from pipeline.picture_encoder import PictureEncoder, picture_encoder_for
from pipeline.sampling.picture_file import file_bytes, picture_of
from pipeline.sampling.picture_vectors import (
    POSITIONS,
    TURN,
    VectorsInTurn,
    interpolation,
    text_steps,
    variation,
)
from pipeline.sampling.prompt_reader import open_prompt_reader
from pipeline.stack_spec import StackSpec


def vector_plan(config: GenerateConfig, spec: StackSpec) -> VectorsInTurn:
    """Variations of a picture, the way between two, or from one along a difference of texts.

    Raises:
        UserError: a model that is not drawn on embeddings of pictures; an encoder that is not at
            hand or another; a picture that it does not take; texts or pictures without a way
            between them.
    """
    flag = flag_of("interpolate" if config.variation_of is None else "variation_of")
    wanted = spec.condition.encoder
    if wanted is None or not spec.condition.is_of_pictures:
        raise UserError(f"{flag}: the model is not drawn on embeddings of pictures; use a decoder")
    given = None if config.picture_encoder is None else str(config.picture_encoder)
    encoder = picture_encoder_for(wanted, given)
    paths = config.interpolate or (config.variation_of,)
    pictures = np.stack(
        [
            picture_of(file_bytes(path), str(path), encoder.shape, "the picture encoder takes")
            for path in paths
            if path is not None
        ]
    )
    vectors = encoder.encode(pictures)
    positions = POSITIONS if config.positions is None else config.positions
    if config.interpolate is not None:
        return interpolation(pictures, vectors, positions)
    if config.towards is None or config.away_from is None:
        return variation(pictures[0], vectors[0])
    texts = (config.towards, config.away_from)
    turn = TURN if config.turn is None else config.turn
    of_texts = _text_vectors(texts, encoder, config.text_encoder)
    return text_steps(pictures[0], vectors[0], texts, of_texts, turn, positions)


def _text_vectors(
    texts: tuple[str, str], encoder: PictureEncoder, text_encoder: str | None
) -> np.ndarray:
    """The pooled vectors of two sentences, float32 ``[2, D]``; says on stderr if one is cut."""
    for flag, text in zip(("towards", "away_from"), texts, strict=True):
        if not text.strip():
            raise UserError(f"{flag_of(flag)}: the text is empty; write a sentence")
    space = encoder.text_encoder
    reader = open_prompt_reader(
        ConditionSpec("embedding", space.width, encoder=space), text_encoder
    )
    if cut := reader.cut(texts):
        print(f"generate: {reader.notice(len(cut), cut[0])}", file=sys.stderr, flush=True)
    return reader.conditions(texts)
