"""The HTTP application: OpenAI's images API over an `Engine`, and a page. No Ray."""

import asyncio
import base64
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from functools import partial
from importlib import resources
from typing import Any, TypeVar

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from pipeline.errors import UserError
from pipeline.sampling.known_picture import KnownPicture
from serve.drawing import Drawing
from serve.encoding import Encoded, EncodingQueue
from serve.engine import Engine, EngineClosed, QueueFull, SamplingFailed
from serve.errors import ApiError, from_validation
from serve.form import read_form
from serve.guards import BodyLimit, KeyGuard, error_response
from serve.pictures import EDIT_FORM, VARIATION_FORM, known_of, one_picture
from serve.schema import (
    EditRequest,
    GeneratedImage,
    ImageRequest,
    ImagesResponse,
    ModelCard,
    ModelList,
    ServedModel,
    VariationRequest,
    model_card,
)
from serve.task import SamplingTask, check_model_id, edit_task_of, task_of, variation_task_of

T = TypeVar("T")

# The page may run its own script and talk to its own server only.
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
# The openai client (3.54) obeys Retry-After up to 120 s; above that it gives up at once.
_LONGEST_RETRY_AFTER_S = 120
_PIXEL_BYTES, _HEAD_BYTES = 4, 4096
# The status that proxies log when a client has disconnected; nobody receives it.
_CLIENT_GONE = 499


def create_app(
    engine: Engine[Drawing],
    model: ServedModel,
    *,
    request_timeout_s: float,
    max_body_bytes: int,
    digest: bytes | None = None,
    prompts: EncodingQueue[str] | None = None,
    pictures: EncodingQueue[bytes] | None = None,
) -> FastAPI:
    """The application. Its lifespan starts and stops the engine.

    Args:
        engine: draws the pictures.
        model: what it serves.
        request_timeout_s: seconds from a request's arrival to its 504.
        max_body_bytes: larger bodies get a 413; pictures in a body have bytes of their own on top.
        digest: `key.key_digest` of the key that requests must carry; None for no key.
        prompts: encodes the prompts of a model that takes sentences; None for other models.
        pictures: the same of a model that is drawn on pictures.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine:
            yield
        for encoding in (prompts, pictures):
            if encoding is not None:
                encoding.close()

    # FastAPI's own documentation pages load scripts from elsewhere, so they are off.
    app = FastAPI(title="Noisestack", lifespan=lifespan, docs_url=None, redoc_url=None)
    _answer_errors_in_openai_format(app)
    page = resources.files("serve").joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY})

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        """200 while the engine works, 503 when it does not."""
        healthy = engine.healthy
        body = {"status": "ok" if healthy else "failing"}
        return JSONResponse(body, 200 if healthy else 503)

    @app.get("/v1/models")
    async def models() -> ModelList:
        """The one model that this endpoint serves."""
        return ModelList(data=[model_card(model)])

    @app.get("/v1/models/{name}")
    async def one_model(name: str) -> ModelCard:
        """The model, if it is served here."""
        check_model_id(name, model)
        return model_card(model)

    @app.post("/v1/images/generations", response_model_exclude_none=True)
    async def generate(body: ImageRequest, request: Request) -> ImagesResponse:
        """Draws pictures."""
        task = task_of(body, model)
        work = _fulfil(engine, task, partial(_encoded, prompts, task.prompt))
        return await _while_connected(request, work, request_timeout_s)

    @app.post("/v1/images/edits", response_model_exclude_none=True, openapi_extra=EDIT_FORM)
    async def edit(request: Request) -> ImagesResponse:
        """Draws the transparent parts of a picture anew."""
        body, files = await read_form(request, EditRequest, ("image", "mask"))
        task = edit_task_of(body, model)
        known = partial(asyncio.to_thread, known_of, files, model.spec.shape)
        work = _fulfil(engine, task, partial(_encoded, prompts, task.prompt), known)
        return await _while_connected(request, work, request_timeout_s)

    @app.post(
        "/v1/images/variations", response_model_exclude_none=True, openapi_extra=VARIATION_FORM
    )
    async def vary(request: Request) -> ImagesResponse:
        """Draws pictures that a picture encoder takes for much the same as one."""
        body, files = await read_form(request, VariationRequest, ("image",))
        task = variation_task_of(body, model)
        work = _fulfil(engine, task, partial(_encoded, pictures, one_picture(files)))
        return await _while_connected(request, work, request_timeout_s)

    height, width, _ = model.spec.shape
    # A picture and its mask, not compressed at all.
    files = 2 * (height * width * _PIXEL_BYTES + _HEAD_BYTES)
    app.add_middleware(
        BodyLimit,
        max_bytes=max_body_bytes,
        allowances={"/v1/images/edits": files, "/v1/images/variations": files},
    )
    if digest is not None:
        app.add_middleware(KeyGuard, digest=digest)
    return app


async def _encoded(encoding: EncodingQueue[T] | None, given: T | None) -> Encoded | None:
    """What a prompt or a picture becomes; None for none."""
    if given is None:
        return None
    assert encoding is not None
    return await encoding.encode(given)


async def _fulfil(
    engine: Engine[Drawing],
    task: SamplingTask,
    encode: Callable[[], Awaitable[Encoded | None]],
    known_pixels: Callable[[], Awaitable[KnownPicture]] | None = None,
) -> ImagesResponse:
    """Draws a task's pictures.

    Args:
        encode: gives the task's condition; None where its label is that.
        known_pixels: gives what a task draws around, if it does.
    """
    try:
        encoded = await encode()
        known = None if known_pixels is None else await known_pixels()
        images = await engine.sample(
            seed=task.seed,
            sample_index=task.sample_index,
            condition=task.condition if encoded is None else encoded.condition,
            num_rows=task.num_images,
            options=task.drawing,
            inputs=() if known is None else (known.image, known.mask),
        )
    except UserError as error:
        param = "prompt" if task.prompt is not None else "image"
        raise ApiError(400, str(error), code=f"invalid_{param}", param=param) from None
    except QueueFull as error:
        seconds = min(max(1, math.ceil(error.retry_after_s)), _LONGEST_RETRY_AFTER_S)
        raise ApiError(
            429,
            f"the queue is full ({error}); try again in about {seconds} s",
            code="rate_limit_exceeded",
            headers={"Retry-After": str(seconds)},
        ) from None
    except EngineClosed:
        text = "the server is stopping; try again"
        headers = {"Retry-After": "1"}
        raise ApiError(503, text, code="unavailable", headers=headers) from None
    except SamplingFailed:
        # The engine has logged the cause; a client has no use for it.
        raise ApiError(500, "sampling failed on the server", code="internal_error") from None
    sha256 = None if encoded is None else encoded.sha256
    return ImagesResponse(
        created=int(time.time()),
        data=await asyncio.to_thread(_hand_over, images, task, sha256),
        output_format=task.rendering.file_format,
        size=task.rendering.size,
        resampling=task.rendering.resampling,
        layers=list(task.options.layers or ()),
        notice=None if encoded is None else encoded.notice,
    )


def _hand_over(
    images: np.ndarray, task: SamplingTask, condition_sha256: str | None
) -> list[GeneratedImage]:
    """uint8 ``[N, H, W, C]`` to the pictures of an answer, in the task's size and format."""
    data = []
    for i, image in enumerate(images):
        encoded = base64.b64encode(task.rendering.encode(image)).decode()
        data.append(
            GeneratedImage(
                b64_json=None if task.as_url else encoded,
                url=f"data:{task.rendering.media_type};base64,{encoded}" if task.as_url else None,
                revised_prompt=task.words,
                seed=task.seed,
                sample_index=task.sample_index + i,
                label=task.label,
                condition_sha256=condition_sha256,
            )
        )
    return data


