"""The end of a classifier's training: its last checkpoint becomes a model directory, measured."""

from typing import Any

import ray
import torch

from jobs.train_classifier.config import TrainClassifierConfig
from jobs.train_classifier.worker import ClassifierRun
from noisestack.config import describe
from pipeline.classifier import Classifier, save_classifier
from pipeline.evaluation.accuracy import Evaluation, evaluate, evaluate_under_pgd
from pipeline.formats.dataset import DatasetInfo, images_of, iterate_shards, labels_of
from pipeline.formats.keyed_sample import keyed_sample
from pipeline.formats.metrics import METRICS_FILE, read_metrics
from pipeline.intervals import clopper_pearson
from pipeline.networks.classifier import ClassifierNetwork
from pipeline.plots.losses import LOSSES_FILE, plot_losses
from pipeline.training.checkpoint import last_checkpoint
from pipeline.training.fit import published_weights

MODEL_DIRECTORY = "model"
_PGD_ROWS = 500  # of the judged split; robust accuracy is then known to about 4 points
_PGD_STEPS = 20


def publish_classifier(run: ClassifierRun, split: str) -> None:
    """Measures the trained classifier on a split and publishes ``run.output/model``.

    The run's losses are drawn in its directory too.
    """
    config, info, output = run.config, run.data.info, run.output
    network = ClassifierNetwork(run.shape)
    network.load_state_dict(published_weights(last_checkpoint(output, config.steps)))
    lines = read_metrics(output / METRICS_FILE)
    plot_losses(
        [line["step"] for line in lines],
        {"loss": [line["loss"] for line in lines]},
        output / LOSSES_FILE,
        title="classifier",
    )
    device = "cuda" if config.use_gpu and torch.cuda.is_available() else "cpu"
    classifier = Classifier(network, info.classes, device=device)
    tables = iterate_shards(info, split, columns=["image", "label"])
    tested = evaluate(classifier, ((images_of(table), labels_of(table)) for table in tables))
    interval = list(clopper_pearson(tested.num_right, tested.num_rows))
    withstood = _test_under_pgd(config, classifier, info, split)
    save_classifier(
        output / MODEL_DIRECTORY,
        network,
        info.classes,
        {
            "dataset_sha256": info.sha256,
            "training": describe(config),
            "generated_sha256": None if run.samples is None else run.samples.sha256,
            "test_split": split,
            "test_rows": tested.num_rows,
            "test_accuracy": tested.accuracy,
            "test_accuracy_interval_95": interval,
            "pgd": withstood,
            "versions": {"torch": torch.__version__, "ray": ray.__version__},
        },
    )
    _tell(split, tested, interval, withstood)


def _tell(
    split: str, tested: Evaluation, interval: list[float], withstood: dict[str, Any] | None
) -> None:
    print(
        f"classifier: {split} accuracy {tested.accuracy:.2%} of {tested.num_rows:,} pictures "
        f"(95 % interval {interval[0]:.2%} to {interval[1]:.2%})",
        flush=True,
    )
    if withstood is not None:
        low, high = withstood["accuracy_interval_95"]
        print(
            f"classifier: accuracy under {withstood['steps']} steps of PGD within "
            f"{withstood['levels']} of 255 levels {withstood['accuracy']:.1%} of "
            f"{withstood['rows']:,} random pictures (95 % interval {low:.1%} to {high:.1%}); "
            "a stronger attack, as perturb's autoattack, leaves less",
            flush=True,
        )


def _test_under_pgd(
    config: TrainClassifierConfig, classifier: Classifier, info: DatasetInfo, split: str
) -> dict[str, Any] | None:
    """What the card says of robustness; None for a classifier that was not trained for it."""
    if not config.is_adversarial:
        return None
    chosen = keyed_sample(info, split, _PGD_ROWS, config.seed, len(info.classes))
    tested = evaluate_under_pgd(
        classifier, chosen.images, chosen.labels, levels=config.levels, steps=_PGD_STEPS
    )
    return {
        "norm": "linf",
        "levels": config.levels,
        "steps": _PGD_STEPS,
        "rows": tested.num_rows,
        "accuracy": tested.accuracy,
        "accuracy_interval_95": list(clopper_pearson(tested.num_right, tested.num_rows)),
    }
