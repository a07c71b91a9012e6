"""What each worker of a classifier's training runs: from the newest checkpoint to the last step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from jobs.common.fitting import Pairs, Schedule, take_steps
from jobs.common.ranks import TrainRanks
from jobs.common.stream import TrainingData, training_batches
from jobs.train_classifier.config import TrainClassifierConfig
from pipeline.formats.sample_set import SampleSet
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape
from pipeline.training.checkpoint import CHECKPOINTS, resume_together
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
    """From the newest checkpoint to the last step. A `ClassifierRun` is under "run"."""
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
    take_steps(
        trainer,
        lambda first: _batches(run, rows, first),
        Schedule(config.steps, config.batch_size, config.log_every, config.checkpoint_every),
        checkpoint=checkpoint,
        output=output,
        ranks=ranks,
    )


def _batches(run: ClassifierRun, rows: range, first: int) -> Pairs:
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
