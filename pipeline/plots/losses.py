"""A run's losses against its steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.formats.output import atomic_path
from pipeline.plots.figures import new_figure

LOSSES_FILE = "losses.png"  # in the directory of a training run


def plot_losses(
    steps: Sequence[int], losses: Mapping[str, Sequence[float]], path: Path, *, title: str
) -> None:
    """Draws one curve a name to a PNG; logarithmic in the loss, which falls over decades.

    Args:
        steps: the x values, shared by all curves.
        losses: each curve's name and values, positive.
    """
    # Figure, not pyplot: no global state, no display, safe in a worker's thread
    figure = new_figure(figsize=(6, 3.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, values in losses.items():
        axes.plot(steps, values, label=name, linewidth=1.5)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    if len(losses) > 1:
        axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
