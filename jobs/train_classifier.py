"""Train a classifier on a dataset: Ray Data streams the pictures, Ray Train fits the network.

OUTPUT/model/          the classifier's model directory, published last
OUTPUT/metrics.jsonl   loss, accuracy, speed
OUTPUT/checkpoints/    from which the same command goes on
"""

import time
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed
from pydantic import Field

from jobs.common.progress import duration
from jobs.common.stream import TrainingData, training_batches
from jobs.common.training import Workers, run_training
from noisestack.command import Command
from noisestack.config import JobConfig, describe
from noisestack.session import ray_session
from pipeline.classifier import Classifier, save_classifier
from pipeline.errors import UserError
from pipeline.formats.dataset import (
    DatasetInfo,
    images_of,
    iterate_shards,
    labels_of,
    load_dataset,
)
from pipeline.formats.metrics import METRICS_FILE, MetricsLog, read_metrics
from pipeline.formats.model import CARD_FILE
from pipeline.formats.output import claim_output
from pipeline.intervals import clopper_pearson
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape
from pipeline.plots.losses import LOSSES_FILE, plot_losses
from pipeline.training.checkpoint import newest_checkpoint, newest_step, save_checkpoint
from pipeline.training.classifier import (
    ClassifierFit,
    ClassifierRecipe,
    Evaluation,
    evaluate,
    first_not_finite,
)
from pipeline.training.draws import share_of_batch

MODEL_DIRECTORY = "model"
_CHECKPOINTS = "checkpoints"
_TRAIN, _TEST = "train", "test"
# What decides where and how it runs, and not what comes out.
_CIRCUMSTANCES = {
    "dataset", "output", "overwrite", "num_workers", "use_gpu", "cpus_per_worker", "max_failures",
    "log_every", "checkpoint_every",
}  # fmt: skip


class TrainClassifierConfig(JobConfig):
    """Train a small residual classifier on the train split and measure it on the test split.

    OUTPUT/model is the classifier, OUTPUT/losses.png its losses. The same command goes on where an
    interrupted one stopped.
    """

    dataset: Path = Field(description="directory of the dataset, as `ingest` writes it")
    output: Path = Field(description="directory of the run; the classifier is OUTPUT/model")
    steps: int = Field(300, ge=1, description="optimiser steps")
    batch_size: int = Field(128, ge=1, description="pictures a step, over all workers")
    learning_rate: float = Field(3e-3, gt=0, le=100, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.05, ge=0, description="decoupled weight decay")
    max_shift: int = Field(0, ge=0, description="pixels by which pictures are moved at random")
    widths: tuple[int, ...] = Field(
        (32, 64), description="channels a level, multiples of 8; the sides halve between levels"
    )
    blocks: int = Field(1, ge=1, description="residual blocks a level")
    seed: int = Field(0, ge=0, description="of initial weights, order and shifts")
    log_every: int = Field(20, ge=1, description="steps between lines of progress")
    checkpoint_every: int = Field(100, ge=1, description="steps between checkpoints")
    num_workers: int = Field(
        1, ge=0, description="training processes; 0 trains in the driver's own process"
    )
    use_gpu: bool = Field(False, description="give each worker a GPU")
    cpus_per_worker: int = Field(1, ge=1, description="CPU cores a worker")
    max_failures: int = Field(3, ge=0, description="how often lost workers are replaced")
    overwrite: bool = Field(False, description="replace finished results of another config")


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
    share = max(1, config.num_workers)
    if config.batch_size % share:
        raise UserError(
            f"batch_size {config.batch_size} cannot be split evenly over {share} workers; "
            f"give a multiple of {share}"
        )
    fingerprint = {k: v for k, v in describe(config).items() if k not in _CIRCUMSTANCES}
    fingerprint |= {"job": "train_classifier", "dataset_sha256": info.sha256}
    marker = f"{MODEL_DIRECTORY}/{CARD_FILE}"
    with claim_output(
        config.output, fingerprint, overwrite=config.overwrite, marker=marker
    ) as output:
        if not output.finished:
            checkpoints = output.directory / _CHECKPOINTS
            if newest_step(checkpoints) < config.steps:
                with ray_session():
                    _train(config, info, shape, output.directory)
            _publish(config, info, shape, output.directory)
    print(f"classifier: {output.path / MODEL_DIRECTORY}", flush=True)
    return output.path / MODEL_DIRECTORY


def _network_shape(config: TrainClassifierConfig, info: DatasetInfo) -> ClassifierShape:
    for split in (_TRAIN, _TEST):
        if info.num_rows(split) == 0:
            raise UserError(f"the split {split} of {info.path} is empty; ingest more pictures")
    height, width, channels = info.shape
    return ClassifierShape(height, width, channels, len(info.classes), config.widths, config.blocks)


def _train(
    config: TrainClassifierConfig, info: DatasetInfo, shape: ClassifierShape, output: Path
) -> None:
    data = TrainingData.of(
        info, _TRAIN, seed=config.seed, batch_size=config.batch_size, mode="auto"
    )
    run_training(
        train_loop,
        {"config": config, "shape": shape, "output": output, "data": data},
        output=output,
        workers=Workers(
            num_workers=config.num_workers,
            use_gpu=config.use_gpu,
            cpus_per_worker=config.cpus_per_worker,
            max_failures=config.max_failures,
        ),
        progress=lambda line: (
            f"classifier: step {line['step']:,} of {config.steps:,}, loss {line['loss']:.4f}, "
            f"accuracy {line['accuracy']:.1%}, {line['pictures_per_second']:,.0f} pictures/s, "
            f"{duration(line['seconds_left'])} left"
        ),
    )


