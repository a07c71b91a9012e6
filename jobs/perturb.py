"""Perturb a dataset against a classifier: Ray Data spreads row ranges over actors that attack them.

OUTPUT/part-00000.parquet ...   the perturbation set's shards
OUTPUT/classifier.onnx          the classifier for others' checks, with --export-onnx
OUTPUT/perturbations.png        original | perturbation, amplified | perturbed, for a few rows
OUTPUT/robustness.png           accuracy against the change's size, sizes, passes a picture
OUTPUT/universal.npy, .png      of universal: the one perturbation, and its picture
OUTPUT/manifest.json            attack, identities, counts, accuracies; written last
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from jobs.common.audited import run_audited
from jobs.common.bad_rows import refuse_quarantine, set_aside
from jobs.common.perturb_config import PerturbConfig
from jobs.common.pools import Pool
from jobs.common.records import Record, Records, remove_records
from jobs.common.row_ranges import RowRanges
from jobs.common.sharded import run_shards
from jobs.common.universal import (
    check_sample_split,
    make_universal_delta,
    universal_line,
    universal_report,
)
from noisestack import __version__
from noisestack.command import Command
from noisestack.config import describe
from noisestack.session import ray_session
from pipeline.attacks.methods.own import OwnAttack
from pipeline.attacks.methods.universal import UniversalAttack
from pipeline.attacks.settings import AttackSettings
from pipeline.attacks.trust.audit import audit_report
from pipeline.attacks.trust.repeatability import Repeat
from pipeline.classifier import FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.claim import claim_output
from pipeline.formats.dataset import DatasetInfo, images_of, load_dataset, read_rows
from pipeline.formats.output import atomic_path
from pipeline.formats.perturbation.set import (
    CLASSIFIER_FILE,
    open_perturbation_set,
    write_perturbation_manifest,
)
from pipeline.formats.perturbation.target import resolved_target
from pipeline.formats.perturbation.verdict import SHARE
from pipeline.formats.perturbation.warnings import row_warnings
from pipeline.formats.shard import read_part
from pipeline.formats.splits import judged_split
from pipeline.intervals import clopper_pearson
from pipeline.perturbation.perturber import Perturber, Settings, attack_record, judge_of
from pipeline.perturbation.transfer import TransferAttack
from pipeline.perturbation.trust import (
    look_at_rows,
    lost_warnings,
    measured_threshold,
    repeat_report,
    repeat_warnings,
)
from pipeline.perturbation.universal_maker import UniversalMaker
from pipeline.perturbation_terms import TrustWarning
from pipeline.pictures import LEVELS
from pipeline.plots.perturbations import choose_examples, perturbation_figure
from pipeline.plots.robustness import draw_robustness
from pipeline.plots.titles import attack_title
from pipeline.plots.universal import draw_universal
from pipeline.user_models.load import load_classifier
from pipeline.user_models.onnx_export import export_classifier

PICTURE_FILE = "perturbations.png"
_COUNTED = (
    "verified", "clean_right", "successes", "within_threshold", "unmoved", "gradient_free",
    "last_restart", "trivial", "lost", "forwards", "backwards", "alarming", "audited",
    "overturned",
)  # fmt: skip


def main(config: PerturbConfig) -> Path:
    """Make, or finish, a perturbation set.

    Returns:
        Its directory.

    Raises:
        UserError: classifier and dataset do not fit, the attack contradicts itself, eps is below
            one level, the classifier cannot be attacked (see `pipeline.attacks.trust`), or the
            output holds other results.
    """
    info = load_dataset(config.dataset)
    split = judged_split(info, config.split)
    settings = config.settings()
    config.check_sizes(info.shape)
    classifier = load_classifier(
        config.classifier, info, weights=config.weights, rows_per_call=config.rows_per_call
    )
    if not isinstance(settings, OwnAttack):
        settings = replace(settings, target=resolved_target(settings.target, classifier.classes))
    if isinstance(settings, UniversalAttack):
        check_sample_split(info, settings)
    rows = info.num_rows(split)
    stop = min(rows, config.limit or rows)
    if isinstance(settings, TransferAttack):
        settings.check_fits(info, split, stop, classifier.sha256)
    fingerprint = {
        "job": "perturb",
        "dataset_sha256": info.sha256,
        "classifier_sha256": classifier.sha256,
        "rows_per_call": classifier.rows_per_call,
        "split": split,
        "rows": stop,
        "rows_per_shard": config.rows_per_shard,
        **attack_record(settings),
        "threshold_share": SHARE,
        "export_onnx": config.export_onnx,
    }
    with claim_output(config.output, fingerprint, overwrite=config.overwrite) as output:
        if output.finished:
            counts = open_perturbation_set(output.path).manifest["counts"]
            refuse_quarantine(config.on_bad_row, counts["quarantined"], output.path)
            print(f"perturbation set: {output.path} (finished before)", flush=True)
            return output.path
        _say_attack(config, settings)
        noticed = look_at_rows(
            classifier, settings.attack, info, split, stop, num_draws=settings.draws
        )
        _say_warnings(noticed)
        threshold = measured_threshold(
            judge_of(classifier, attack_record(settings)),
            info,
            split,
            min(stop, classifier.rows_per_call),
        )
        # First, so that a missing extra costs nothing else.
        onnx_sha256 = (
            export_classifier(
                classifier,
                output.directory / CLASSIFIER_FILE,
                images_of(read_rows(info, split, 0, min(stop, classifier.rows_per_call))),
            )
            if config.export_onnx
            else None
        )

        def pool(worker: Callable[..., Any], **more: Any) -> Pool:
            return Pool(
                worker,
                {
                    "dataset": config.dataset,
                    "classifier": config.classifier,
                    "weights": config.weights,
                    "rows_per_call": config.rows_per_call,
                    "classifier_sha256": classifier.sha256,
                    "threshold": threshold["threshold"],
                    "output": output.directory,
                    "settings": settings,
                    "device": "cuda" if config.gpus_per_worker > 0 else "cpu",
                    **more,
                },
                num_workers=config.num_workers,
                cpus_per_worker=config.cpus_per_worker,
                gpus_per_worker=config.gpus_per_worker,
            )

        def run(shards: RowRanges, widened: bool) -> Records:
            return run_shards(
                pool(
                    Perturber,
                    split=split,
                    widened=widened,
                    quarantine=config.on_bad_row == "quarantine",
                ),
                shards,
                output.directory,
                describe="perturb, the alarm for all rows" if widened else "perturb",
            )

        made: Record | None = None
        with ray_session():
            if isinstance(settings, UniversalAttack):
                settings, made = make_universal_delta(
                    run_shards, pool(UniversalMaker), settings, output.directory
                )
            records, sample = run_audited(run, stop, config.rows_per_shard, output.directory)
        manifest = manifest_of(
            records,
            config,
            settings,
            classifier,
            info,
            split,
            stop,
            threshold,
            onnx_sha256,
            noticed,
            sample,
            made,
        )
        refuse_quarantine(config.on_bad_row, manifest["counts"]["quarantined"], output.directory)
        _draw(
            output.directory, manifest["shards"][0], manifest, classifier.classes, config.examples
        )
        sizes = draw_robustness(output.directory, manifest)
        manifest["norms"]["median_of_broken"] = sizes.median_size
        draw_universal(output.directory, manifest)
        write_perturbation_manifest(output.directory, manifest)
        remove_records(output.directory)
    _say_result(manifest, output.path)
    _say_warnings([TrustWarning(**told) for told in manifest["warnings"][len(noticed) :]])
    print(f"perturbation set: {output.path}", flush=True)
    return output.path


def manifest_of(
    records: Sequence[Record],
    config: PerturbConfig,
    settings: Settings,
    classifier: FrozenClassifier,
    info: DatasetInfo,
    split: str,
    stop: int,
    threshold: Mapping[str, float | int],
    onnx_sha256: str | None = None,
    noticed: Sequence[TrustWarning] = (),
    sample: Record | None = None,
    made: Record | None = None,
) -> dict[str, Any]:
    """The manifest: what was done to what, the shards, and the counts over all of them.

    Args:
        threshold: as `measured_threshold` gives it.
        noticed: what was seen of the classifier before the attack; what the rows show follows it.
        sample: what the audit of a sample counted before its alarm was widened to all rows.
        made: of a universal attack, how its perturbation was made.

    Raises:
        UserError: all rows were bad.
        RuntimeError: a row was neither attacked nor set aside.
    """
    counts = {
        "read": stop,
        "rows": sum(record["num_rows"] for record in records),
        "quarantined": sum(record["num_quarantined"] for record in records),
        **{name: sum(record[name] for record in records) for name in _COUNTED},
    }
    rows, clean_right = counts["rows"], counts["clean_right"]
    if rows + counts["quarantined"] != stop:
        raise RuntimeError(
            f"{stop} rows were read, {rows} attacked and {counts['quarantined']} set aside"
        )
    if rows == 0:
        raise UserError(
            f"none of the {stop} rows of {info.path}, split {split}, has a label among the "
            "classes; there is nothing to attack"
        )
    robust_right = clean_right - counts["successes"]
    attack = {**attack_record(settings), **threshold}
    repeat = next((Repeat(**record["repeat"]) for record in records if "repeat" in record), None)
    warnings = [
        *noticed,
        *row_warnings(counts, attack, len(classifier.classes)),
        *lost_warnings(counts["lost"], clean_right),
        *repeat_warnings(repeat),
    ]
    return {
        "config": describe(config),
        "model": {
            "sha256": classifier.sha256,
            "classes": list(classifier.classes),
            "rows_per_call": classifier.rows_per_call,
            **classifier.origin,
            **({"onnx_sha256": onnx_sha256} if onnx_sha256 else {}),
        },
        "dataset": {
            "sha256": info.sha256,
            "shape": list(info.shape),
            "split": split,
            "start": 0,
            "stop": stop,
        },
        "attack": attack,
        "warnings": [asdict(warning) for warning in warnings],
        "counts": counts,
        **(repeat_report(repeat) if isinstance(settings, OwnAttack) else {}),
        **_audit(settings, counts, sample),
        **universal_report(made, counts),
        "clean_accuracy": clean_right / rows,
        "clean_accuracy_interval_95": list(clopper_pearson(clean_right, rows)),
        "robust_accuracy": robust_right / rows,
        "robust_accuracy_interval_95": list(clopper_pearson(robust_right, rows)),
        "norms": {
            "linf_max_levels": max(record["linf_max"] for record in records),
            "l2_max": max(record["l2_max"] for record in records),
            "l2_mean": sum(record["l2_sum"] for record in records) / rows,
        },
        "shards": [
            {key: value for key, value in record.items() if key not in ("quarantine", "repeat")}
            for record in records
            if record["num_rows"]
        ],
        "quarantine": [entry for record in records for entry in record["quarantine"]],
        "versions": {
            "noisestack": __version__,
            "torch": torch.__version__,
            "ray": ray.__version__,
            "numpy": np.__version__,
            "pyarrow": version("pyarrow"),
            "python": platform.python_version(),
        },
        "devices": sorted({record["device"] for record in records if "device" in record}),
    }


def _audit(settings: Settings, counts: dict[str, int], sample: Record | None) -> dict[str, Any]:
    """What the audit says, where there is one; see `audit_report`."""
    if not isinstance(settings, AttackSettings) or settings.build().audit is None:
        return {}
    standing = counts["clean_right"] - counts["successes"] + counts["overturned"]
    report = audit_report(counts["rows"], standing, counts["audited"], counts["overturned"])
    return {"audit": {**report, "alarming": counts["alarming"], "widened_after": sample}}


def _say_attack(config: PerturbConfig, settings: Settings) -> None:
    if not settings.bounded:
        print(f"perturb: {config.attack}, the smallest change in {settings.norm.value}", flush=True)
        return
    levels = settings.eps_levels if config.eps is None else config.eps * LEVELS
    rounded = "" if abs(levels - settings.eps_levels) < 1e-6 else f", down from {levels:.2f}"
    steps = ""
    # Several attacks in turn have steps of their own each.
    if isinstance(settings, UniversalAttack) or (
        isinstance(settings, AttackSettings) and len(settings.build().names) == 1
    ):
        steps = f", {settings.steps} step{'s' if settings.steps != 1 else ''}"
    print(
        f"perturb: {config.attack} in {settings.norm.value}, eps {settings.eps_levels} levels of "
        f"1/255{rounded} ({settings.eps_levels / LEVELS:.4f}){steps}",
        flush=True,
    )


def _say_result(manifest: dict[str, Any], path: Path) -> None:
    low, high = manifest["robust_accuracy_interval_95"]
    counts = manifest["counts"]
    print(
        f"perturb: accuracy {manifest['clean_accuracy']:.2%} clean, "
        f"{manifest['robust_accuracy']:.2%} perturbed (95 % interval {low:.2%} to {high:.2%}); "
        f"{counts['verified']:,} of {counts['rows']:,} rows verified after storage; "
        f"{counts['backwards'] / counts['rows']:.1f} gradients a row{_median_change(manifest)}",
        flush=True,
    )
    if "audit" in manifest:
        audit = manifest["audit"]
        least, most = audit["difference_interval_95"]
        advice = "; --ensemble standard leaves no such doubt" if audit["overturned"] else ""
        print(
            f"perturb: the standard attacks broke {audit['overturned']:,} of "
            f"{audit['audited']:,} audited rows of {audit['standing']:,} that stood; on all of "
            f"them they would take off {audit['difference']:.2f} points more (95 % interval "
            f"{least:.2f} to {most:.2f}){advice}",
            flush=True,
        )
        if audit["widened_after"]:
            print(
                f"perturb: the alarm went off in the audit's sample, so it was given to all rows "
                f"that stood, and broke {audit['alarming']:,}",
                flush=True,
            )
    if "universal" in manifest:
        print(f"perturb: {universal_line(manifest)}", flush=True)
    if counts["quarantined"]:
        print(f"perturb: bad rows: {set_aside(counts['quarantined'], path)}", flush=True)


def _median_change(manifest: dict[str, Any]) -> str:
    """How far off the broken pictures are, of an attack that looks for the smallest change."""
    norm, median = manifest["attack"]["norm"], manifest["norms"]["median_of_broken"]
    if manifest["attack"]["eps"] or median is None:
        return ""
    unit = " levels of 1/255" if norm == "linf" else ""
    return f"; median change of the broken ones {median:.4g}{unit} in {norm}"


def _say_warnings(warnings: Sequence[TrustWarning]) -> None:
    for warning in warnings:
        print(f"perturb: warning: {warning.text}", flush=True)


def _draw(
    directory: Path,
    record: Record,
    manifest: dict[str, Any],
    classes: tuple[str, ...],
    num_examples: int,
) -> None:
    table = read_part(directory / record["file"], 0, record["num_rows"])
    title = (
        f"{attack_title(manifest)}: "
        f"accuracy {manifest['clean_accuracy']:.1%} → {manifest['robust_accuracy']:.1%}"
    )
    figure = perturbation_figure(choose_examples(table, classes, num_examples), title)
    with atomic_path(directory / PICTURE_FILE) as temporary:
        figure.savefig(temporary, format="png")


COMMAND = Command(
    PerturbConfig, main, summary="chosen noise that fools a classifier, for each picture"
)

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
