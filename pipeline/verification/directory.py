"""Checks a directory with a set, a model or a run against its manifest.

Files are hashed and read by threads, a few at a time, and reported in their order. In memory are
the ids, labels and numbers of those few files, and one part of the `IdLedger`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipeline.errors import UserError
from pipeline.formats.boundary import BOUNDARY_FILE
from pipeline.formats.claim import RUN_FILE
from pipeline.formats.dataset import DATASET_FILE
from pipeline.formats.hugging_face import EXPORT_FILE
from pipeline.formats.id_ledger import ROWS_IN_MEMORY, IdLedger
from pipeline.formats.model import CARD_FILE
from pipeline.formats.output import is_temporary, read_json
from pipeline.formats.perturbation.rows import Tally
from pipeline.verification.boundary_check import check_boundary
from pipeline.verification.evaluation_check import EVALUATION_FILE, check_evaluation
from pipeline.verification.export_check import check_export
from pipeline.verification.faults import Faults
from pipeline.verification.file_check import ListedFile, check_file
from pipeline.verification.listing import (
    MANIFEST_FILE,
    QUARANTINE_ROWS,
    Listing,
    read_listing,
)
from pipeline.verification.model_check import check_model
from pipeline.verification.numbering import Numbering
from pipeline.verification.training_check import TRAINING_JOBS, check_training_run

_RECORDS = "records"  # the folder of a job's records of its shards, until it writes the manifest
_UNFINISHED = {"evaluate": ("evaluation", EVALUATION_FILE), "boundary": ("boundary", BOUNDARY_FILE)}
_SET_JOBS = ("ingest", "generate", "perturb", "certify", "embed", "export")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Verification:
    """The result of a check.

    Attributes:
        kind: "dataset", "sample set", "perturbation set", "certificate set", "embedding set",
            "export", "evaluation", "boundary", "training run", or the kind of a model.
        num_rows, num_quarantined: rows in the shards, and bad rows, as the manifest lists them.
        num_files: shards, or for a directory without rows its files.
        in_rows: whether it has rows; models, evaluations and training runs have none.
    """

    kind: str
    num_rows: int
    num_quarantined: int
    num_files: int
    faults: Faults
    in_rows: bool = True


def verify_directory(
    path: Path | str,
    *,
    limit: int = 10,
    threads: int = 1,
    progress: Callable[[int], Callable[[int], object]] = lambda total: lambda rows: None,
    rows_in_memory: int = ROWS_IN_MEMORY,
) -> Verification:
    """Checks all that stands in a directory against its manifest.

    Args:
        limit: faults of each kind that are kept in full.
        threads: files that are read at a time.
        progress: called with the number of all rows; returns a function that is called with the
            number of rows of each file when it is done.
        rows_in_memory: of the `IdLedger`.

    Raises:
        UserError: the directory holds nothing that has a manifest.
    """
    path = Path(path).absolute()
    faults = Faults(limit)
    if (without_rows := _verify_what_has_no_rows(path, faults)) is not None:
        return without_rows
    if (path / EXPORT_FILE).is_file():
        shards = check_export(path, faults, progress)
        _note_leftovers(path, faults)
        _note_strays(path, {shard.file for shard in shards}, faults)
        num_rows = sum(shard.num_rows for shard in shards)
        return Verification("export", num_rows, 0, len(shards), faults)
    listing = read_listing(path, faults)
    if listing is None:
        if not faults:
            _refuse_others(path)
            faults.add("an unfinished set", str(path), "has no manifest: its job has not finished")
        _note_leftovers(path, faults)
        return Verification("set", 0, 0, 0, faults)
    files = _files_of(listing)
    total = sum(file.shard.num_rows for file in files)
    with IdLedger(total, rows_in_memory) as ledger:
        starts = _verify_files(path, listing, files, ledger, faults, threads, progress(total))
        for again, before in ledger.repeats():
            file, row = _place(files, starts, again)
            earlier, earlier_row = _place(files, starts, before)
            what = f"has the same id as row {earlier_row} of {earlier}"
            faults.add("an id that came before", file, what, row)
    _note_leftovers(path, faults)
    _note_strays(path, {file.shard.file for file in files}, faults)
    num_rows = sum(shard.num_rows for shard in listing.shards)
    return Verification(listing.kind, num_rows, total - num_rows, len(listing.shards), faults)


def _verify_what_has_no_rows(path: Path, faults: Faults) -> Verification | None:
    """The check of a model, an evaluation, a boundary or a training run; None for others."""
    if (path / CARD_FILE).is_file():
        kind, num_files = check_model(path, faults)
        return Verification(kind, 0, 0, num_files, faults, in_rows=False)
    if (path / EVALUATION_FILE).is_file():
        check_evaluation(path, faults)
        kind, num_files = "evaluation", 2
    elif (path / BOUNDARY_FILE).is_file():
        kind, num_files = "boundary", check_boundary(path, faults)
    elif _job_of(path) in TRAINING_JOBS:
        kind, num_files = "training run", check_training_run(path, faults)
    elif (job := _job_of(path)) in _UNFINISHED:
        kind, last = _UNFINISHED[str(job)]
        faults.add(f"an unfinished {kind}", str(path), f"has no {last}: its job has not finished")
        num_files = 1
    else:
        return None
    _note_leftovers(path, faults)
    return Verification(kind, 0, 0, num_files, faults, in_rows=False)


def _job_of(path: Path) -> str | None:
    """The job that claimed a directory; None for a directory that none claimed."""
    try:
        return str(read_json(path / RUN_FILE)["fingerprint"]["job"])
    except (UserError, KeyError, TypeError):
        return None


def _refuse_others(path: Path) -> None:
    """Raises UserError unless a job has at least started to make a set in the directory."""
    if _job_of(path) in _SET_JOBS or (path / _RECORDS).is_dir() or any(path.glob("*.parquet")):
        return
    inside = ", ".join([d.name for d in sorted(path.iterdir()) if d.is_dir() and _is_ours(d)][:12])
    if inside:
        raise UserError(f"{path} itself holds nothing to verify; give one of its folders: {inside}")
    if not any(path.rglob("*.parquet")):
        files = f"dataset.json, manifest.json, {EXPORT_FILE}, card.json, {EVALUATION_FILE}"
        raise UserError(
            f"{path} holds no dataset, sample set, perturbation set, certificate set, embedding "
            "set, export, model, evaluation or training run; give the directory that holds "
            f"{files} or {RUN_FILE}"
        )


def _is_ours(path: Path) -> bool:
    names = (DATASET_FILE, MANIFEST_FILE, CARD_FILE, EVALUATION_FILE, RUN_FILE)
    return any((path / name).is_file() for name in names)


def _files_of(listing: Listing) -> list[ListedFile]:
    """The files in the order in which they are read.

    A shard is followed by its quarantine where the rows are numbered; else all shards come first.
    """
    files = [ListedFile(shard, listing.rows) for shard in listing.shards]
    files += [ListedFile(shard, QUARANTINE_ROWS) for shard in listing.quarantine]
    return sorted(files, key=lambda file: file.part) if listing.numbers else files


def _verify_files(
    path: Path,
    listing: Listing,
    files: Sequence[ListedFile],
    ledger: IdLedger,
    faults: Faults,
    threads: int,
    on_rows: Callable[[int], object],
) -> list[int]:
    """Checks every file; returns the position in the ledger of the first row of each."""
    starts: list[int] = []
    position = 0
    numbering = Numbering(listing, faults)
    tallies: list[Tally | None] = []
    with ThreadPoolExecutor(threads) as pool:
        checks = _in_order(
            pool, lambda file: check_file(path, file, faults.limit), files, 2 * threads
        )
        for file, read in zip(files, checks, strict=True):
            faults.take(read.faults)
            numbering.add(file, read.numbers)
            ledger.add(read.digests, read.positions + position)
            starts.append(position)
            position += max(file.shard.num_rows, int(read.positions.max(initial=-1)) + 1)
            on_rows(file.shard.num_rows)
            if file.rows.claims is not None:
                tallies.append(read.tally)
    numbering.end()
    whole = [tally for tally in tallies if tally is not None]
    # Sums over rows need all rows.
    if listing.rows.claims is not None and len(whole) == len(tallies):
        listing.rows.claims.of_set(whole, faults)
    return starts


def _note_leftovers(path: Path, faults: Faults) -> None:
    if (path / _RECORDS).is_dir():
        what = "is left over from a run that was cut off; give its command again"
        faults.add("a leftover", f"{_RECORDS}/", what)
    for file in sorted(path.rglob(".*.tmp-*")):
        if is_temporary(file):
            name = file.relative_to(path).as_posix()
            faults.add("a leftover", name, "is a temporary file of a run that was cut off")


def _note_strays(path: Path, listed: set[str], faults: Faults) -> None:
    for file in sorted(path.rglob("*.parquet")):
        name = file.relative_to(path).as_posix()
        if name not in listed and not is_temporary(file):
            faults.add("a stray file", name, "is not listed in the manifest")


def _place(files: Sequence[ListedFile], starts: Sequence[int], position: int) -> tuple[str, int]:
    index = int(np.searchsorted(starts, position, side="right")) - 1
    return files[index].shard.file, position - starts[index]


def _in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    ahead: int,
) -> Iterator[_Result]:
    """The results in the order of the items; at most `ahead` are computed ahead."""
    waiting: deque[Future[_Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
