"""A sample set as `generate` writes it."""

import os

from noisestack.face.local_path import local_path
from noisestack.face.picture_set import PictureSet
from pipeline.formats.output import read_json
from pipeline.formats.sample_set import MANIFEST_FILE, SampleSet, open_sample_set


class Samples(PictureSet):
    """Generated pictures in the order of their indices.

    The columns are id, seed, sample_index, label (-1 for no condition), image and, where captions
    named the labels, caption.
    """

    def __init__(self, samples: SampleSet) -> None:
        super().__init__(
            samples.path,
            samples.shards,
            shape=samples.shape,
            classes=samples.classes,
            manifest=read_json(samples.path / MANIFEST_FILE),
        )
        self._samples = samples

    @property
    def sha256(self) -> str:
        """The set's identity: a hash over its files."""
        return self._samples.sha256


def open_samples(path: str | os.PathLike[str]) -> Samples:
    """A finished sample set on disk; nothing but its manifest is read as yet.

    Args:
        path: its directory, as the job `generate` leaves it.

    Raises:
        UserError: it is missing, unfinished or altered, or no sample set.
    """
    return Samples(open_sample_set(local_path(path)))
