"""Requests that come as forms with files, as the openai client sends pictures."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from serve.errors import ApiError
from serve.schema import DrawRequest

Body = TypeVar("Body", bound=DrawRequest)

_MOST_PARTS = 100


async def read_form(
    request: Request, body: type[Body], files: Sequence[str]
) -> tuple[Body, dict[str, bytes]]:
    """The fields and the files of a form.

    Args:
        request: with ``multipart/form-data``; its size is limited already.
        body: the fields.
        files: the names of files that it may have.

    Raises:
        ApiError: 400 for another type of body, and for files that come twice or as texts.
        RequestValidationError: a field is missing, unknown or wrong.
        HTTPException: 400 for a form that cannot be parsed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        message = "the body must be a form with files, sent as multipart/form-data"
        raise ApiError(400, message, code="invalid_body")
    fields: dict[str, Any] = {}
    found: dict[str, bytes] = {}
    async with request.form(max_files=_MOST_PARTS, max_fields=_MOST_PARTS) as form:
        for key, value in form.multi_items():
            name = key.removesuffix("[]")  # so the openai client marks lists
            if name in files:
                if not isinstance(value, UploadFile):
                    message = f"{name} must be a file, and is a text"
                    raise ApiError(400, message, code="invalid_value", param=name)
                if name in found:
                    message = f"there are two files {name}; send one"
                    raise ApiError(400, message, code="invalid_value", param=name)
                found[name] = await value.read()
                continue
            read = "<a file>" if isinstance(value, UploadFile) else _value(name, value, body)
            if key != name:
                fields.setdefault(name, []).append(read)
            else:
                fields[name] = read
    try:
        return body.model_validate(fields), found
    except ValidationError as error:
        listed = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(listed) from None


def _value(name: str, text: str, body: type[DrawRequest]) -> Any:
    """A field's text, read as JSON where the field is no text itself."""
    field = body.model_fields.get(name)
    if field is None or "str" in str(field.annotation) or "Literal" in str(field.annotation):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
