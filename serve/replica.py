"""One copy of the model with its engine and its HTTP application, without Ray."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fastapi import FastAPI
from pydantic import TypeAdapter

from pipeline.conditions import CONDITIONS, ConditionSpec
from pipeline.errors import UserError
from pipeline.formats.model import StoredModel, open_model
from pipeline.picture_encoder import PictureEncoder, picture_encoder_for
from pipeline.sampling import is_exact
from pipeline.sampling.prior import Prior, open_prior
from pipeline.sampling.prompt_reader import PromptReader, open_prompt_reader
from pipeline.stack import KIND, Stack
from pipeline.stack_spec import StackSpec
from serve.drawing import Drawing, draw
from serve.encoding import Encoded, EncodingQueue, encode_picture, encode_prompt
from serve.engine import Engine
from serve.schema import ServedModel
from serve.settings import Settings
from serve.web import create_app

Encoder = TypeVar("Encoder")
Given = TypeVar("Given")

_NONE = {"kind": "none"}  # of a model that states no condition
# The number of calls of the sampler in `is_exact`.
_CALLS_OF_SELF_TEST = 4


def check_servable(path: Path) -> StoredModel:
    """Checks that a model directory is whole and its condition one of ours; builds no network.

    Raises:
        UserError: it is missing, incomplete or altered, or its condition is none of ours.
    """
    stored = open_model(path, KIND)
    kind = stored.config.get("condition", {}).get("kind", "none")
    if kind not in CONDITIONS:
        raise UserError(f"{path} has the condition {kind}, which no prompt can name")
    return stored


@dataclass(frozen=True)
class Encoders:
    """What encodes the requests of a model; nothing for a model of labels.

    Attributes:
        prompts: of a model that takes sentences.
        pictures: of a model that is drawn on pictures.
        prior: makes a sentence the vector of a picture, for such a model.
    """

    prompts: PromptReader | None = None
    pictures: PictureEncoder | None = None
    prior: Prior | None = None


def open_encoders(stored: StoredModel, settings: Settings) -> Encoders:
    """The encoder that a model was trained with, and the prior in front of it.

    With a prior a model answers sentences though its picture encoder is not at hand.

    Raises:
        UserError: they are not at hand, or others than the model was trained with.
    """
    device = "cuda" if settings.num_gpus > 0 else "cpu"
    if settings.prior is not None:
        spec = StackSpec.from_json(stored.config, str(stored.path))
        prior = open_prior(settings.prior, spec, device=device)
        reader = open_prompt_reader(prior.condition, settings.text_encoder, device)
        try:
            return Encoders(reader, _pictures(spec.condition, settings, device), prior)
        except UserError:
            if settings.picture_encoder is not None:
                raise
            return Encoders(reader, None, prior)
    condition = TypeAdapter(ConditionSpec).validate_python(stored.config.get("condition", _NONE))
    if not condition.rule.embedded:
        return Encoders()
    if condition.encoder is None:
        raise UserError(f"{stored.path} is drawn on embeddings, and does not say whose")
    if condition.encoder.reads_texts:
        return Encoders(prompts=open_prompt_reader(condition, settings.text_encoder, device))
    return Encoders(pictures=_pictures(condition, settings, device))


def _pictures(condition: ConditionSpec, settings: Settings, device: str) -> PictureEncoder:
    assert condition.encoder is not None
    given = None if settings.picture_encoder is None else str(settings.picture_encoder)
    return picture_encoder_for(condition.encoder, given, device)


class Replica:
    """A loaded stack that answers requests.

    Attributes:
        engine: runs while the lifespan of ``app`` does.
        app: the ASGI application.
    """

    engine: Engine[Drawing]
    app: FastAPI

    def __init__(self, settings: Settings, digest: bytes | None) -> None:
        """Loads the model and runs its self-test, which also warms it up.

        Args:
            settings: of the endpoint.
            digest: of the key that requests must carry; None for no key.

        Raises:
            UserError: as `check_servable` and `open_encoders`.
        """
        stored = check_servable(settings.model)
        encoders = open_encoders(stored, settings)
        stack = Stack.load(settings.model, "cuda" if settings.num_gpus > 0 else "cpu")
        start = time.perf_counter()
        exact = is_exact(stack)
        seconds_per_batch = (time.perf_counter() - start) / _CALLS_OF_SELF_TEST
        self.engine = Engine(
            functools.partial(draw, stack, encoders.prior),
            stack.rows_per_call,
            max_queued_rows=settings.max_queued_rows,
            seconds_per_batch=seconds_per_batch,
        )
        model = ServedModel(
            id=settings.served_name,
            sha256=stack.sha256,
            created=int((stored.path / "card.json").stat().st_mtime),
            spec=stack.spec,
            exact=exact,
            max_layers=settings.max_layers,
            reads=None if encoders.prompts is None else encoders.prompts.condition.encoder,
            varies=encoders.pictures is not None,
            prior_sha256=None if encoders.prior is None else encoders.prior.stack.sha256,
        )
        self.app = create_app(
            self.engine,
            model,
            request_timeout_s=settings.request_timeout_s,
            max_body_bytes=settings.max_body_bytes,
            digest=digest,
            prompts=_queue(encode_prompt, encoders.prompts, settings),
            pictures=_queue(encode_picture, encoders.pictures, settings),
        )


def _queue(
    encode: Callable[[Encoder, Given], Encoded], encoder: Encoder | None, settings: Settings
) -> EncodingQueue[Given] | None:
    if encoder is None:
        return None
    return EncodingQueue(functools.partial(encode, encoder), max_waiting=settings.max_queued_rows)
