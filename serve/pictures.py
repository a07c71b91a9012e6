"""The pictures that requests send: to be varied, or of which a part is to be drawn anew."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from pipeline.errors import UserError
from pipeline.sampling.known_picture import KnownPicture, known_picture
from serve.errors import ApiError
from serve.schema import DrawRequest, EditRequest, VariationRequest

_FILE = {"type": "string", "format": "binary"}


def one_picture(files: Mapping[str, bytes]) -> bytes:
    """The file ``image`` of a request.

    Raises:
        ApiError: 400 where it is missing.
    """
    if "image" not in files:
        message = "the file 'image' is required"
        raise ApiError(400, message, code="missing_required_parameter", param="image")
    return files["image"]


def known_of(files: Mapping[str, bytes], shape: tuple[int, int, int]) -> KnownPicture:
    """The known pixels of a request's picture: those that its mask, or itself, has not transparent.

    Args:
        files: ``image``, and ``mask`` unless the picture says itself what is to be drawn.
        shape: height, width and channels of the model's pictures.

    Raises:
        ApiError: 400 for a picture that is missing or none, of another size, with colours for a
            grey model, and where nothing or everything is transparent.
    """
    image, mask = one_picture(files), files.get("mask")
    try:
        for name, data in files.items():
            refuse_other_size(name, data, shape)
        return known_picture(image, mask, shape, "image", "mask")
    except UserError as error:
        param = "mask" if str(error).startswith("mask") else "image"
        raise ApiError(400, str(error), code="invalid_image", param=param) from None


def refuse_other_size(name: str, data: bytes, shape: tuple[int, int, int]) -> None:
    """Refuses a picture of another size by its head: unpacked, a small file may fill the memory.

    Raises:
        UserError: the picture, which begins the message, has another height or width.
    """
    height, width, _ = shape
    try:
        with Image.open(io.BytesIO(data)) as picture:
            size = picture.size
    except Exception:  # whatever Pillow raises: who unpacks it says it in words
        return
    if size != (width, height):
        raise UserError(
            f"{name} is {size[0]}x{size[1]}, and this model's pictures are {width}x{height}; "
            "resize it"
        )


def _form(body: type[DrawRequest], files: Sequence[str], required: Sequence[str]) -> dict[str, Any]:
    fields = {**dict.fromkeys(files, _FILE), **body.model_json_schema()["properties"]}
    whole = {"type": "object", "required": list(required), "properties": fields}
    content = {"multipart/form-data": {"schema": whole}}
    return {"requestBody": {"required": True, "content": content}}


# What the schema at /openapi.json says of the bodies.
EDIT_FORM = _form(EditRequest, ("image", "mask"), ("image", "prompt"))
VARIATION_FORM = _form(VariationRequest, ("image",), ("image",))
