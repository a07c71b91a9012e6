"""The figures of a run, who they are of, and the hashes of the arrays that they come from."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.boundary.maps import Maps, Planes
from jobs.boundary.task import Task
from noisestack import __version__
from noisestack.config import describe
from pipeline.boundary.figures import figures_of
from pipeline.boundary.survey import Survey
from pipeline.formats.boundary import FORMAT, maps_file, survey_file
from pipeline.formats.output import sha256_of_file


def manifest_of(
    task: Task,
    planes: Planes,
    maps: Sequence[Maps],
    surveys: Sequence[Survey],
    directory: Path,
) -> dict[str, Any]:
    """What boundary.json holds."""
    middle = planes.middle
    files = [
        name(number) for number in range(len(task.opened)) for name in (maps_file, survey_file)
    ]
    return {
        "format": FORMAT,
        "config": describe(task.config),
        "made_from": task.fingerprint,
        "dataset": {
            "sha256": task.info.sha256,
            "shape": list(task.info.shape),
            "classes": list(task.info.classes),
            "split": task.split,
        },
        "picture": {"row": middle.row, "label": middle.label, "reach": planes.reach},
        "classifiers": [
            {
                "name": opened.name,
                **opened.identity,
                "maps": maps_file(number),
                "survey": survey_file(number),
                "answer": middle.answers[number],
                "heading": {
                    "kind": planes.headings[number].kind,
                    "distance": _finite(planes.headings[number].distance),
                    "beyond": planes.headings[number].beyond,
                },
                "nearest_on_map": {
                    kind: _finite(drawn.nearest_other(middle.label))
                    for kind, drawn in maps[number].items()
                },
                "figures": figures_of(surveys[number]),
                "warnings": [asdict(warning) for warning in opened.warnings],
            }
            for number, opened in enumerate(task.opened)
        ],
        "files": {file: sha256_of_file(directory / file) for file in files},
        "versions": {
            "noisestack": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
