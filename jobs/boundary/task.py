"""What a run of `boundary` is about: read from its config, and checked before any work."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.boundary.config import BoundaryConfig
from jobs.boundary.opened import Opened, open_all
from pipeline.boundary.survey import SurveySettings
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, images_of, labels_of, load_dataset, read_rows
from pipeline.formats.splits import judged_split
from pipeline.pictures import to_unit

_LENGTHS = 12


@dataclass(frozen=True)
class Pictures:
    """Some rows of a dataset, N of them.

    Attributes:
        images: uint8 ``[N, H, W, C]``.
        label, rows: int64 ``[N]``.
    """

    images: np.ndarray
    label: Tensor
    rows: Tensor

    @property
    def x(self) -> Tensor:
        """float32 ``[N, C, H, W]`` in [0, 1]."""
        return to_unit(self.images)

    def one(self, place: int) -> "Pictures":
        """That picture alone."""
        part = slice(place, place + 1)
        return Pictures(self.images[part], self.label[part], self.rows[part])


@dataclass(frozen=True)
class Task:
    """Classifiers, and rows of a dataset whose neighbourhood is looked at.

    Attributes:
        config: that it was read from.
        info, split: the dataset.
        opened: the classifiers.
        measured: the first rows that have a label.
    """

    config: BoundaryConfig
    info: DatasetInfo
    split: str
    opened: tuple[Opened, ...]
    measured: Pictures

    @classmethod
    def read(cls, config: BoundaryConfig) -> "Task":
        """The task that a config spells.

        Raises:
            UserError: its parts do not fit each other, or a row is out of range.
        """
        info = load_dataset(config.dataset)
        split = judged_split(info, config.split)
        rows = info.num_rows(split)
        for key, row in (("row", config.row), *(("through", row) for row in config.through or ())):
            if row is not None and not 0 <= row < rows:
                raise UserError(
                    f"{key} {row} is outside the split {split} of {info.path}, whose rows are 0 to "
                    f"{rows - 1}"
                )
        if math.prod(info.shape) < 2:
            raise UserError(f"the pictures of {info.path} have one value: there is no plane")
        measured = read_pictures(info, split, range(min(rows, config.limit)))
        if not len(measured.rows):
            raise UserError(f"none of the first {config.limit} rows of {split} has a label")
        return cls(config, info, split, open_all(config, info, split), measured)

    @property
    def max_length(self) -> float:
        """The longest noise, L2."""
        return self.config.max_length or round(math.sqrt(math.prod(self.info.shape)) / 3, 2)

    @property
    def settings(self) -> SurveySettings:
        """How boundaries are measured."""
        steps = np.linspace(0, self.max_length, _LENGTHS + 1)[1:]
        return SurveySettings(
            lengths=tuple(float(length) for length in steps),
            far=2 * self.max_length,
            directions=self.config.directions,
            attack_steps=self.config.attack_steps,
            tolerance=0.01,
            seed=self.config.seed,
        )

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All that the results depend on."""
        config = self.config
        named = ("row", "through", "points", "reach", "limit", "directions", "attack_steps", "seed")
        return {
            "job": "boundary",
            "dataset_sha256": self.info.sha256,
            "split": self.split,
            "classifiers": [{"name": o.name, **o.identity} for o in self.opened],
            "max_length": self.max_length,
            **{name: getattr(config, name) for name in named},
        }


def read_pictures(info: DatasetInfo, split: str, rows: range) -> Pictures:
    """Those of the rows that have a label among the classes."""
    table = read_rows(info, split, rows.start, rows.stop)
    labels = labels_of(table)
    good = np.flatnonzero((labels >= 0) & (labels < len(info.classes)))
    return Pictures(
        images_of(table)[good],
        torch.from_numpy(labels[good].astype(np.int64)),
        torch.from_numpy(good.astype(np.int64) + rows.start),
    )


def picture_at(info: DatasetInfo, split: str, row: int) -> Pictures:
    """One row; UserError where it has no label."""
    found = read_pictures(info, split, range(row, row + 1))
    if not len(found.rows):
        raise UserError(f"row {row} of {split} has no label among the classes; choose another")
    return found
