"""From a request to the task it asks for: each field is checked, alone and with the others."""

import secrets
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.class_names import NO_LABEL, label_by_name_or_number
from pipeline.errors import UserError
from pipeline.sampling import SamplingOptions
from pipeline.sampling.inpainting import RESAMPLE, check_inpainting, options_around
from pipeline.sampling.prompts import is_null_prompt
from pipeline.sampling.steps import shared_layers
from pipeline.stack_spec import StackSpec
from serve.drawing import Drawing, Editing, ThroughPrior
from serve.errors import ApiError, did_you_mean
from serve.rendering import MAX_PIXELS, Rendering, SizeError, parse_size
from serve.schema import (
    DrawRequest,
    EditRequest,
    ImageRequest,
    ServedModel,
    VariationRequest,
)

# Random seeds are short enough to copy, and exact in JavaScript.
_RANDOM_SEED_BITS = 32
_NAMED_CLASSES = 20
_CALLS_A_STEP = 2  # of the networks, about, in a step of `GivenPixels`


@dataclass(frozen=True)
class SamplingTask:
    """What to sample for a request, and how to answer with it.

    Attributes:
        label: the class; -1 for no condition, and of models that take sentences.
        words: what is drawn: the model's name for the class, or the sentence; None for no
            condition.
        prompt: what is to be encoded, of a model that takes sentences; None of other models.
        condition: what it is drawn on where nothing is encoded: the label, or a null vector.
        seed: keys all draws.
        sample_index: the first picture's; the others follow it.
        num_images: how many pictures.
        options: with all of the model's defaults filled in.
        rendering: size and file format of a picture.
        as_url: whether the answer holds data: URLs, and not base64.
        editing: how the rest of a picture is drawn; None for whole pictures.
        through_prior: whether a prior makes the sentence a picture's vector.
    """

    label: int
    words: str | None
    prompt: str | None
    condition: int | np.ndarray
    seed: int
    sample_index: int
    num_images: int
    options: SamplingOptions
    rendering: Rendering
    as_url: bool
    editing: Editing | None = None
    through_prior: bool = False

    @property
    def drawing(self) -> Drawing:
        """What its rows have in common with those of other requests that share their batches."""
        drawing = self.options if self.editing is None else self.editing
        return ThroughPrior(drawing) if self.through_prior else drawing


def edit_task_of(request: EditRequest, model: ServedModel) -> SamplingTask:
    """Turns a request for the rest of a picture into a task for this model.

    A sampler that goes on from the layer before cannot draw around pixels. Where the model's own is
    such a one, and the request names none, another draws (`options_around`).

    Raises:
        ApiError: as `task_of`; 400 for a sampler that cannot draw around pixels, and for more
            calls of the networks than the endpoint makes.
    """
    if request.sampler is None:
        own = options_around(model.spec, None).sampler
        request = request.model_copy(update={"sampler": own})
    task = task_of(request, model)
    resample = RESAMPLE if request.resample is None else request.resample
    try:
        check_inpainting(model.spec, task.options, resample, request.moment_steps)
    except UserError as error:
        raise ApiError(400, str(error), code="invalid_value", param="sampler") from None
    if request.resample is not None or request.moment_steps:
        costs = 1 + _CALLS_A_STEP * request.moment_steps
        layers, most = sum(task.options.layers or ()) * resample, model.max_layers * RESAMPLE
        if layers * costs > most:
            field = "moment_steps" if request.moment_steps else "resample"
            message = (
                f"{field} {getattr(request, field)}: with it the picture costs as much as "
                f"{layers * costs:,} layers, and {most:,} are the most"
            )
            raise ApiError(400, message, code="invalid_value", param=field)
    return replace(task, editing=Editing(task.options, resample, request.moment_steps))


def task_of(request: ImageRequest, model: ServedModel) -> SamplingTask:
    """Turns a request into a task for this model.

    Raises:
        ApiError: 404 for another model's name, 400 for what this model cannot do and for fields
            that contradict each other.
    """
    task = _task(request, model)
    if model.takes_sentences:
        prompt = _sentence(request.prompt)
        words = None if is_null_prompt(prompt) else prompt
        through = model.prior_sha256 is not None
        return replace(task, prompt=prompt, words=words, through_prior=through)
    if model.takes_pictures and is_null_prompt(request.prompt):
        return task
    if model.takes_pictures:
        message = (
            "this model is drawn on pictures and takes no words: send it a picture at POST "
            "/v1/images/variations, or the prompt '-'"
        )
        raise ApiError(400, message, code="takes_pictures", param="prompt")
    label = _label(request.prompt, model.spec)
    words = model.spec.classes[label] if label >= 0 else None
    return replace(task, label=label, condition=label, words=words)


def variation_task_of(request: VariationRequest, model: ServedModel) -> SamplingTask:
    """Turns a request for variations of a picture into a task for this model.

    Raises:
        ApiError: as `task_of`; 400 for a model that is not drawn on pictures.
    """
    task = _task(request, model)
    if not model.varies:
        why = (
            "has no picture encoder here"
            if model.takes_pictures
            else f"is drawn on its {model.spec.condition.kind}, not on pictures"
        )
        message = f"this model {why}: it makes no variations"
        raise ApiError(400, message, code="takes_no_pictures", param="image")
    return task


def _task(request: DrawRequest, model: ServedModel) -> SamplingTask:
    """All of a task but what is drawn, which is no condition as yet."""
    check_model_id(request.model, model)
    _refuse_what_is_not_offered(request)
    null = np.zeros(model.spec.condition.size, np.float32) if model.takes_pictures else NO_LABEL
    return SamplingTask(
        label=NO_LABEL,
        words=None,
        prompt=None,
        condition=null,
        seed=secrets.randbits(_RANDOM_SEED_BITS) if request.seed is None else request.seed,
        sample_index=request.sample_index,
        num_images=request.n,
        options=_options(request, model),
        rendering=_rendering(request, model),
        as_url=request.response_format == "url",
    )


