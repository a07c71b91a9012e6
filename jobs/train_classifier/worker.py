"""What each worker of a classifier's training runs: from the newest checkpoint to the last step."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch

from jobs.common.ranks import TrainRanks
from jobs.common.stream import TrainingData, training_batches
from jobs.train_classifier.config import TrainClassifierConfig
from pipeline.formats.metrics import METRICS_FILE, MetricsLog
from pipeline.formats.sample_set import SampleSet
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape
from pipeline.training.checkpoint import CHECKPOINTS, resume_together, save_checkpoint
from pipeline.training.classifier import ClassifierTrainer
from pipeline.training.draws import share_of_batch
from pipeline.training.generated import GeneratedRows


@dataclass(frozen=True)
class ClassifierRun:
    """All that a worker needs to know; goes to it by value.

    Attributes:
        config: the job's.
        data: what is read.
        samples: the generated samples that take part; None without.
        shape: the network's.
        output: the run's directory, on storage that all workers share.
    """

    config: TrainClassifierConfig
    data: TrainingData
    samples: SampleSet | None
    shape: ClassifierShape
    output: Path


def train_worker(loop_config: dict[str, Any]) -> None:
    """From the newest checkpoint to the last step; rank 0 writes. A `ClassifierRun` is under "run".

    Losses are looked at every ``log_every`` steps, by all workers together, so no step waits for
    the device; a checkpoint is only written when all losses before it were finite.
    """
    run: ClassifierRun = loop_config["run"]
    config, output, ranks = run.config, run.output, TrainRanks()
    torch.manual_seed(config.seed)
    network = ClassifierNetwork(run.shape)
    checkpoint = resume_together(output / CHECKPOINTS, ranks)
    network.to(ray.train.torch.get_device())
    rows = share_of_batch(config.batch_size, ranks.rank, ranks.world)
    trainer = ClassifierTrainer(
        network,
        config.recipe(),
        parallel=ray.train.torch.prepare_model(network) if ranks.world > 1 else network,
        first_row=rows.start,
        world=ranks.world,
    )
    if checkpoint:
        trainer.load_state(checkpoint[1], checkpoint[0])
    log = MetricsLog(output / METRICS_FILE, after_step=trainer.step) if ranks.rank == 0 else None
    since = None
    for images, labels in _batches(run, rows, trainer.step):
        since = since or time.monotonic()
        trainer.update(images, labels)
        keep = trainer.step == config.steps or trainer.step % config.checkpoint_every == 0
        # The first step too: a person sees within seconds that it moves, and how fast.
        if not (keep or trainer.step == 1 or trainer.step % config.log_every == 0):
            continue
        line = _line(config, trainer, since)
        since = None
        if log:
            log.append(line)
        if keep:
            trainer.check_weights()
            if ranks.rank == 0:
                save_checkpoint(output / CHECKPOINTS, trainer.step, trainer.state())
    if trainer.step != config.steps:
        raise RuntimeError(f"the stream ended at step {trainer.step} of {config.steps}")


def _batches(
    run: ClassifierRun, rows: range, first: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A worker's rows of the batch of each step from ``first`` on, generated ones among them."""
    config, generated = run.config, None
    if run.samples is not None:
        generated = GeneratedRows.read(
            run.samples,
            share=config.generated_share,
            batch_size=config.batch_size,
            seed=config.seed,
        )
    steps = range(first, config.steps)
    for step, batch in zip(steps, training_batches(run.data, rows, steps), strict=False):
        images, labels = batch["image"], batch["label"]
        yield generated.mixed(step, rows, images, labels) if generated else (images, labels)


def _line(
    config: TrainClassifierConfig, trainer: ClassifierTrainer, since: float
) -> dict[str, Any]:
    """What the log says of the steps that nobody has looked at; ``since``: when they began."""
    outcomes = trainer.outcomes()
    speed = outcomes.num_steps * config.batch_size / (time.monotonic() - since)
    return {
        "step": trainer.step,
        "loss": outcomes.loss,
        "accuracy": outcomes.accuracy,
        "learning_rate": trainer.optimizer.param_groups[0]["lr"],
        "pictures_per_second": speed,
        "seconds_left": (config.steps - trainer.step) * config.batch_size / speed,
    }