class ClientGone(Exception):
    """The client closed the connection before its answer was ready."""


async def _while_connected(request: Request, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """The work's result; the work is cancelled if the client disconnects or the time is up.

    Ray Serve cancels a handler whose client has disconnected; other servers only send an ASGI
    message.
    """

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, gone = asyncio.create_task(work), asyncio.create_task(disconnected())
    try:
        first, _ = await asyncio.wait(
            (working, gone), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if working in first:
            return working.result()
        if gone in first:
            raise ClientGone
        text = f"not done within {timeout_s:g} s; ask for fewer pictures, or later"
        raise ApiError(504, text, code="timeout")
    finally:
        working.cancel()
        gone.cancel()


def _answer_errors_in_openai_format(app: FastAPI) -> None:
    fields = list(EditRequest.model_fields)

    @app.exception_handler(ApiError)
    async def on_api_error(_: Request, error: ApiError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(ClientGone)
    async def on_client_gone(_: Request, error: ClientGone) -> Response:
        return Response(status_code=_CLIENT_GONE)

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        complaints: Sequence[dict[str, Any]] = error.errors()
        return error_response(from_validation(complaints, fields))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> JSONResponse:
        text, code = str(error.detail), "invalid_body"
        if error.status_code in (404, 405):
            text = f"there is no {request.method} {request.url.path} here"
            code = "unknown_url"
        headers = error.headers
        return error_response(ApiError(error.status_code, text, code=code, headers=headers))

    @app.exception_handler(Exception)
    async def on_any_other(_: Request, error: Exception) -> JSONResponse:
        text = "something went wrong on the server"
        return error_response(ApiError(500, text, code="internal_error"))