def check_model_id(name: str | None, model: ServedModel) -> None:
    """Raises ApiError 404 when a request names a model that is not served here."""
    if name is not None and name != model.id:
        shown = name if len(name) <= 80 else name[:77] + "..."
        message = f"the model {shown!r} is not served here; this endpoint serves {model.id!r}"
        raise ApiError(404, message, code="model_not_found", param="model")


def _refuse_what_is_not_offered(request: DrawRequest) -> None:
    if request.stream or request.partial_images:
        field = "stream" if request.stream else "partial_images"
        message = f"{field} is not supported: pictures are answered whole; leave it out"
        raise ApiError(400, message, code="unsupported_parameter", param=field)
    if request.negative_prompt.strip():
        message = (
            "negative_prompt is not supported: guidance leads away from no condition, not from a "
            "text; leave it out or empty"
        )
        raise ApiError(400, message, code="unsupported_parameter", param="negative_prompt")


def _sentence(prompt: str) -> str:
    """The prompt, which is not empty."""
    if not prompt.strip():
        message = "the prompt is empty; write a sentence, or '-' for no condition"
        raise ApiError(400, message, code="empty_prompt", param="prompt")
    return prompt


def _label(prompt: str, spec: StackSpec) -> int:
    """The class that a prompt names or whose number it is; -1 for no condition."""
    classes = spec.classes
    label = label_by_name_or_number(prompt, classes)
    if label is not None and label in spec.untrained:
        message = f"no picture was trained on for the class {classes[label]!r}; name another"
        raise ApiError(400, message, code="untrained_class", param="prompt")
    if label is not None:
        return label
    name = prompt.strip()
    if not classes:
        message = "this model has no classes to name; send the prompt '-'"
        raise ApiError(400, message, code="unknown_class", param="prompt")
    listed = ", ".join(repr(class_name) for class_name in classes[:_NAMED_CLASSES])
    more = len(classes) - _NAMED_CLASSES
    listed += f" and {more} more (GET /v1/models lists them)" if more > 0 else ""
    shown = name if len(name) <= 80 else name[:77] + "..."
    hint = did_you_mean(name[:200], classes)
    message = f"{shown!r} is not a class of this model{hint}; its classes are {listed}"
    raise ApiError(400, message, code="unknown_class", param="prompt")


def _options(request: DrawRequest, model: ServedModel) -> SamplingOptions:
    """The options with all defaults filled in, so that equal requests share batches."""
    guidance_field = _one_of(request, "guidance", "guidance_scale")
    layers_field = _one_of(request, "layers", "num_inference_steps")
    layers = _shared_layers(request, model) or request.layers
    # Option, its value, and the field of the request that it comes from.
    settings: tuple[tuple[str, Any, str], ...] = (
        ("sampler", request.sampler, "sampler"),
        ("layers", None if layers is None else tuple(layers), layers_field),
        ("guidance", getattr(request, guidance_field), guidance_field),
        ("rescale", request.guidance_rescale, "guidance_rescale"),
        ("threshold", request.threshold, "threshold"),
        ("guidance_interval", (request.guidance_low, request.guidance_high), "guidance_low"),
    )
    options = SamplingOptions()
    for name, value, field in settings:
        try:
            # One more at a time, so that an error is due to this one.
            options = replace(options, **{name: value})
            options.resolve(model.spec)
        except UserError as error:
            raise ApiError(400, str(error), code="invalid_value", param=field) from None
    if sum(layers or ()) > model.max_layers:
        message = f"layers {list(layers or ())}: {model.max_layers} layers in all at most"
        raise ApiError(400, message, code="invalid_value", param=layers_field)
    return options.resolve(model.spec)


def _one_of(request: DrawRequest, ours: str, theirs: str) -> str:
    """Which of two names of the same field the request uses; ours if neither."""
    if getattr(request, theirs) is None:
        return ours
    if getattr(request, ours) is not None:
        message = f"{ours} and {theirs} say the same thing; give one of them"
        raise ApiError(400, message, code="invalid_value", param=theirs)
    return theirs


def _shared_layers(request: DrawRequest, model: ServedModel) -> tuple[int, ...] | None:
    """``num_inference_steps`` shared among the stages; None where the request has none."""
    if request.num_inference_steps is None:
        return None
    try:
        return shared_layers(request.num_inference_steps, model.spec.layers)
    except UserError as error:
        message = f"num_inference_steps: {error}"
        raise ApiError(400, message, code="invalid_value", param="num_inference_steps") from None


def _rendering(request: DrawRequest, model: ServedModel) -> Rendering:
    try:
        width, height, resampling = parse_size(request.size, model.size)
    except SizeError as error:
        raise ApiError(400, str(error), code="invalid_size", param="size") from None
    pixels = request.n * width * height
    if resampling != "none" and pixels > MAX_PIXELS:
        message = (
            f"{request.n} pictures of {width}x{height} are {pixels:,} pixels, and a request may "
            f"ask for {MAX_PIXELS:,}; lower n or size"
        )
        raise ApiError(400, message, code="invalid_size", param="size")
    if request.output_format == "png" and request.output_compression != 100:
        message = "png is lossless and has no output_compression; leave it out, or ask for jpeg"
        raise ApiError(400, message, code="invalid_value", param="output_compression")
    return Rendering(width, height, resampling, request.output_format, request.output_compression)
