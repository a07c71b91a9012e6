"""Pictures moved by a few pixels at random: keyed by the step and the row."""

import numpy as np


def shifted(
    images: np.ndarray, max_shift: int, key: tuple[int, ...], *, first_row: int = 0
) -> np.ndarray:
    """Move each of uint8 ``[N, H, W, C]`` by up to ``max_shift`` pixels; edge pixels are repeated.

    The shifts are a function of ``key`` and the row's number, which counts from ``first_row``: a
    resumed run makes the same ones, and so do workers that share a batch.
    """
    if max_shift == 0:
        return images
    num, height, width, _ = images.shape
    generator = np.random.default_rng(key)
    moves = generator.integers(-max_shift, max_shift + 1, size=(first_row + num, 2))[first_row:]
    down, right = moves[:, :1], moves[:, 1:]
    rows = np.clip(np.arange(height) + down, 0, height - 1)[:, :, None]
    columns = np.clip(np.arange(width) + right, 0, width - 1)[:, None, :]
    return np.asarray(images[np.arange(num)[:, None, None], rows, columns])
