"""Bodies of requests and responses: OpenAI's images API, and what Noisestack adds to it."""

import re
import secrets
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import UserError
from pipeline.sampling import SAMPLERS, SamplingOptions
from pipeline.sampling.class_names import label_named
from pipeline.stack_spec import StackSpec
from serve.errors import ApiError, nearest
from serve.settings import MAX_IMAGES

MAX_SIDE = 1024
"""Pixels: the largest side that a picture is enlarged to."""

_INT64_MAX = 2**63 - 1
# Random seeds stay within what a person can copy and JavaScript can count.
_RANDOM_SEED_BITS = 32
_NAMED_CLASSES = 20


@dataclass(frozen=True)
class ServedModel:
    """What the endpoint says about its model, and needs to understand a request.

    Attributes:
        id: the name that requests give.
        sha256: the model's content hash.
        created: Unix time in seconds.
        spec: shape, classes and the defaults of sampling.
        exact: whether a picture is the same bit for bit in any batch on this machine.
        max_layers: layers, all stages together, that a request may ask for. A batch runs to its
            end, so a request's layers are what everyone behind it waits for.
    """

    id: str
    sha256: str
    created: int
    spec: StackSpec
    exact: bool
    max_layers: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width, _ = self.spec.shape
        return width, height


class ImageRequest(BaseModel):
    """The body of ``POST /v1/images/generations``. A field that is null counts as absent."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    prompt: str = Field(
        max_length=32_000, description="A class name of the model; '-' for no condition."
    )
    model: str | None = Field(None, description="The served model's id.")
    n: int = Field(1, ge=1, le=MAX_IMAGES, description="How many pictures.")
    size: str = Field("auto", description="WIDTHxHEIGHT, the model's own size times an integer.")
    response_format: Literal["b64_json", "url"] = Field(
        "b64_json", description="Base64 of the PNG, or a data: URL."
    )
    output_format: Literal["png"] = Field("png", description="Lossless, so PNG only.")

    seed: int | None = Field(
        None, ge=0, le=_INT64_MAX, description="Repeats a picture; random when absent."
    )
    sample_index: int = Field(
        0, ge=0, le=_INT64_MAX - MAX_IMAGES, description="The first picture's index in its seed."
    )
    sampler: str | None = Field(None, description=f"One of {', '.join(SAMPLERS)}.")
    layers: list[int] | None = Field(
        None, max_length=64, description="Layers in each stage, coarsest first."
    )
    guidance: float | None = Field(
        None, allow_inf_nan=False, description="Classifier-free guidance weight; 1 is none."
    )
    guidance_low: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Guidance acts above this noise level."
    )
    guidance_high: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Guidance acts up to this noise level."
    )
    threshold: float | None = Field(
        None, allow_inf_nan=False, description="Percentile of dynamic thresholding; 1 is the top."
    )

    stream: bool = Field(False, description="Only false.")
    partial_images: int = Field(0, description="Only 0.")

    # Fields of OpenAI's API that mean nothing to these models: accepted, and ignored.
    background: Any = None
    complexity: Any = None
    frame_count: Any = None
    frame_duration_ms: Any = None
    moderation: Any = None
    output_compression: Any = None
    quality: Any = None
    safety_identifier: Any = None
    style: Any = None
    svg: Any = None
    user: Any = None

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data


class GeneratedImage(BaseModel):
    """One picture; ``seed``, ``sample_index`` and ``label`` name the same row in a sample set."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = Field(None, description="The class name as the model spells it.")
    seed: int
    sample_index: int
    label: int = Field(description="The class as a number; -1 for no condition.")


class ImagesResponse(BaseModel):
    """The answer to ``POST /v1/images/generations``."""

    created: int
    data: list[GeneratedImage]
    output_format: Literal["png"] = "png"
    size: str


class ModelCard(BaseModel):
    """An entry of ``GET /v1/models``: OpenAI's four fields, and what a caller may ask for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "noisestack"
    sha256: str
    size: str
    classes: list[str]
    sampler: str
    samplers: list[str]
    layers: list[int]
    guidance: float
    reproducible: Literal["exact", "approximate"]


class ModelList(BaseModel):
    """The answer to ``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


