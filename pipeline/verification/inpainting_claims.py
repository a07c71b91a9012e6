"""Checks of samples that were drawn around a picture: its known pixels are in each of them."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.perturbation.rows import Tally
from pipeline.formats.sample_set import SampleSet
from pipeline.formats.shard import images_of
from pipeline.sampling.known_picture import KNOWN_FILE, KnownPicture, claimed_picture
from pipeline.verification.claims import Claims
from pipeline.verification.faults import Faults


class InpaintingClaims:
    """The claims of a sample set, and that no known pixel was changed.

    Args:
        others: what else is claimed of its rows.
        picture: what its samples were drawn around.
    """

    def __init__(self, others: Claims, picture: KnownPicture) -> None:
        self._others, self._picture = others, picture
        self.columns: tuple[str, ...] = (*others.columns, "image")

    def of_rows(self, table: pa.Table) -> tuple[dict[str, np.ndarray], Tally]:
        faults, tally = self._others.of_rows(table)
        mask = self._picture.mask
        changed = (images_of(table)[:, mask] != self._picture.image[mask]).any(axis=(1, 2))
        return faults | {f"a known pixel is not the one of {KNOWN_FILE}": changed}, tally

    def of_set(self, tallies: list[Tally], faults: Faults) -> None:
        self._others.of_set(tallies, faults)


def with_known_pixels(
    claims: Claims, directory: Path, samples: SampleSet, faults: Faults
) -> Claims:
    """The claims with those of inpainting, where a set's samples were drawn around a picture.

    Args:
        claims: what else is claimed of the rows.
        directory: the set's.
        faults: gets one if the picture cannot be used, or is another.
    """
    try:
        picture = claimed_picture(directory, samples.origin, samples.shape)
    except UserError as error:
        faults.add("a picture that cannot be used", KNOWN_FILE, str(error))
        return claims
    return claims if picture is None else InpaintingClaims(claims, picture)