def train_loop(job: dict[str, Any]) -> None:
    """One worker's training, from the newest checkpoint to the last step.

    Losses are looked at every ``log_every`` steps, by all workers together, so no step waits for
    the device; a checkpoint is only written when all losses before it were finite.
    """
    config: TrainClassifierConfig = job["config"]
    output: Path = job["output"]
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.manual_seed(config.seed)
    network = ClassifierNetwork(job["shape"])
    checkpoint = newest_checkpoint(output / _CHECKPOINTS)
    network.to(ray.train.torch.get_device())
    recipe = ClassifierRecipe(
        steps=config.steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_shift=config.max_shift,
        seed=config.seed,
    )
    parallel = ray.train.torch.prepare_model(network) if world > 1 else network
    rows = share_of_batch(config.batch_size, rank, world)
    fit = ClassifierFit(network, recipe, parallel=parallel, first_row=rows.start)
    step = 0
    if checkpoint is not None:
        step = checkpoint[0]
        fit.load_state(checkpoint[1])
    log = MetricsLog(output / METRICS_FILE, after_step=step) if rank == 0 else None
    outcomes: list[torch.Tensor] = []
    since = 0.0
    for batch in training_batches(job["data"], rows, range(step, config.steps)):
        if not outcomes:
            since = time.monotonic()
        loss, right = fit.step(step, batch["image"], batch["label"])
        outcomes.append(torch.stack((loss, right)))
        step += 1
        last = step == config.steps
        keep = last or step % config.checkpoint_every == 0
        if keep or step % config.log_every == 0:
            losses, accuracy = _over_workers(outcomes, world)
            _refuse_not_finite(losses, step)
            if log is not None:
                speed = len(losses) * config.batch_size / (time.monotonic() - since)
                log.append(
                    {
                        "step": step,
                        "loss": sum(losses) / len(losses),
                        "accuracy": accuracy,
                        "learning_rate": fit.optimizer.param_groups[0]["lr"],
                        "pictures_per_second": speed,
                        "seconds_left": (config.steps - step) * config.batch_size / speed,
                    }
                )
            if keep and not fit.is_finite():
                raise UserError(
                    f"the weights are not finite after step {step}; the last good checkpoint is "
                    "kept: lower learning_rate and train into another directory"
                )
            if keep and rank == 0:
                save_checkpoint(output / _CHECKPOINTS, step, fit.state())
            outcomes = []
    if step != config.steps:
        raise RuntimeError(f"the stream ended at step {step} of {config.steps}")


def _over_workers(outcomes: list[torch.Tensor], world: int) -> tuple[list[float], float]:
    """Each step's loss and the mean accuracy, averaged over the workers: the same on all."""
    mean = torch.stack(outcomes)
    if world > 1:
        torch.distributed.all_reduce(mean)
        mean = mean / world
    losses: list[float] = mean[:, 0].tolist()
    return losses, float(mean[:, 1].mean())


def _refuse_not_finite(losses: list[float], step: int) -> None:
    position = first_not_finite(losses)
    if position is not None:
        raise UserError(
            f"the loss is {losses[position]} at step {step - len(losses) + position + 1}; the last "
            "good checkpoint is kept: lower learning_rate and train into another directory"
        )


def _publish(
    config: TrainClassifierConfig, info: DatasetInfo, shape: ClassifierShape, output: Path
) -> None:
    checkpoint = newest_checkpoint(output / _CHECKPOINTS)
    if checkpoint is None or checkpoint[0] != config.steps:
        raise RuntimeError(f"training ended without the checkpoint of step {config.steps}")
    network = ClassifierNetwork(shape)
    recipe = ClassifierRecipe(config.steps, config.learning_rate, config.weight_decay, 0, 0)
    ClassifierFit(network, recipe).load_state(checkpoint[1])
    device = "cuda" if config.use_gpu and torch.cuda.is_available() else "cpu"
    classifier = Classifier(network, info.classes, device=device)
    lines = read_metrics(output / METRICS_FILE)
    plot_losses(
        [line["step"] for line in lines],
        {"loss": [line["loss"] for line in lines]},
        output / LOSSES_FILE,
        title="classifier",
    )
    tested = _test(classifier, info)
    low, high = clopper_pearson(tested.num_right, tested.num_rows)
    save_classifier(
        output / MODEL_DIRECTORY,
        network,
        info.classes,
        {
            "dataset_sha256": info.sha256,
            "training": describe(config),
            "test_rows": tested.num_rows,
            "test_accuracy": tested.accuracy,
            "test_accuracy_interval_95": [low, high],
            "versions": {"torch": torch.__version__, "ray": ray.__version__},
        },
    )
    print(
        f"classifier: test accuracy {tested.accuracy:.2%} of {tested.num_rows:,} pictures "
        f"(95 % interval {low:.2%} to {high:.2%})",
        flush=True,
    )


def _test(classifier: Classifier, info: DatasetInfo) -> Evaluation:
    tables = iterate_shards(info, _TEST, columns=["image", "label"])
    return evaluate(classifier, ((images_of(table), labels_of(table)) for table in tables))


COMMAND = Command(TrainClassifierConfig, main)

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
