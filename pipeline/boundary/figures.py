"""The figures of a survey, as a manifest holds them: counts, accuracies, medians."""

from typing import Any

import numpy as np

from pipeline.boundary.survey import Survey
from pipeline.intervals import clopper_pearson

_WAYS = ("predicted", "along_gradient", "along_adversarial", "along_random")


def figures_of(survey: Survey) -> dict[str, Any]:
    """The figures; None stands for a median that lies beyond what was looked at, or is unknown.

    Medians are over the rows that are answered rightly from the start, lower ones, in L2.
    """
    right = survey.right
    rows, num_right = len(right), int(right.sum())
    noise = survey.noise
    return {
        "rows": rows,
        "right": num_right,
        "accuracy": num_right / rows,
        "accuracy_interval_95": list(clopper_pearson(num_right, rows)),
        "median_distance": {name: lower_median(getattr(survey, name)[right]) for name in _WAYS},
        "noise_lengths": noise.lengths.tolist(),
        "accuracy_random_noise": noise.accuracy_random().tolist(),
        "accuracy_chosen_noise": noise.accuracy_chosen().tolist(),
    }


def lower_median(values: np.ndarray) -> float | None:
    """The lower median of what is not NaN; None where it is infinite, or there is nothing."""
    known = np.sort(values[~np.isnan(values)].ravel())
    if not len(known):
        return None
    median = float(known[(len(known) - 1) // 2])
    return median if np.isfinite(median) else None
