"""What each worker of a picture encoder's training runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train.torch
import torch

from jobs.common.batches import EMBEDDED
from jobs.common.fitting import Pairs, Schedule, take_steps
from jobs.common.ranks import TrainRanks
from jobs.common.stream import TrainingData, training_batches
from jobs.train_picture_encoder.config import TrainPictureEncoderConfig
from pipeline.networks.picture_encoder import PictureEncoderNetwork, PictureEncoderShape
from pipeline.training.checkpoint import CHECKPOINTS, resume_together
from pipeline.training.draws import share_of_batch
from pipeline.training.picture_encoder import PictureEncoderTrainer


@dataclass(frozen=True)
class PictureEncoderRun:
    """All that a worker needs to know; goes to it by value.

    Attributes:
        config: the job's.
        data: what is read, with the captions' embeddings.
        shape: the network's.
        output: the run's directory, on storage that all workers share.
    """

    config: TrainPictureEncoderConfig
    data: TrainingData
    shape: PictureEncoderShape
    output: Path


def train_worker(loop_config: dict[str, Any]) -> None:
    """From the newest checkpoint to the last step. A `PictureEncoderRun` is under "run"."""
    run: PictureEncoderRun = loop_config["run"]
    config, output, ranks = run.config, run.output, TrainRanks()
    torch.manual_seed(config.seed)
    network = PictureEncoderNetwork(run.shape)
    checkpoint = resume_together(output / CHECKPOINTS, ranks)
    network.to(ray.train.torch.get_device())
    rows = share_of_batch(config.batch_size, ranks.rank, ranks.world)
    trainer = PictureEncoderTrainer(
        network, config.recipe(), first_row=rows.start, rank=ranks.rank, world=ranks.world
    )

    def batches(first: int) -> Pairs:
        for batch in training_batches(run.data, rows, range(first, config.steps)):
            yield batch["image"], batch[EMBEDDED]

    take_steps(
        trainer,
        batches,
        Schedule(config.steps, config.batch_size, config.log_every, config.checkpoint_every),
        checkpoint=checkpoint,
        output=output,
        ranks=ranks,
    )
