"""The pictures of ``POST /v1/images/edits``: what of them is known, and what is to be drawn."""

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from pipeline.errors import UserError
from pipeline.sampling.known_picture import KnownPicture, known_picture
from serve.errors import ApiError
from serve.schema import EditRequest

_FILE = {"type": "string", "format": "binary"}


def known_of(files: Mapping[str, bytes], shape: tuple[int, int, int]) -> KnownPicture:
    """The known pixels of a request's picture: those that its mask, or itself, has not transparent.

    Args:
        files: ``image``, and ``mask`` unless the picture says itself what is to be drawn.
        shape: height, width and channels of the model's pictures.

    Raises:
        ApiError: 400 for a picture that is missing or none, of another size, with colours for a
            grey model, and where nothing or everything is transparent.
    """
    if "image" not in files:
        message = "the file 'image' is required"
        raise ApiError(400, message, code="missing_required_parameter", param="image")
    for name, data in files.items():
        _check_size(name, data, shape)
    mask = files.get("mask")
    try:
        return known_picture(files["image"], mask, shape, "image", "mask")
    except UserError as error:
        param = "mask" if str(error).startswith("mask") else "image"
        raise ApiError(400, str(error), code="invalid_image", param=param) from None


def _check_size(name: str, data: bytes, shape: tuple[int, int, int]) -> None:
    """Refuses a picture of another size by its head: unpacked, a small file may fill the memory."""
    height, width, _ = shape
    try:
        with Image.open(io.BytesIO(data)) as picture:
            size = picture.size
    except Exception:  # whatever Pillow raises: `known_picture` says it in words
        return
    if size != (width, height):
        message = (
            f"{name} is {size[0]}x{size[1]}, and this model's pictures are {width}x{height}; "
            "resize it"
        )
        raise ApiError(400, message, code="invalid_image", param=name)


def _form() -> dict[str, Any]:
    schema = EditRequest.model_json_schema()
    fields = {"image": _FILE, "mask": _FILE, **schema["properties"]}
    whole = {"type": "object", "required": ["image", "prompt"], "properties": fields}
    content = {"multipart/form-data": {"schema": whole}}
    return {"requestBody": {"required": True, "content": content}}


EDIT_FORM = _form()
"""What the schema at ``/openapi.json`` says of the body."""
