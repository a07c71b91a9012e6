"""A certificate set as `certify` writes it."""

import os
from functools import cached_property
from typing import Any

import numpy as np

from noisestack.face.local_path import local_path
from noisestack.face.picture_set import PictureSet
from noisestack.face.rate import Rate
from pipeline.formats.certificate.set import CertificateSet, open_certificate_set


class Certificates(PictureSet):
    """What a smoothed classifier answers about each picture, and within which radius it must.

    The pictures themselves are the dataset's. The columns are in docs/formats.md; ``n0_counts`` is
    int32 ``[N, K]``.
    """

    def __init__(self, opened: CertificateSet) -> None:
        height, width, channels = (int(size) for size in opened.manifest["dataset"]["shape"])
        super().__init__(
            opened.path,
            opened.shards,
            shape=(height, width, channels),
            classes=opened.classes,
            manifest=opened.manifest,
        )

    @property
    def certificate(self) -> dict[str, Any]:
        """How it was certified: sigma, alpha, n0, n, rule, radii, tolerance, noise, seed and so on.

        ``sigma`` and radii are in [0, 1] pixels, L2; ``states`` says in words what holds.
        """
        return dict(self.manifest["certificate"])

    @property
    def base(self) -> dict[str, Any]:
        """What was smoothed: its kind (base), hashes, classes."""
        return dict(self.manifest["base"])

    @property
    def abstained(self) -> Rate:
        """The share of rows of which nothing is certified, not even the class."""
        return Rate(int(self.manifest["counts"]["abstained"]), len(self))

    @property
    def average_radius(self) -> float:
        """The mean certified radius; wrong rows, and those that abstained, count as 0."""
        return float(self.manifest["average_certified_radius"])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against the result, a line each."""
        return tuple(str(warning["text"]) for warning in self.manifest["warnings"])

    def certified_accuracy(self, radius: float = 0.0) -> Rate:
        """The share of rows whose right answer no change up to a length can take away.

        Args:
            radius: L2, in [0, 1] pixels. Of a set that was asked about some radii alone the share
                at others is true as well, and lower than it need be.
        """
        from pipeline.formats.certificate.curve import in_millionths

        return Rate(int((self._right >= in_millionths(radius)).sum()), len(self))

    @cached_property
    def _right(self) -> np.ndarray:
        from pipeline.formats.certificate.curve import right_radii

        return right_radii(self.path, self._shards)


def open_certificates(path: str | os.PathLike[str]) -> Certificates:
    """A finished certificate set on disk; nothing but its manifest is read as yet.

    Args:
        path: its directory, as the job `certify` leaves it.

    Raises:
        UserError: it is missing or unfinished, or a file of it is.
    """
    return Certificates(open_certificate_set(local_path(path)))
