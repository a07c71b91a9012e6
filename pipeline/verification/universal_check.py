"""Whether each picture of a universal set is the clean one plus the set's one perturbation."""

from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.formats.perturbation_set import read_perturbation_manifest
from pipeline.formats.shard import images_of, iterate
from pipeline.formats.universal import DELTA_FILE, NOT_DELTA, UNIVERSAL, read_delta, with_delta
from pipeline.verification.faults import Faults


def check_universal(directory: Path, faults: Faults) -> None:
    """Adds up every row of a set without other faults; one shard is in memory at a time.

    A set of another attack is left alone.
    """
    opened = read_perturbation_manifest(directory)
    if opened.attack.get("attack") != UNIVERSAL:
        return
    try:
        shape = tuple(int(size) for size in opened.manifest["dataset"]["shape"])
        delta = read_delta(opened.path, opened.attack, shape)
    except UserError as error:
        faults.add("a perturbation that cannot be used", DELTA_FILE, str(error))
        return
    tables = iterate(opened.path, opened.shards, ["image", "adversarial"])
    for shard, table in zip(opened.shards, tables, strict=True):
        moved = with_delta(images_of(table), delta)
        differs = (moved != images_of(table, "adversarial")).any(axis=(1, 2, 3))
        for row in np.flatnonzero(differs).tolist():
            faults.add("a picture that was changed otherwise", shard.file, NOT_DELTA, row)
