"""Matplotlib, imported by the first figure: it takes half a second, and most workers draw none."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(**options: Any) -> "Figure":
    """A `matplotlib.figure.Figure`."""
    from matplotlib.figure import Figure

    return Figure(**options)


def ticker() -> Any:
    """The module `matplotlib.ticker`."""
    from matplotlib import ticker

    return ticker
