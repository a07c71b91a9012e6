"""The one typeface of the pictures that Pillow draws: DejaVu Sans, which matplotlib carries."""

from functools import cache
from pathlib import Path

from PIL import ImageFont

INK = (27, 27, 34)
PAPER = (255, 255, 255)


@cache
def typeface(size: int) -> ImageFont.FreeTypeFont:
    """The typeface with letters of ``size`` pixels. Unlike Pillow's own it has Greek letters."""
    import matplotlib  # takes half a second, which workers that draw nothing need not spend

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, size)


def truncated(text: str, size: int, width: int) -> str:
    """``text``, or its beginning and an ellipsis where it is wider than ``width`` pixels."""
    font = typeface(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
