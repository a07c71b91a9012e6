"""A certificate set held against its dataset, and rows of it voted on again by its base."""

from collections import Counter
from heapq import nsmallest

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.certificate.set import CertificateSet, votes_of
from pipeline.formats.dataset import DatasetInfo, images_of, labels_of
from pipeline.formats.keyed_sample import sample_key
from pipeline.formats.rows_at import rows_at
from pipeline.formats.shard import iterate
from pipeline.pictures import picture_hashes
from pipeline.smoothing.base import SmoothingBase
from pipeline.smoothing.certifier import certify_rows
from pipeline.smoothing.noise import row_keys_of
from pipeline.smoothing.record import settings_of

# Another machine computes other last bits, which turn a vote where two classes' logits are that
# near: of so many draws, and of this share of them.
_TURNED, _TURNED_SHARE = 2, 1e-3


def dataset_faults(opened: CertificateSet, info: DatasetInfo) -> tuple[str, ...]:
    """One line for each way in which ids, labels or pictures' hashes are not the dataset's."""
    counts: Counter[str] = Counter()
    first: dict[str, int] = {}
    if info.sha256 != opened.dataset_sha256:
        return ("the dataset is not the one that the set names",)
    if list(opened.manifest["dataset"]["shape"]) != list(info.shape):
        shape = "x".join(map(str, info.shape))
        return (f"the set names another shape than the dataset's pictures have, {shape}",)
    columns = ["id", "row", "label", "clean_sha256"]
    for table in iterate(opened.path, opened.shards, columns):
        row = table.column("row").to_numpy()
        in_range = (row >= opened.start) & (row < min(opened.stop, info.num_rows(opened.split)))
        table, row = table.filter(pa.array(in_range)), row[in_range]
        if not len(row):
            continue
        clean = rows_at(info, opened.split, row)
        hashes = np.array(picture_hashes(images_of(clean)), object)
        wrong = {
            "id is not the dataset's": table["id"].to_numpy() != clean["id"].to_numpy(),
            "label is not the dataset's": labels_of(table) != labels_of(clean),
            "clean_sha256 is not the picture's": table["clean_sha256"].to_numpy() != hashes,
        }
        for kind, mask in wrong.items():
            for number in row[mask].tolist():
                counts[kind] += 1
                first.setdefault(kind, number)
    return tuple(f"{kind}: {num} times, first row {first[kind]}" for kind, num in counts.items())


def redraw_faults(
    opened: CertificateSet, base: SmoothingBase, info: DatasetInfo, num: int, seed: int
) -> tuple[str, ...]:
    """Votes on some rows again, with the set's own noise; one line for each that differs.

    Args:
        base: that was smoothed.
        info: the dataset whose pictures the set names.
        num: rows, at most: those with the lowest SHA-256 of the text ``seed:id``.
        seed: of the choice; whoever checks takes one of their own.
    """
    sample = _sample(opened, num, seed)
    if not sample.num_rows:
        return ()
    rows = sample.column("row").to_numpy()
    images = images_of(rows_at(info, opened.split, rows))
    ids = sample.column("id").to_pylist()
    found = certify_rows(base, images, row_keys_of(ids), settings_of(opened.certificate))
    n, n_a = sample.column("n").to_numpy(), sample.column("n_a").to_numpy()
    may_turn = _TURNED + _TURNED_SHARE * n
    votes = np.abs(votes_of(sample) - found.n0_counts).sum(axis=1) / 2
    wrong = {
        "n0_counts": votes > _TURNED,
        "predicted": sample.column("predicted").to_numpy() != found.predicted,
        "n": n != found.n,
        "n_a": (n == found.n) & (np.abs(n_a - found.n_a) > may_turn),
    }
    return tuple(
        f"row {rows[place]}, drawn again: {name} is {_value(found, name, place)} and not "
        f"{_stated(sample, name, place)}"
        for name, mask in wrong.items()
        for place in np.flatnonzero(mask).tolist()
    )


def _value(found: object, name: str, place: int) -> object:
    return getattr(found, name)[place].tolist()


def _stated(sample: pa.Table, name: str, place: int) -> object:
    return sample.column(name)[place].as_py()


def _sample(opened: CertificateSet, num: int, seed: int) -> pa.Table:
    """Rows of the set, those with the lowest keys, in the order of their numbers."""
    keys: list[tuple[bytes, int]] = []
    for table in iterate(opened.path, opened.shards, ["id", "row"]):
        pairs = zip(table["id"].to_pylist(), table["row"].to_pylist(), strict=True)
        keys = nsmallest(num, [*keys, *((sample_key(seed, i), r) for i, r in pairs)])
    chosen = {row for _, row in keys}
    parts = [
        table.filter(pa.array([row in chosen for row in table["row"].to_pylist()]))
        for table in iterate(opened.path, opened.shards)
    ]
    if not parts:
        raise UserError(f"{opened.path} has no rows to draw again")
    return pa.concat_tables(parts).combine_chunks()
