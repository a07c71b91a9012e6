"""Whether a perturbation set's manifest holds the warnings that its rows call for."""

from collections import Counter
from pathlib import Path

from pipeline.formats.perturbation_set import MANIFEST_FILE, read_perturbation_manifest
from pipeline.formats.perturbation_warnings import (
    NOT_REPEATABLE,
    ROW_CODES,
    columns_needed,
    doubtful_rows,
    row_warnings,
)
from pipeline.formats.shard import iterate, labels_of
from pipeline.formats.trivial_pictures import COLUMNS, count_trivial, may_give_up
from pipeline.verification.faults import Faults


def check_warnings(directory: Path, faults: Faults) -> None:
    """Counts the rows of a set without other faults; one shard is in memory at a time."""
    opened = read_perturbation_manifest(directory)
    counts: Counter[str] = Counter()
    columns = columns_needed()
    if may_give_up(str(opened.attack["attack"])):
        columns = [*dict.fromkeys((*columns, *COLUMNS))]
    for table in iterate(directory, opened.shards, columns):
        right = labels_of(table, "clean_prediction") == labels_of(table)
        counts.update(doubtful_rows(table, int(opened.attack.get("restarts", 1))))
        counts.update({"rows": table.num_rows, "clean_right": int(right.sum())})
        counts["successes"] += int(table.column("success").to_numpy().sum())
        counts["trivial"] += count_trivial(table, opened.attack)
    due = row_warnings(counts, opened.attack, len(opened.manifest["model"]["classes"]))
    stated = {
        told["code"]: told["count"]
        for told in opened.manifest.get("warnings", [])
        if told["code"] in ROW_CODES
    }
    for warning in due:
        if stated.pop(warning.code, None) != warning.count:
            what = f"leaves out a warning: {warning.text}"
            faults.add("a warning that is left out", MANIFEST_FILE, what)
    reproducible = opened.manifest.get("reproducible")
    told = {warning["code"] for warning in opened.manifest.get("warnings", [])}
    if (NOT_REPEATABLE in told) != (reproducible is False):
        there = "a" if NOT_REPEATABLE in told else "no"
        what = f"says reproducible: {reproducible}, and has {there} warning {NOT_REPEATABLE}"
        faults.add("a warning that is left out", MANIFEST_FILE, what)
    for code in stated:
        what = f"has a warning, {code}, for which its rows give no reason"
        faults.add("a warning without a reason", MANIFEST_FILE, what)