@dataclass(frozen=True)
class Order:
    """A request that has been understood: what to sample and how to hand it over.

    Attributes:
        scale: each pixel becomes a square of this side.
    """

    label: int
    class_name: str | None
    seed: int
    sample_index: int
    num_images: int
    options: SamplingOptions
    scale: int
    as_url: bool


def model_card(model: ServedModel) -> ModelCard:
    """What ``GET /v1/models`` says about a model."""
    width, height = model.size
    return ModelCard(
        id=model.id,
        created=model.created,
        sha256=model.sha256,
        size=f"{width}x{height}",
        classes=list(model.spec.classes),
        sampler=model.spec.sampler,
        samplers=list(SAMPLERS),
        layers=list(model.spec.layers),
        guidance=model.spec.guidance,
        reproducible="exact" if model.exact else "approximate",
    )


def understand(request: ImageRequest, model: ServedModel) -> Order:
    """Turns a request into an order for this model.

    Raises:
        ApiError: 404 for another model's name, 400 for what this model cannot do.
    """
    check_model_id(request.model, model)
    if request.stream or request.partial_images:
        field = "stream" if request.stream else "partial_images"
        message = f"{field} is not supported: pictures are answered whole; leave it out"
        raise ApiError(400, message, code="unsupported_parameter", param=field)
    label = _label(request.prompt, model.spec.classes)
    return Order(
        label=label,
        class_name=model.spec.classes[label] if label >= 0 else None,
        seed=secrets.randbits(_RANDOM_SEED_BITS) if request.seed is None else request.seed,
        sample_index=request.sample_index,
        num_images=request.n,
        options=_options(request, model),
        scale=_scale(request.size, model),
        as_url=request.response_format == "url",
    )


def check_model_id(name: str | None, model: ServedModel) -> None:
    """Raises ApiError 404 when a request names a model that is not served here."""
    if name is not None and name != model.id:
        message = f"the model {name!r} is not served here; this endpoint serves {model.id!r}"
        raise ApiError(404, message, code="model_not_found", param="model")


def _label(prompt: str, classes: tuple[str, ...]) -> int:
    """The class that a prompt names, in any case and with spaces around it; -1 for "-"."""
    label = label_named(prompt, classes)
    if label is not None:
        return label
    name = prompt.strip()
    if not classes:
        message = "this model has no classes to name; send the prompt '-'"
        raise ApiError(400, message, code="unknown_class", param="prompt")
    listed = ", ".join(repr(known) for known in classes[:_NAMED_CLASSES])
    more = len(classes) - _NAMED_CLASSES
    listed += f" and {more} more (GET /v1/models lists them)" if more > 0 else ""
    shown = name if len(name) <= 80 else name[:77] + "..."
    hint = nearest(name[:200], classes)
    message = f"{shown!r} is not a class of this model{hint}; its classes are {listed}"
    raise ApiError(400, message, code="unknown_class", param="prompt")


def _options(request: ImageRequest, model: ServedModel) -> SamplingOptions:
    """The options in full, so that requests which mean the same share batches."""
    given: dict[str, Any] = {
        "sampler": request.sampler,
        "layers": None if request.layers is None else tuple(request.layers),
        "guidance": request.guidance,
        "threshold": request.threshold,
    }
    for name, value in given.items():
        try:
            SamplingOptions(**{name: value}).resolve(model.spec)
        except UserError as error:
            raise ApiError(400, str(error), code="invalid_value", param=name) from None
    if sum(request.layers or ()) > model.max_layers:
        message = f"layers {request.layers}: {model.max_layers} layers in all at most"
        raise ApiError(400, message, code="invalid_value", param="layers")
    high = inf if request.guidance_high is None else request.guidance_high
    interval = (request.guidance_low, high)
    return SamplingOptions(**given, guidance_interval=interval).resolve(model.spec)


def _scale(size: str, model: ServedModel) -> int:
    width, height = model.size
    if size == "auto":
        return 1
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", size)
    largest = max(1, MAX_SIDE // max(width, height))
    if match:
        scale, rest = divmod(int(match[1]), width)
        if rest == 0 and int(match[2]) == scale * height and 1 <= scale <= largest:
            return scale
    message = (
        f"size {size[:20]!r}: this model makes {width}x{height}; send 'auto' or that times one "
        f"integer up to {largest}, such as {width * largest}x{height * largest}"
    )
    raise ApiError(400, message, code="invalid_size", param="size")
