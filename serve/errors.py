"""Errors in the format of OpenAI's API: ``{"error": {"message", "type", "param", "code"}}``."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any


class ApiError(Exception):
    """An error that is answered to a client.

    Args:
        status: the HTTP status.
        message: what is wrong and what to do, for a person.
        code: the same for a program, in snake case.
        param: the field of the request that is wrong; None if no single one is.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        """The coarse kind, in OpenAI's words."""
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"

    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON object to answer with."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


def did_you_mean(word: str, words: Sequence[str]) -> str:
    """``" (did you mean 'x'?)"`` with the closest of ``words``; empty if none is close."""
    close = get_close_matches(word, words, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


# Names that other programs have for our fields.
_ELSEWHERE = {
    **dict.fromkeys(("num_images_per_prompt", "num_images", "batch_size", "n_iter"), "n"),
    **dict.fromkeys(("width", "height", "resolution", "image_size", "aspect_ratio"), "size"),
    **dict.fromkeys(("generator", "noise_seed", "random_seed"), "seed"),
    **dict.fromkeys(("scheduler", "sampler_name", "sampler_index"), "sampler"),
    **dict.fromkeys(("cfg_scale", "cfg", "true_cfg_scale"), "guidance"),
    **dict.fromkeys(("steps", "num_steps", "inference_steps"), "num_inference_steps"),
    **dict.fromkeys(("class_labels", "class_label", "label", "labels", "text"), "prompt"),
    "output_type": "output_format",
}


def from_validation(errors: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> ApiError:
    """The first of pydantic's errors about a request body, as an `ApiError`.

    Args:
        errors: from ``ValidationError.errors()``, each ``loc`` beginning with "body".
        fields: the names of the fields that a request may have.
    """
    error = errors[0]
    path = [str(part) for part in error["loc"][1:]]
    param = path[0] if path else None
    kind = str(error["type"])
    if kind == "json_invalid":
        reason = error.get("ctx", {}).get("error", "it cannot be parsed")
        return ApiError(400, f"the body is not valid JSON: {reason}", code="invalid_json")
    if param is None:
        message = "the body must be a JSON object, sent with content-type: application/json"
        return ApiError(400, message, code="invalid_body")
    if kind == "extra_forbidden":
        here = _ELSEWHERE.get(param)
        hint = f"; it is called {here!r} here" if here else did_you_mean(param[:200], fields)
        shown = param if len(param) <= 80 else param[:77] + "..."
        message = f"unknown field {shown!r}{hint}"
        return ApiError(400, message, code="unknown_parameter", param=param)
    if kind == "missing":
        message = f"the field {param!r} is required"
        return ApiError(400, message, code="missing_required_parameter", param=param)
    value = repr(error["input"])
    value = value if len(value) <= 80 else value[:77] + "..."
    message = f"{param}: {str(error['msg']).removeprefix('Value error, ')}; got {value}"
    return ApiError(400, message, code="invalid_value", param=param)
