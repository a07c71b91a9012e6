"""How far stored pictures lie from the clean ones: whole levels of 1/255, exactly."""

import numpy as np

from pipeline.errors import UserError

NORMS = ("linf", "l2", "l1")


def linf_levels(clean: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """The largest change of any value, of uint8 ``[N, H, W, C]``, in levels: int64 ``[N]``."""
    return np.asarray(np.abs(_change(clean, stored)).max(axis=1))


def squared_l2_levels(clean: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """The sum of the squared changes, of uint8 ``[N, H, W, C]``, in levels²: int64 ``[N]``."""
    return np.asarray((_change(clean, stored) ** 2).sum(axis=1))


def l1_levels(clean: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """The sum of the changes' sizes, of uint8 ``[N, H, W, C]``, in levels: int64 ``[N]``."""
    return np.asarray(np.abs(_change(clean, stored)).sum(axis=1))


def changed_values(clean: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """How many values of uint8 ``[N, H, W, C]`` changed, which is called L0: int64 ``[N]``."""
    return np.asarray((_change(clean, stored) != 0).sum(axis=1))


def size_levels(clean: np.ndarray, stored: np.ndarray, norm: str) -> np.ndarray:
    """The change's size in a norm, of uint8 ``[N, H, W, C]``, in levels, ``[N]``.

    Raises:
        UserError: there is no such norm.
    """
    match norm:
        case "linf":
            return linf_levels(clean, stored)
        case "l2":
            return np.asarray(np.sqrt(squared_l2_levels(clean, stored).astype(np.float64)))
        case "l1":
            return l1_levels(clean, stored)
        case _:
            raise _no_norm(norm)


def in_ball(clean: np.ndarray, stored: np.ndarray, norm: str, eps_levels: int) -> np.ndarray:
    """Whether each stored row lies in the ball around its clean row, bool ``[N]``, exactly.

    A radius of 0 levels is no ball: all do.

    Raises:
        UserError: there is no such norm.
    """
    match norm:
        case "linf":
            inside = linf_levels(clean, stored) <= eps_levels
        case "l2":
            inside = squared_l2_levels(clean, stored) <= eps_levels**2
        case "l1":
            inside = l1_levels(clean, stored) <= eps_levels
        case _:
            raise _no_norm(norm)
    return np.asarray(inside | (eps_levels == 0))


def _no_norm(norm: str) -> UserError:
    return UserError(f"there is no norm {norm!r}, only {', '.join(NORMS)}")


def _change(clean: np.ndarray, stored: np.ndarray) -> np.ndarray:
    difference = stored.astype(np.int64) - clean.astype(np.int64)
    return np.asarray(difference.reshape(len(clean), -1))
