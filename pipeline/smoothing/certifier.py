"""Certificates of rows: votes are asked for in full calls, and rows leave when they are decided."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.errors import UserError
from pipeline.pictures import to_unit
from pipeline.precision import full_float32
from pipeline.smoothing.base import SmoothingBase
from pipeline.smoothing.noise import DrawKeys
from pipeline.smoothing.settings import CertifySettings


@dataclass(frozen=True)
class CertificateRows:
    """What was found of N rows.

    Attributes:
        predicted: int64 ``[N]``, the class that most of the first n0 draws voted for.
        n0_counts: int32 ``[N, K]``, their votes.
        n: int64 ``[N]``, draws for the bound.
        n_a: int64 ``[N]``, how many of these voted for ``predicted``.
        p_lower: float64 ``[N]``, below its share with probability 1 - alpha.
        radius: float64 ``[N]``, in units of [0, 1], L2; 0 where abstained.
        abstained: bool ``[N]``, whether p_lower is at most 1/2: nothing is claimed, the class
            neither.
        draws: int64 ``[N]``, n0 and n together.
    """

    predicted: np.ndarray
    n0_counts: np.ndarray
    n: np.ndarray
    n_a: np.ndarray
    p_lower: np.ndarray
    radius: np.ndarray
    abstained: np.ndarray
    draws: np.ndarray


class _Row:
    """One row so far.

    Attributes:
        asked, counted: its draws that were made, and those that count.
        votes: the answers in between, which the next looks will count, or leave.
        stop: how many will have been counted at its next look.
    """

    def __init__(self, row: int, num_classes: int, n0: int) -> None:
        self.row = row
        self.n0_counts = np.zeros(num_classes, np.int32)
        self.votes = np.zeros(0, np.int64)
        self.asked, self.counted, self.stop = 0, 0, n0
        self.predicted, self.n_a, self.look = -1, 0, 0


def certify_rows(
    base: SmoothingBase,
    images: np.ndarray,
    row_keys: np.ndarray,
    settings: CertifySettings,
    progress: Callable[[int, int], None] | None = None,
) -> CertificateRows:
    """Certify rows; each one's result depends on its picture, its key and the settings alone.

    Args:
        base: what is smoothed.
        images: uint8 ``[N, H, W, C]``.
        row_keys: int64 ``[N]``, see `pipeline.smoothing.noise.row_keys_of`.
        progress: told after each call how many rows are done and how many draws were counted.

    Raises:
        UserError: the base gives no answers, or not the same ones about the same pictures.
    """
    if images.shape[1:] != tuple(base.shape) or images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 [N, {base.shape}], not {images.shape}")
    with full_float32(), torch.inference_mode():
        return _Certifier(base, images, row_keys, settings).run(progress)


class _Certifier:
    def __init__(
        self,
        base: SmoothingBase,
        images: np.ndarray,
        row_keys: np.ndarray,
        settings: CertifySettings,
    ) -> None:
        self._base, self._settings, self._row_keys = base, settings, row_keys
        self._pictures = to_unit(images)
        self._noise = settings.make_noise()
        self._rule = settings.rule_for(images[0].size if len(images) else 0)
        self._looks = self._rule.looks()
        self._waiting = deque(range(len(images)))
        self._steady, self._counted = False, 0
        num, classes = len(images), len(base.classes)
        self._predicted, self._n, self._n_a = (np.zeros(num, np.int64) for _ in range(3))
        self._n0_counts = np.zeros((num, classes), np.int32)

    def run(self, progress: Callable[[int, int], None] | None) -> CertificateRows:
        active: list[_Row] = []
        done = 0
        while active or self._waiting:
            shares = self._fill(active)
            self._share_out(shares, self._ask(shares))
            left = [row for row in active if not self._is_done(row)]
            done += len(active) - len(left)
            active = left
            if progress is not None:
                progress(done, self._counted)
        return self._result()

    def _fill(self, active: list[_Row]) -> list[tuple[_Row, int]]:
        """Which rows a call asks about, and how often; new rows enter where there is room.

        Room that is left when no row waits goes to draws beyond the next looks: they are made in
        any case or, where a look stops their row, are not counted.
        """
        room = self._base.rows_per_call
        takes = []
        for row in active:
            takes.append(min(room, max(0, row.stop - row.asked)))
            room -= takes[-1]
        while room and self._waiting:
            row = _Row(self._waiting.popleft(), len(self._base.classes), self._settings.n0)
            active.append(row)
            takes.append(min(room, row.stop))
            room -= takes[-1]
        most = self._settings.n0 + self._settings.n
        for i, row in enumerate(active):
            ahead = min(room // (len(active) - i), most - row.asked - takes[i])
            takes[i] += ahead
            room -= ahead
        return [(row, take) for row, take in zip(active, takes, strict=True) if take]

    def _ask(self, shares: Sequence[tuple[_Row, int]]) -> np.ndarray:
        """The base's answers, in the order of the shares; the call is padded to its one size."""
        rows = np.repeat([row.row for row, _ in shares], [take for _, take in shares])
        draws = np.concatenate([np.arange(r.asked, r.asked + take) for r, take in shares])
        keys = DrawKeys(self._settings.seed, self._row_keys[rows], draws)
        x = self._noise.noisy(self._pictures[torch.from_numpy(rows)], keys)
        size = self._base.rows_per_call
        if len(x) < size:
            x = torch.cat((x, x[-1:].expand(size - len(x), *x.shape[1:])))
            keys = keys.padded(size)
        answers = self._base.answers(x, keys)
        if not self._steady and not np.array_equal(answers, self._base.answers(x, keys)):
            raise UserError(
                "the base answers the same noisy pictures differently when asked again; "
                "certificates speak of a function: put the classifier into evaluation mode, and "
                "key its chance"
            )
        self._steady = True
        return answers[: len(rows)]

    def _share_out(self, shares: Sequence[tuple[_Row, int]], answers: np.ndarray) -> None:
        start = 0
        for row, take in shares:
            row.votes = np.concatenate((row.votes, answers[start : start + take]))
            row.asked += take
            start += take

    def _is_done(self, row: _Row) -> bool:
        """Looks at a row as often as its votes suffice; whether it leaves, with its counts kept."""
        n0 = self._settings.n0
        while len(row.votes) >= (size := row.stop - row.counted):
            votes, row.votes = row.votes[:size], row.votes[size:]
            row.counted = row.stop
            self._counted += size
            if row.predicted < 0:
                row.n0_counts += np.bincount(votes, minlength=len(row.n0_counts)).astype(np.int32)
                row.predicted = int(row.n0_counts.argmax())
            else:
                row.n_a += int(np.count_nonzero(votes == row.predicted))
                if self._rule.is_decided(row.counted - n0, row.n_a):
                    self._keep(row)
                    return True
            row.stop = n0 + int(self._looks[row.look])
            row.look += 1
        return False

    def _keep(self, row: _Row) -> None:
        self._predicted[row.row], self._n0_counts[row.row] = row.predicted, row.n0_counts
        self._n[row.row], self._n_a[row.row] = row.counted - self._settings.n0, row.n_a

    def _result(self) -> CertificateRows:
        counts = list(zip(self._n.tolist(), self._n_a.tolist(), strict=True))
        p_lower = np.array([self._rule.p_lower(n, n_a) for n, n_a in counts])
        return CertificateRows(
            predicted=self._predicted,
            n0_counts=self._n0_counts,
            n=self._n,
            n_a=self._n_a,
            p_lower=p_lower,
            radius=np.array([self._rule.radius(n, n_a) for n, n_a in counts]),
            abstained=p_lower <= 0.5,
            draws=self._n + self._settings.n0,
        )
