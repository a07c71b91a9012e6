"""One copy of the model with its engine and its HTTP application, without Ray."""

import functools
import time
from pathlib import Path

from fastapi import FastAPI
from pydantic import TypeAdapter

from pipeline.conditions import CONDITIONS, ConditionSpec
from pipeline.errors import UserError
from pipeline.formats.model import StoredModel, open_model
from pipeline.sampling import is_exact
from pipeline.sampling.prompt_reader import PromptReader, open_prompt_reader
from pipeline.stack import KIND, Stack
from serve.drawing import Drawing, draw
from serve.engine import Engine
from serve.prompts import PromptEncoder
from serve.schema import ServedModel
from serve.settings import Settings
from serve.web import create_app

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


def open_reader(stored: StoredModel, settings: Settings) -> PromptReader | None:
    """The encoder of a model's prompts; None for a model that takes no sentences.

    Raises:
        UserError: it is not at hand, or another than the model was trained with; or no sentence
            can be what the model is drawn on.
    """
    condition = TypeAdapter(ConditionSpec).validate_python(stored.config.get("condition", _NONE))
    if not condition.rule.embedded:
        return None
    device = "cuda" if settings.num_gpus > 0 else "cpu"
    return open_prompt_reader(condition, settings.text_encoder, device)


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
            UserError: as `check_servable` and `open_reader`.
        """
        stored = check_servable(settings.model)
        reader = open_reader(stored, settings)
        stack = Stack.load(settings.model, "cuda" if settings.num_gpus > 0 else "cpu")
        start = time.perf_counter()
        exact = is_exact(stack)
        seconds_per_batch = (time.perf_counter() - start) / _CALLS_OF_SELF_TEST
        self.engine = Engine(
            functools.partial(draw, stack),
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
        )
        self.app = create_app(
            self.engine,
            model,
            request_timeout_s=settings.request_timeout_s,
            max_body_bytes=settings.max_body_bytes,
            digest=digest,
            prompts=None
            if reader is None
            else PromptEncoder(reader, max_waiting=settings.max_queued_rows),
        )
