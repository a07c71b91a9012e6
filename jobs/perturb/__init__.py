"""Perturb a dataset against a classifier: Ray Data spreads row ranges over actors that attack them.

OUTPUT/part-00000.parquet ...   the perturbation set's shards
OUTPUT/classifier.onnx          the classifier for others' checks, with --export-onnx
OUTPUT/perturbations.png        original | perturbation, amplified | perturbed, for a few rows
OUTPUT/robustness.png           accuracy against the change's size, sizes, passes a picture
OUTPUT/universal.npy, .png      of universal: the one perturbation, and its picture
OUTPUT/manifest.json            attack, identities, counts, accuracies; written last
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.common.bad_rows import refuse_quarantine
from jobs.common.records import Record, Records, finished_record, remove_records
from jobs.common.row_ranges import RowRanges
from jobs.common.sharded import run_shards
from jobs.perturb.audited import run_audited
from jobs.perturb.config import PerturbConfig
from jobs.perturb.manifest import manifest_of
from jobs.perturb.task import Task
from jobs.perturb.words import say_attack, say_result, say_warnings
from noisestack.command import Command
from noisestack.session import ray_session
from pipeline.formats.claim import claim_output
from pipeline.formats.dataset import images_of, read_rows
from pipeline.formats.output import atomic_path
from pipeline.formats.perturbation.set import (
    CLASSIFIER_FILE,
    open_perturbation_set,
    write_perturbation_manifest,
)
from pipeline.formats.perturbation.through import is_through
from pipeline.formats.shard import read_part
from pipeline.perturbation.judge import judge_of
from pipeline.perturbation.perturber import Perturber
from pipeline.perturbation.preparer import Preparer
from pipeline.perturbation.trust import look_at_rows, measured_threshold
from pipeline.perturbation_terms import TrustWarning
from pipeline.plots.perturbations import choose_examples, perturbation_figure
from pipeline.plots.robustness import draw_robustness
from pipeline.plots.titles import attack_title
from pipeline.plots.universal import draw_delta
from pipeline.user_models.onnx_export import export_classifier

PICTURE_FILE = "perturbations.png"


def main(config: PerturbConfig) -> Path:
    """Make, or finish, a perturbation set: read, look, perturb, say in a manifest, draw.

    Returns:
        Its directory.

    Raises:
        UserError: classifier and dataset do not fit, the attack contradicts itself, eps is below
            one level, the classifier cannot be attacked (see `pipeline.attacks.trust`), or the
            output holds other results.
    """
    task = Task.read(config)
    with claim_output(config.output, task.fingerprint, overwrite=config.overwrite) as output:
        if output.finished:
            counts = open_perturbation_set(output.path).manifest["counts"]
            refuse_quarantine(config.on_bad_row, counts["quarantined"], output.path)
            print(f"perturbation set: {output.path} (finished before)", flush=True)
            return output.path
        say_attack(config, task.attack)
        first_warnings = look_at_rows(
            task.classifier,
            task.attack.settings.attack,
            task.info,
            task.split,
            task.stop,
            num_draws=task.attack.settings.draws,
        )
        say_warnings(first_warnings)
        judge = judge_of(task.classifier, task.attack.record())
        threshold = measured_threshold(judge, task.info, task.split, task.first_rows)
        # First, so that a missing extra costs nothing else.
        onnx_sha256 = _export(task, output.directory)
        place = {"output": output.directory, "threshold": threshold["threshold"]}
        with ray_session():
            task, file_record = _prepare(task, place)
            records, sample = _perturb(task, place)
        manifest = manifest_of(
            task, records, threshold, onnx_sha256, first_warnings, sample, file_record
        )
        refuse_quarantine(config.on_bad_row, manifest["counts"]["quarantined"], output.directory)
        _draw(output.directory, manifest, config.examples)
        sizes = draw_robustness(output.directory, manifest)
        manifest["norms"]["median_of_broken"] = sizes.median_size
        draw_delta(output.directory, manifest)
        write_perturbation_manifest(output.directory, manifest)
        remove_records(output.directory)
    say_result(task.attack, manifest, output.path)
    say_warnings([TrustWarning(**stated) for stated in manifest["warnings"][len(first_warnings) :]])
    print(f"perturbation set: {output.path}", flush=True)
    return output.path


def _export(task: Task, directory: Path) -> str | None:
    """Writes the classifier as an ONNX file where that is asked for; returns its SHA-256."""
    if not task.config.export_onnx:
        return None
    rows = read_rows(task.info, task.split, 0, task.first_rows)
    return export_classifier(task.classifier, directory / CLASSIFIER_FILE, images_of(rows))


def _prepare(task: Task, place: Mapping[str, Any]) -> tuple[Task, Record | None]:
    """Makes the file that all rows need, or takes that of an earlier run.

    Does nothing for an attack without such a file.

    Where it is not there whole, shards of an earlier run were made with one that is lost, which
    another machine may not make again bit for bit: they are made anew as well.

    Returns:
        The task with the file, and the record of its making.
    """
    file, directory = task.attack.file, place["output"]
    if file is None:
        return task, None
    spec = {"index": 0, "file": file, "num_rows": 1}
    if finished_record(directory, spec) is None:
        remove_records(directory)
    describe = f"perturb, {task.attack.settings.attack}"
    pool = task.pool(Preparer, **place)
    [file_record] = run_shards(pool, [spec], directory, describe=describe, unit="perturbations")
    return task.with_file(file_record), file_record


def _perturb(task: Task, place: Mapping[str, Any]) -> tuple[Records, Record | None]:
    """Perturbs all rows; see `run_audited`."""
    config, directory = task.config, place["output"]

    def run(shards: RowRanges, widened: bool) -> Records:
        pool = task.pool(
            Perturber,
            **place,
            split=task.split,
            widened=widened,
            quarantine=config.on_bad_row == "quarantine",
        )
        describe = "perturb, the alarm for all rows" if widened else "perturb"
        return run_shards(pool, shards, directory, describe=describe)

    return run_audited(run, task.stop, config.rows_per_shard, directory)


def _draw(directory: Path, manifest: dict[str, Any], num_examples: int) -> None:
    """Examples, of the first shard."""
    record, classes = manifest["shards"][0], tuple(manifest["model"]["classes"])
    table = read_part(directory / record["file"], 0, record["num_rows"])
    counts = manifest["counts"]
    found = (
        f"broke {counts['successes']:,} of {counts['clean_right']:,} by their mean answer"
        if is_through(manifest)
        else f"accuracy {manifest['clean_accuracy']:.1%} → {manifest['robust_accuracy']:.1%}"
    )
    title = f"{attack_title(manifest)}: {found}"
    figure = perturbation_figure(choose_examples(table, classes, num_examples), title)
    with atomic_path(directory / PICTURE_FILE) as temporary:
        figure.savefig(temporary, format="png")


COMMAND = Command(
    PerturbConfig, main, summary="chosen noise that fools a classifier, for each picture"
)
