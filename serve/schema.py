"""Bodies of requests and responses: OpenAI's images API with Noisestack's own fields."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.formats.encoder_id import EncoderId
from pipeline.sampling import SAMPLERS
from pipeline.sampling.inpainting import RESAMPLE
from pipeline.sampling.moments import MOST_STEPS
from pipeline.sampling.options import ALL_LEVELS
from pipeline.sampling.resampling import MOST_REPETITIONS
from pipeline.stack_spec import StackSpec
from serve.rendering import FileFormat, Resampling
from serve.settings import MAX_IMAGES

_INT64_MAX = 2**63 - 1


@dataclass(frozen=True)
class ServedModel:
    """The facts about the model that the endpoint publishes and needs for requests.

    Attributes:
        id: the name that requests give.
        sha256: the model's content hash.
        created: Unix time in seconds.
        spec: shape, classes and the defaults of sampling.
        exact: the result of the self-test `is_exact` on this machine.
        reads: the encoder of its prompts; None of a model that takes no sentences.
        varies: whether it makes variations of pictures.
        prior_sha256: the content hash of the prior in front of it; None without one.
        max_layers: the most layers, over all stages, that a request may ask for. A batch runs to
            its end, so all requests behind it wait for its layers.
    """

    id: str
    sha256: str
    created: int
    spec: StackSpec
    exact: bool
    max_layers: int
    reads: EncoderId | None = None
    varies: bool = False
    prior_sha256: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width, _ = self.spec.shape
        return width, height

    @property
    def takes_sentences(self) -> bool:
        """Whether a prompt is a sentence, and not the name of a class."""
        return self.reads is not None

    @property
    def takes_pictures(self) -> bool:
        """Whether it is drawn on the vectors of pictures, as a decoder is."""
        encoder = self.spec.condition.encoder
        return self.spec.condition.rule.embedded and (encoder is None or not encoder.max_length)


class DrawRequest(BaseModel):
    """The fields of all requests for pictures. A field that is null counts as absent."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    model: str | None = Field(None, description="The served model's id.")
    n: int = Field(1, ge=1, le=MAX_IMAGES, description="How many pictures.")
    size: str = Field("auto", description="WIDTHxHEIGHT of the shape of the model's own size.")
    response_format: Literal["b64_json", "url"] = Field(
        "b64_json", description="Base64 of the file, or a data: URL."
    )
    output_format: FileFormat = Field("png", description="The file that a picture becomes.")
    output_compression: int = Field(
        100, ge=0, le=100, description="Quality of jpeg and webp; webp is lossless at 100."
    )

    seed: int | None = Field(
        None, ge=0, le=_INT64_MAX, description="Repeats a picture; random when absent."
    )
    sample_index: int = Field(
        0, ge=0, le=_INT64_MAX - MAX_IMAGES, description="The first picture's index in its seed."
    )
    sampler: str | None = Field(None, max_length=80, description=f"One of {', '.join(SAMPLERS)}.")
    layers: list[int] | None = Field(
        None, max_length=64, description="Layers in each stage, coarsest first."
    )
    guidance: float | None = Field(
        None, allow_inf_nan=False, description="Classifier-free guidance weight; 1 is none."
    )
    guidance_low: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Guidance acts above this noise level."
    )
    guidance_high: float = Field(
        ALL_LEVELS, gt=0, allow_inf_nan=False, description="Guidance acts up to this noise level."
    )
    guidance_rescale: float = Field(
        0.0, allow_inf_nan=False, description="How far guided pictures keep the unguided's spread."
    )
    threshold: float | None = Field(
        None, allow_inf_nan=False, description="Percentile of dynamic thresholding; 1 is the top."
    )

    # Names that diffusers has for these.
    num_inference_steps: int | None = Field(
        None, ge=1, le=4096, description="Layers in all, shared among the stages."
    )
    guidance_scale: float | None = Field(
        None, allow_inf_nan=False, description="The same as guidance."
    )

    stream: bool = Field(False, description="Only false.")
    partial_images: int = Field(0, description="Only 0.")
    negative_prompt: str = Field("", description="Only empty.")

    # Fields of OpenAI's API that mean nothing to these models: accepted, and ignored.
    background: Any = None
    complexity: Any = None
    frame_count: Any = None
    frame_duration_ms: Any = None
    moderation: Any = None
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


class ImageRequest(DrawRequest):
    """The body of ``POST /v1/images/generations``."""

    prompt: str = Field(
        max_length=32_000,
        description="A class name of the model, or a sentence if it takes those; '-' for no "
        "condition.",
    )


class VariationRequest(DrawRequest):
    """The fields of ``POST /v1/images/variations``, beside the file ``image``."""


class EditRequest(ImageRequest):
    """The fields of ``POST /v1/images/edits``, beside the files ``image`` and ``mask``."""

    resample: int | None = Field(
        None,
        ge=1,
        le=MOST_REPETITIONS,
        description=f"How often each layer is drawn around the picture; {RESAMPLE} when absent.",
    )
    moment_steps: int = Field(
        0, ge=0, le=MOST_STEPS, description="Steps by which each call is given the known pixels."
    )

    input_fidelity: Any = None  # as those above


class GeneratedImage(BaseModel):
    """One picture; ``seed``, ``sample_index`` and ``label`` name the same row in a sample set."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = Field(None, description="The class as the model spells it.")
    seed: int
    sample_index: int
    label: int = Field(description="The class as a number; -1 for none.")
    condition_sha256: str | None = Field(
        None, description="Of what the networks were given for a sentence; as in a sample set."
    )


class ImagesResponse(BaseModel):
    """The answer to requests for pictures."""

    created: int
    data: list[GeneratedImage]
    output_format: FileFormat
    size: str
    resampling: Resampling = Field(description="What got the pictures to that size.")
    layers: list[int] = Field(description="Layers in each stage, coarsest first.")
    notice: str | None = Field(None, description="That only the prompt's beginning was used.")


class ModelCard(BaseModel):
    """An entry of ``GET /v1/models``: OpenAI's four fields, and what a caller may ask for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "noisestack"
    sha256: str
    size: str
    condition: str = Field(description="What a prompt is: label, text, embedding or none.")
    classes: list[str]
    text_encoder: str | None = Field(description="What encodes a sentence.")
    max_prompt_tokens: int | None = Field(description="What is longer is cut, with a notice.")
    picture_encoder: str | None = Field(description="What encodes the picture of a variation.")
    prior_sha256: str | None = Field(description="Of what makes a sentence a picture's vector.")
    sampler: str
    samplers: list[str]
    layers: list[int]
    guidance: float
    reproducible: Literal["exact", "approximate"]


class ModelList(BaseModel):
    """The answer to ``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


def model_card(model: ServedModel) -> ModelCard:
    """What ``GET /v1/models`` says about a model."""
    width, height = model.size
    encoder = model.spec.condition.encoder
    return ModelCard(
        id=model.id,
        created=model.created,
        sha256=model.sha256,
        size=f"{width}x{height}",
        condition=model.spec.condition.kind,
        classes=list(model.spec.classes),
        text_encoder=None if model.reads is None else model.reads.name,
        max_prompt_tokens=None if model.reads is None else model.reads.max_length,
        picture_encoder=encoder.name if encoder and model.varies else None,
        prior_sha256=model.prior_sha256,
        sampler=model.spec.sampler,
        samplers=list(SAMPLERS),
        layers=list(model.spec.layers),
        guidance=model.spec.guidance,
        reproducible="exact" if model.exact else "approximate",
    )
