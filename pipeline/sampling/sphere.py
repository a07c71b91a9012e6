"""Ways between unit vectors: spherical interpolation, and steps along a difference of texts.

Embeddings of pictures and sentences have unit length, so what lies between two of them lies on the
sphere. All is computed in float64, row by row.
"""

import numpy as np

from pipeline.errors import UserError

_ANTIPODAL = 1e-3  # radians short of a half turn: in float32 the plane is not told more exactly
_TOO_SHORT = 1e-6  # of a difference of float16 vectors of unit length, whose steps are 2**-11


def unit(vectors: np.ndarray, what: str = "a vector") -> np.ndarray:
    """The vectors ``[..., D]`` scaled to unit length, float64.

    Args:
        what: the words for one, in the message.

    Raises:
        UserError: one has no direction: it is zero, or not finite.
    """
    vectors = np.asarray(vectors, np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (np.isfinite(length) & (length > _TOO_SHORT)).all():
        raise UserError(f"{what} has no direction: its length is 0, or not finite")
    scaled: np.ndarray = vectors / length
    return scaled


def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between unit vectors ``[..., D]``, in radians from 0 to pi, float64 ``[...]``.

    By half chords, which is as exact near 0 and pi as between (Kahan): an arc cosine of float64
    misses an angle of 1e-8 wholly.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    half = np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))
    return 2 * np.asarray(half)


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """Spherical interpolation, ``sin((1-t) w)/sin(w) a + sin(t w)/sin(w) b`` (Shoemake, 1985).

    Args:
        a, b: vectors of unit length, ``[D]`` or ``[N, D]``.
        t: 0 gives a, 1 gives b; the angle to a is t times that between them. One, or ``[N]``.

    Returns:
        float32 ``[D]``, or ``[N, D]`` where any argument has N rows; of unit length.

    Raises:
        UserError: a and b are opposite, so that no way between them is the shortest.
    """
    a, b, share = unit(a), unit(b), np.asarray(t, np.float64)[..., None]
    omega = angle(a, b)[..., None]
    if (omega > np.pi - _ANTIPODAL).any():
        raise UserError("the two vectors are opposite: no way between them is the shortest")
    # sinc(x) = sin(pi x)/(pi x) has the right limit where both are one.
    whole = np.sinc(omega / np.pi)
    from_a = (1 - share) * np.sinc((1 - share) * omega / np.pi) / whole
    from_b = share * np.sinc(share * omega / np.pi) / whole
    return unit(from_a * a + from_b * b).astype(np.float32)


def text_difference(text: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The direction from one sentence's vector to another's, of unit length, float64 ``[..., D]``.

    ``z_d = (z_t - z_0) / |z_t - z_0|`` of section 3.3 of Ramesh et al. (2022, DALL-E 2).

    Args:
        text: the vector of what is to be seen.
        base: the vector of what is seen now.

    Raises:
        UserError: both are the same, so that there is no direction.
    """
    difference = np.asarray(text, np.float64) - np.asarray(base, np.float64)
    return unit(difference, "the difference of the two texts")


def towards(
    picture: np.ndarray, text: np.ndarray, base: np.ndarray, t: np.ndarray | float
) -> np.ndarray:
    """A picture's vector, turned towards a difference of texts: the text diff of DALL-E 2.

    Args:
        picture: the picture's vector, ``[D]`` or ``[N, D]``.
        text, base: see `text_difference`.
        t: how much of the way from the picture to the difference; the paper goes to 0.25 to 0.5.

    Returns:
        float32 as `slerp`.

    Raises:
        UserError: as `slerp` and `text_difference`.
    """
    return slerp(picture, text_difference(text, base), t)
