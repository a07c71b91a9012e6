"""The page's building blocks: sections, embedded pictures, and rows of pictures with a name."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from pipeline.pictures import encode_png

_LONG_NAME = 4  # letters; longer class names stand above their pictures on a narrow screen
_WIDEST_NAME = 14  # letters that a row keeps room for
_MANY_ROWS = 6
_SMALL = 16  # pixels
_FEW = 8  # as page.html has it


def section(name: str, heading: str, intro: str, content: str) -> str:
    """A section of the page; ``intro`` and ``content`` are HTML. Nothing without content."""
    lead = f'<p class="intro">{intro}</p>\n' if intro else ""
    return (
        f'<section id="{name}">\n<h2>{escape(heading)}</h2>\n{lead}{content}\n</section>'
        if content
        else ""
    )


def png(data: bytes, alt: str) -> str:
    """A PNG inside the page; ``alt`` says what it shows, for those who cannot see it."""
    code = base64.b64encode(data).decode("ascii")
    return f'<img src="data:image/png;base64,{code}" alt="{escape(alt)}">'


def pixels(image: np.ndarray, alt: str) -> str:
    """A picture in its own few pixels; the browser enlarges it without smoothing."""
    return png(encode_png(image), alt)


def verdict(good: bool | None) -> str:
    """Whether a figure reaches its mark; nothing for a figure without one."""
    if good is None:
        return ""
    return (
        '<span class="chip good">✓ good</span>'
        if good
        else '<span class="chip short">short of the mark</span>'
    )


def rows(names: Sequence[str], strips: Iterable[str], *, side: int, shortens: bool = False) -> str:
    """Strips below one another; from `_MANY_ROWS` on, in two columns where there is room.

    Large pictures keep one column, and are smoothed where the browser makes them smaller.

    Args:
        side: of a picture, pixels.
        shortens: a narrow screen shows the first `_FEW` pictures of a strip only.
    """
    longest = max(map(len, names))
    chosen = {
        "rows": True,
        "long": longest > _LONG_NAME,
        "many": len(names) >= _MANY_ROWS and side <= _SMALL,
        "fine": side > 2 * _SMALL,
        "shortens": shortens,
    }
    kinds = " ".join(kind for kind, holds in chosen.items() if holds)
    style = f"--name: {min(longest, _WIDEST_NAME) + 1}ch; --half: {-(-len(names) // 2)}"
    return f'<div class="{kinds}" style="{style}">{"".join(strips)}</div>'


def strip(name: str, pictures: Iterable[str], columns: int) -> str:
    """A name and its pictures (HTML) in one line, which has room for ``columns`` of them."""
    return (
        f'<div class="row"><span class="name">{escape(name)}</span>'
        f'<div class="strip" style="--n: {columns}; --few: {min(columns, _FEW)}">'
        f"{''.join(pictures)}</div></div>"
    )
