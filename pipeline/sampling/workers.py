"""One shard of a sample set: through the whole stack, or through one of its stages.

What the actors of the job `generate` run; tested without Ray.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.allocator import keep_freed_memory
from pipeline.formats.sample_set import sample_table
from pipeline.formats.shard import write_shard
from pipeline.pictures import from_signed
from pipeline.sampling.inpainting import inpaint
from pipeline.sampling.known_picture import InpaintingPlan
from pipeline.sampling.options import SamplingOptions
from pipeline.sampling.plan import ConditionPlan, PlannedRows
from pipeline.sampling.sample import sample, sample_stage
from pipeline.stack import Stack


@dataclass(frozen=True)
class SampleJob:
    """What all workers of one sample set share.

    Attributes:
        model: the stack's directory.
        output: the directory of the shards.
        seed: keys all samples.
        labels: the label of each sample.
        options: how to sample; None in a field takes the model's default.
        device: where the networks run.
        threads: torch threads of a worker.
        inpainting: the picture around which all samples are drawn; None for whole samples.
    """

    model: Path
    output: Path
    seed: int
    labels: ConditionPlan
    options: SamplingOptions
    device: str = "cpu"
    threads: int = 1
    inpainting: InpaintingPlan | None = None

    def load(self, stages: list[int] | None = None) -> Stack:
        """Sets this process's threads, and loads the stack or only some of its stages."""
        keep_freed_memory()
        torch.set_num_threads(self.threads)  # an inherited OMP_NUM_THREADS may say otherwise
        return Stack.load(self.model, self.device, stages)

    def draw(
        self, stack: Stack, seeds: np.ndarray, indices: np.ndarray, conditions: np.ndarray
    ) -> np.ndarray:
        """Pictures by the whole stack, around the known one if there is one; see `sample`."""
        if (plan := self.inpainting) is None:
            return sample(stack, seeds, indices, conditions, self.options)
        around = plan.picture.rows(len(seeds))
        return inpaint(
            stack, seeds, indices, conditions, *around, self.options, resample=plan.resample
        )

    def keys(
        self, shard: Mapping[str, Any], shard_labels: PlannedRows
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seeds, indices and labels of a shard's samples, int64 ``[N]`` each."""
        indices = np.arange(shard["start"], shard["stop"])
        return np.full(len(indices), self.seed), indices, shard_labels.labels

    def shard_labels(self, shard: Mapping[str, Any]) -> PlannedRows:
        """The labels of a shard's samples, and the captions that named them."""
        return self.labels.rows(shard["start"], shard["stop"])

    def store(
        self, shard: Mapping[str, Any], shard_labels: PlannedRows, images: np.ndarray
    ) -> dict[str, Any]:
        """Writes a shard's pictures, uint8 ``[N, H, W, C]``, and returns its record."""
        _, indices, labels = self.keys(shard, shard_labels)
        table = sample_table(self.seed, indices, labels, images, shard_labels.captions)
        return asdict(write_shard(table, self.output, shard["file"]))


class StackWorker:
    """Holds the whole stack and makes one shard a call."""

    def __init__(self, job: SampleJob) -> None:
        self._job, self._stack = job, job.load()

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        shard_labels = self._job.shard_labels(shard)
        images = self._job.draw(self._stack, *self._job.keys(shard, shard_labels))
        return self._job.store(shard, shard_labels, images)


class StageWorker:
    """Holds one stage's network and takes one shard through that stage a call.

    From worker to worker goes ``{"z": float32 [N, C, h, w]}``; keys and labels follow from the
    shard's rows. The last stage's worker stores the pictures.
    """

    def __init__(self, job: SampleJob, stage: int) -> None:
        self._job, self._stage, self._stack = job, stage, job.load([stage])

    def __call__(
        self, shard: dict[str, Any], carry: dict[str, np.ndarray] | None
    ) -> dict[str, Any]:
        shard_labels = self._job.shard_labels(shard)
        z = None if carry is None else carry["z"]
        keys = self._job.keys(shard, shard_labels)
        z = sample_stage(self._stack, self._stage, z, *keys, self._job.options)
        if self._stage < len(self._stack.spec.stages) - 1:
            return {"z": z}
        return self._job.store(shard, shard_labels, from_signed(torch.from_numpy(z)))
