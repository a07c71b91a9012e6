"""Train a classifier on a dataset: Ray Data streams the pictures, Ray Train fits the network.

OUTPUT/model/          the classifier's model directory, published last
OUTPUT/metrics.jsonl   loss, accuracy, speed
OUTPUT/checkpoints/    from which the same command goes on
"""

from pathlib import Path

from jobs.common.fitting import check_even_batch
from jobs.common.stream import TrainingData
from jobs.common.training import run_training
from jobs.train_classifier.config import TrainClassifierConfig
from jobs.train_classifier.publisher import MODEL_DIRECTORY, publish_classifier
from jobs.train_classifier.worker import ClassifierRun, train_worker
from noisestack.command import Command
from noisestack.session import ray_session
from pipeline.duration import duration
from pipeline.formats.claim import Length, claim_output
from pipeline.formats.dataset import DatasetInfo, load_dataset
from pipeline.formats.model import CARD_FILE
from pipeline.formats.sample_set import SampleSet
from pipeline.formats.splits import TEST, TRAIN, judged_split, train_split
from pipeline.networks.classifier import ClassifierShape
from pipeline.training.checkpoint import CHECKPOINTS, newest_step, steps_done
from pipeline.training.generated import open_generated


def main(config: TrainClassifierConfig) -> Path:
    """Train, or go on training, then publish the model with its test accuracy.

    Returns:
        The model's directory.

    Raises:
        UserError: the dataset does not suit, the output holds other results, or the loss is not
            finite (the last good checkpoint stays).
    """
    info = load_dataset(config.dataset)
    shape = _network_shape(config, info)
    split = judged_split(info, config.split)
    check_even_batch(config.batch_size, config.num_workers)
    config.objective()  # refuses what does not fit together, before anything is written
    samples = None if config.generated is None else open_generated(config.generated, info)
    fingerprint = {
        **config.fingerprint(),
        "job": "train_classifier",
        "dataset_sha256": info.sha256,
        **({} if split == TEST else {"split": split}),
        "generated_sha256": None if samples is None else samples.sha256,
    }
    with claim_output(
        config.output,
        fingerprint,
        overwrite=config.overwrite,
        marker=f"{MODEL_DIRECTORY}/{CARD_FILE}",
        length=Length("steps", steps_done),
    ) as output:
        if not output.finished:
            data = TrainingData.of(
                info, TRAIN, seed=config.seed, batch_size=config.batch_size, mode="auto"
            )
            run = ClassifierRun(config, data, samples, shape, output.directory)
            if newest_step(run.output / CHECKPOINTS) < config.steps:
                with ray_session():
                    _train(run)
            publish_classifier(run, split)
    print(f"classifier: {output.path / MODEL_DIRECTORY}", flush=True)
    return output.path / MODEL_DIRECTORY


def _network_shape(config: TrainClassifierConfig, info: DatasetInfo) -> ClassifierShape:
    train_split(info, "the classifier")
    height, width, channels = info.shape
    return ClassifierShape(
        height,
        width,
        channels,
        num_classes=len(info.classes),
        widths=config.widths,
        blocks=config.blocks,
        pooled=config.pooled,
        stem_stride=config.stem_stride,
    )


def _train(run: ClassifierRun) -> None:
    config = run.config
    _announce(config, run.samples)
    run_training(
        train_worker,
        {"run": run},
        output=run.output,
        workers=config.workers(),
        progress=lambda line: (
            f"classifier: step {line['step']:,} of {config.steps:,}, loss {line['loss']:.4f}, "
            f"accuracy{_seen(config)} "
            f"{line['accuracy']:.1%}, {line['pictures_per_second']:,.0f} pictures/s, "
            f"{duration(line['seconds_left'])} left"
        ),
    )


def _seen(config: TrainClassifierConfig) -> str:
    """Which pictures the accuracy in training is of."""
    if config.is_smooth:
        return " under noise"
    return " on perturbed pictures" if config.is_adversarial else ""


def _announce(config: TrainClassifierConfig, samples: SampleSet | None) -> None:
    """Says what is trained on, where that is not the dataset's pictures as they are."""
    if config.is_adversarial:
        beta = f" with beta {config.trades_beta:g}" if config.heeds("trades_beta") else ""
        print(
            f"classifier: adversarial training, {config.adversarial_loss}{beta}, within "
            f"{config.levels} of 255 levels in linf, {config.attack_steps} gradient step(s) a "
            "picture",
            flush=True,
        )
    if config.is_smooth:
        ball = f", within {config.eps_l2:g} in L2" if config.heeds("eps_l2") else ""
        print(
            f"classifier: smooth training, {config.adversarial_loss}, {config.noise_draws} copies "
            f"of a picture under noise of sigma {config.noise_sigma:g} (pixels in [0, 1]){ball}",
            flush=True,
        )
    if samples is not None:
        print(
            f"classifier: {config.generated_share:.0%} of each batch from {samples.num_rows:,} "
            f"samples of {samples.path}",
            flush=True,
        )


COMMAND = Command(TrainClassifierConfig, main, summary="train a classifier on a dataset")
