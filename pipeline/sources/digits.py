"""scikit-learn's handwritten digits: 1,797 real grey 8x8 pictures in 10 classes, no download.

They are the test part of the UCI set "Optical Recognition of Handwritten Digits" (E. Alpaydin and
C. Kaynak, 1998): the values 0 ... 16 count the dark pixels in 4x4 blocks of a 32x32 scan.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.quarantine import BadRow
from pipeline.sources.base import RawRow, Source, SourceEntry

_LARGEST = 16


class DigitsSource(Source):
    """The embedded digits as uint8 [8, 8, 1], their values 0 ... 16 scaled to 0 ... 255."""

    def __init__(self) -> None:
        self.num_rows = len(_digits()[1])
        self.classes = tuple(str(digit) for digit in range(10))
        self.splits = ()
        self.has_captions = False

    def read(self, start: int, stop: int) -> list[RawRow | BadRow]:
        images, labels = _digits()
        return [
            RawRow(
                id=f"digits-{row:04d}",
                image=images[row],
                label=int(labels[row]),
                caption=None,
                split=None,
                origin=f"digit {row} of scikit-learn",
            )
            for row in range(start, stop)
        ]


@lru_cache(maxsize=1)
def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    # Imported here: it takes a second, which the other sources need not wait for.
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    images = np.rint(values * (255 / _LARGEST)).astype(np.uint8).reshape(-1, 8, 8, 1)
    images.flags.writeable = False
    return images, labels.astype(np.int64)


DIGITS = SourceEntry("digits", "embedded, no input", lambda _: DigitsSource(), has_input=False)
