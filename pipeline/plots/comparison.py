"""Sets of the same pictures on one page: accuracy under attack from above, certified from below."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from pipeline.plots.accuracy import (
    SetFigures,
    draw_curve,
    draw_point,
    dress_accuracy,
    reach,
)
from pipeline.plots.certified import CertifiedFigures, draw_certified_curve


def comparison_figure(
    attacked: Sequence[tuple[str, SetFigures]],
    certified: Sequence[tuple[str, CertifiedFigures]] = (),
    asked: Sequence[tuple[str, SetFigures]] = (),
) -> Figure:
    """The accuracies of several sets in one norm, in one panel.

    A perturbation set without a ball is a curve; one with a ball a point with its interval at ε,
    and its clean accuracy. A certificate set is a curve with its interval, in L2.

    Args:
        attacked: names and figures of perturbation sets.
        certified: the same of certificate sets; all perturbation sets are in L2 then. At least one
            of either.
        asked: what smoothed classifiers answer about the pictures of perturbation sets; not about
            the clean ones.
    """
    figure = Figure(figsize=(7.5, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    ends = [reach(figures) for _, figures in [*attacked, *asked]]
    ends += [figures.reach for _, figures in certified]
    end = max(ends) * 1.05 or 1.0
    for number, (name, figures) in enumerate([*attacked, *asked]):
        colour = f"C{number % 10}"
        if figures.eps:
            draw_point(axes, figures, colour, name)
        else:
            draw_curve(axes, figures, colour, end, f"{name}: smallest found")
        if number < len(attacked):
            axes.plot([0], [figures.clean_accuracy], "o", color=colour, markersize=4)
    for number, (name, certificates) in enumerate(certified, len(attacked) + len(asked)):
        draw_certified_curve(axes, certificates, f"C{number % 10}", f"{name}: certified")
    bounds = ["at most, by attacks"] if attacked else []
    bounds += ["at least, certified"] if certified else []
    what = f"right answers, {'; '.join(bounds)}" if certified else "right answers, at most"
    dress_accuracy(axes, attacked[0][1].norm if attacked else "l2", end, what)
    rows = attacked[0][1].rows if attacked else len(certified[0][1].millionths)
    axes.set_title(f"{rows:,} pictures; at 0 the clean accuracy", fontsize=10)
    return figure
