"""A dataset as `ingest` writes it, one split of it at a time."""

import os

from noisestack.face.local_path import local_path
from noisestack.face.picture_set import PictureSet
from pipeline.formats.dataset import DATASET_FILE, DatasetInfo, load_dataset, shards_of
from pipeline.formats.output import read_json
from pipeline.formats.splits import TRAIN


class Dataset(PictureSet):
    """The rows of one split: id, image and, where there are some, label and caption.

    Attributes:
        info: what ``dataset.json`` says, typed.
        split: the split whose rows these are.
    """

    def __init__(self, info: DatasetInfo, split: str) -> None:
        super().__init__(
            info.path,
            shards_of(info, split),
            shape=info.shape,
            classes=info.classes,
            manifest=read_json(info.path / DATASET_FILE),
        )
        self.info, self.split = info, split

    @property
    def splits(self) -> dict[str, int]:
        """How many rows each split has."""
        return {name: self.info.num_rows(name) for name in self.info.splits}

    @property
    def sha256(self) -> str:
        """The dataset's identity: a hash over all splits."""
        return self.info.sha256


def open_dataset(path: str | os.PathLike[str], split: str | None = None) -> Dataset:
    """A dataset on disk; nothing but its ``dataset.json`` is read as yet.

    Args:
        path: its directory, as the job `ingest` leaves it.
        split: such as train or test; None for train, or the first where there is no train.

    Raises:
        UserError: it is missing, half there or altered, or has no such split.
    """
    info = load_dataset(local_path(path))
    first = next(iter(info.splits), TRAIN)
    return Dataset(info, split or (TRAIN if TRAIN in info.splits else first))
