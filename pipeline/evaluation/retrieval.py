"""How well pictures fit their captions: retrieval among captions, and cosines, with intervals."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.intervals import clopper_pearson

TOP = (1, 5, 10)
_ROWS_AT_A_TIME = 1024
_RESAMPLES, _RESAMPLES_AT_A_TIME = 2000, 50


@dataclass(frozen=True)
class Share:
    """A share with its exact 95 % interval."""

    rate: float
    num_right: int
    low95: float
    high95: float


@dataclass(frozen=True)
class Retrieval:
    """How well some pictures fit their captions.

    Attributes:
        num_pictures: how many were asked about.
        num_captions: how many different ones each of them was compared with.
        recall: R@k by k: the share of pictures whose own caption is among the k nearest.
        similarity: mean cosine of a picture and its own caption.
        similarity_low95, similarity_high95: its 95 % interval by the bootstrap.
    """

    num_pictures: int
    num_captions: int
    recall: dict[int, Share]
    similarity: float
    similarity_low95: float
    similarity_high95: float

    def to_json(self) -> dict[str, Any]:
        """The same as JSON has it: ``recall`` by ``"1"``, ``"5"`` and ``"10"``."""
        fields = asdict(self)
        return fields | {"recall": {str(k): share for k, share in fields["recall"].items()}}


class Captions:
    """The different captions among some texts, by their vectors.

    Two captions whose vectors are equal bit for bit are one: their encoder cannot tell them apart
    (as one that is blind to case cannot tell "Flag" and "flag").

    Args:
        texts: vectors, float ``[N, D]``, none of them of length 0.

    Attributes:
        vectors: of the M different ones, scaled to length 1, float64 ``[M, D]``.
    """

    def __init__(self, texts: np.ndarray) -> None:
        different = np.unique(_wide(texts), axis=0)
        self.vectors = _unit(different)
        self._numbers = {text.tobytes(): number for number, text in enumerate(different)}

    def numbers_of(self, texts: np.ndarray) -> np.ndarray:
        """Which of these each text is, int64 ``[N]``.

        Raises:
            ValueError: one of them is none of these.
        """
        try:
            return np.array([self._numbers[text.tobytes()] for text in _wide(texts)], np.int64)
        except KeyError:
            raise ValueError("a text is not among the captions") from None


def ranks(pictures: np.ndarray, captions: Captions, own: np.ndarray) -> np.ndarray:
    """The place of each picture's own caption among all captions by cosine, from 1; int64 ``[N]``.

    Another caption that is exactly as near as the own one counts as nearer: a tie is no success.

    Args:
        pictures: vectors, float ``[N, D]``.
        captions: what each is compared with.
        own: the number of each picture's own caption, int64 ``[N]``.
    """
    places = [np.empty(0, np.int64)]
    for start in range(0, len(own), _ROWS_AT_A_TIME):
        some = slice(start, start + _ROWS_AT_A_TIME)
        cosines = _unit(pictures[some]) @ captions.vectors.T
        mine = np.take_along_axis(cosines, own[some, None], axis=1)
        places.append((cosines >= mine).sum(axis=1))
    return np.concatenate(places)


def retrieval(
    pictures: np.ndarray, texts: np.ndarray, captions: Captions, *, seed: int
) -> Retrieval:
    """Measures pictures against the captions that they are said to show.

    Args:
        pictures, texts: vectors, float ``[N, D]``, N >= 1; row i of the one belongs to row i of
            the other.
        captions: what each picture is compared with; the texts are among them.
        seed: keys the bootstrap.
    """
    own = captions.numbers_of(texts)
    places = ranks(pictures, captions, own)
    recall = {}
    for k in TOP:
        right = int((places <= k).sum())
        recall[k] = Share(right / len(own), right, *clopper_pearson(right, len(own)))
    cosines = (_unit(pictures) * captions.vectors[own]).sum(axis=1)
    low, high = _interval_of_mean(cosines, seed)
    return Retrieval(len(own), len(captions.vectors), recall, float(cosines.mean()), low, high)


def _interval_of_mean(values: np.ndarray, seed: int) -> tuple[float, float]:
    """The bootstrap's 95 % interval (percentiles) of a mean; of one value, that value."""
    from scipy.stats import bootstrap  # takes a second to import

    if len(values) == 1 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    interval = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_RESAMPLES_AT_A_TIME,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors scaled to length 1, float64: the float16 of an embedding set rounds lengths."""
    wide = _wide(vectors)
    unit: np.ndarray = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit


def _wide(vectors: np.ndarray) -> np.ndarray:
    """As float64, row after row, and without a negative zero: equal vectors have equal bytes."""
    wide: np.ndarray = np.ascontiguousarray(vectors, np.float64) + 0.0
    return wide
