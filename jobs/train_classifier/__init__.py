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

from jobs.common.progress import duration
from jobs.common.ranks import TrainRanks
from jobs.common.stream import TrainingData, training_batches
from jobs.common.training import Workers, run_training
from jobs.train_classifier.config import TrainClassifierConfig
from jobs.train_classifier.publisher import MODEL_DIRECTORY, publish_classifier
from noisestack.command import Command
from noisestack.session import ray_session
from pipeline.errors import UserError
from pipeline.formats.claim import Length, claim_output
from pipeline.formats.dataset import DatasetInfo, load_dataset
from pipeline.formats.metrics import METRICS_FILE, MetricsLog
from pipeline.formats.model import CARD_FILE
from pipeline.formats.sample_set import SampleSet
from pipeline.formats.splits import TEST, TRAIN, judged_split, train_split
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape
from pipeline.training.checkpoint import (
    CHECKPOINTS,
    newest_step,
    resume_together,
    save_checkpoint,
    steps_done,
)
from pipeline.training.classifier import ClassifierFit, first_not_finite
from pipeline.training.draws import share_of_batch
from pipeline.training.generated import GeneratedRows, open_generated


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
    share = max(1, config.num_workers)
    if config.batch_size % share:
        raise UserError(
            f"batch_size {config.batch_size} cannot be split evenly over {share} workers; "
            f"give a multiple of {share}"
        )
    config.objective()  # refuses what does not fit together, before anything is written
    samples = None if config.generated is None else open_generated(config.generated, info)
    fingerprint = {
        **config.fingerprint(),
        "job": "train_classifier",
        "dataset_sha256": info.sha256,
        **({} if split == TEST else {"split": split}),
        "generated_sha256": None if samples is None else samples.sha256,
    }
    marker = f"{MODEL_DIRECTORY}/{CARD_FILE}"
    with claim_output(
        config.output,
        fingerprint,
        overwrite=config.overwrite,
        marker=marker,
        length=Length("steps", steps_done),
    ) as output:
        if not output.finished:
            checkpoints = output.directory / CHECKPOINTS
            if newest_step(checkpoints) < config.steps:
                with ray_session():
                    _train(config, info, samples, shape, output.directory)
            publish_classifier(config, info, split, samples, shape, output.directory)
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


def _train(
    config: TrainClassifierConfig,
    info: DatasetInfo,
    samples: SampleSet | None,
    shape: ClassifierShape,
    output: Path,
) -> None:
    _announce(config, samples)
    data = TrainingData.of(info, TRAIN, seed=config.seed, batch_size=config.batch_size, mode="auto")
    run_training(
        train_loop,
        {"config": config, "shape": shape, "output": output, "data": data, "samples": samples},
        output=output,
        workers=Workers(
            num_workers=config.num_workers,
            use_gpu=config.use_gpu,
            cpus_per_worker=config.cpus_per_worker,
            max_failures=config.max_failures,
        ),
        progress=lambda line: (
            f"classifier: step {line['step']:,} of {config.steps:,}, loss {line['loss']:.4f}, "
            f"accuracy{'' if config.adversarial_loss == 'none' else ' on perturbed pictures'} "
            f"{line['accuracy']:.1%}, {line['pictures_per_second']:,.0f} pictures/s, "
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
    ranks = TrainRanks()
    rank, world = ranks.rank, ranks.world
    torch.manual_seed(config.seed)
    network = ClassifierNetwork(job["shape"])
    checkpoint = resume_together(output / CHECKPOINTS, ranks)
    network.to(ray.train.torch.get_device())
    parallel = ray.train.torch.prepare_model(network) if world > 1 else network
    rows = share_of_batch(config.batch_size, rank, world)
    fit = ClassifierFit(network, config.recipe(), parallel=parallel, first_row=rows.start)
    step = 0
    if checkpoint is not None:
        step = checkpoint[0]
        fit.load_state(checkpoint[1])
    generated = _generated(config, job["samples"])
    log = MetricsLog(output / METRICS_FILE, after_step=step) if rank == 0 else None
    outcomes: list[torch.Tensor] = []
    since = 0.0
    for batch in training_batches(job["data"], rows, range(step, config.steps)):
        if not outcomes:
            since = time.monotonic()
        images, labels = batch["image"], batch["label"]
        if generated is not None:
            images, labels = generated.mixed(step, rows, images, labels)
        loss, right = fit.step(step, images, labels)
        outcomes.append(torch.stack((loss, right)))
        step += 1
        last = step == config.steps
        keep = last or step % config.checkpoint_every == 0
        # The first step too: a person sees within seconds that it moves, and how fast.
        if keep or step == 1 or step % config.log_every == 0:
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
                save_checkpoint(output / CHECKPOINTS, step, fit.state())
            outcomes = []
    if step != config.steps:
        raise RuntimeError(f"the stream ended at step {step} of {config.steps}")


def _generated(config: TrainClassifierConfig, samples: SampleSet | None) -> GeneratedRows | None:
    if samples is None:
        return None
    return GeneratedRows.read(
        samples, share=config.generated_share, batch_size=config.batch_size, seed=config.seed
    )


def _announce(config: TrainClassifierConfig, samples: SampleSet | None) -> None:
    """Says what is trained on, where that is not the dataset's pictures as they are."""
    if config.adversarial_loss != "none":
        beta = f" with beta {config.trades_beta:g}" if config.adversarial_loss == "trades" else ""
        print(
            f"classifier: adversarial training, {config.adversarial_loss}{beta}, within "
            f"{config.levels} of 255 levels in linf, {config.attack_steps} gradient step(s) a "
            "picture",
            flush=True,
        )
    if samples is not None:
        print(
            f"classifier: {config.generated_share:.0%} of each batch from {samples.num_rows:,} "
            f"samples of {samples.path}",
            flush=True,
        )


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


COMMAND = Command(TrainClassifierConfig, main, summary="train a classifier on a dataset")
