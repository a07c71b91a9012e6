"""One shard of a sample set: through the whole stack, or through one of its stages.

What the actors of the job `generate` run; tested without Ray.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.allocator import keep_freed_memory
from pipeline.conditions import ConditionSpec
from pipeline.formats.sample_set import condition_hashes, sample_table
from pipeline.formats.shard import write_shard
from pipeline.pictures import from_signed
from pipeline.sampling.inpainting import inpaint
from pipeline.sampling.known_picture import InpaintingPlan
from pipeline.sampling.options import SamplingOptions
from pipeline.sampling.plan import ConditionPlan, PlannedRows
from pipeline.sampling.prior import BEST_OF, Prior, open_prior
from pipeline.sampling.prompt_reader import PromptReader, open_prompt_reader
from pipeline.sampling.prompts import PromptPlan
from pipeline.sampling.sample import sample, sample_stage
from pipeline.stack import Stack


@dataclass(frozen=True)
class SampleJob:
    """What all workers of one sample set share.

    Attributes:
        model: the stack's directory.
        output: the directory of the shards.
        seed: keys all samples.
        plan: what each sample is drawn on.
        options: how to sample; None in a field takes the model's default.
        device: where the networks run.
        threads: torch threads of a worker.
        inpainting: the picture around which all samples are drawn; None for whole samples.
        text_encoder: the directory or name of a text model's encoder; None for the model's own
            name for it.
        prior: the directory of the prior in front of the stack; None for a stack without.
        best_of: of the prior, see `sample_vectors`.
    """

    model: Path
    output: Path
    seed: int
    plan: ConditionPlan
    options: SamplingOptions
    device: str = "cpu"
    threads: int = 1
    inpainting: InpaintingPlan | None = None
    text_encoder: str | None = None
    prior: Path | None = None
    best_of: int = BEST_OF

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
            stack,
            seeds,
            indices,
            conditions,
            *around,
            self.options,
            resample=plan.resample,
            moment_steps=plan.moment_steps,
        )

    def open_prior(self, stack: Stack) -> Prior | None:
        """The prior in front of the stack; None without one."""
        if self.prior is None:
            return None
        return open_prior(self.prior, stack.spec, best_of=self.best_of, device=self.device)

    def reader(self, condition: ConditionSpec) -> PromptReader | None:
        """The encoder of the plan's prompts; None for a plan of other things."""
        if not isinstance(self.plan, PromptPlan):
            return None
        return open_prompt_reader(condition, self.text_encoder, self.device)


@dataclass(frozen=True)
class Part:
    """Some of a shard's rows, which are drawn together.

    Attributes:
        place: where they stand among the shard's rows.
        seeds, indices: int64 ``[N]``.
        conditions: as `sample` takes them.
    """

    place: slice
    seeds: np.ndarray
    indices: np.ndarray
    conditions: np.ndarray


class ShardWorker:
    """What workers have in common: a stack or a part of it, and the encoder of its prompts."""

    def __init__(self, job: SampleJob, stages: list[int] | None = None) -> None:
        self.job, self.stack = job, job.load(stages)
        self._prior = job.open_prior(self.stack)
        condition = self.stack.spec.condition if self._prior is None else self._prior.condition
        self._reader = job.reader(condition)

    def parts(self, shard: Mapping[str, Any]) -> Iterator[Part]:
        """A shard's rows, in order; conditions that are vectors come by calls of the networks.

        A sentence's may take a hundred times the memory of its picture.
        """
        for part in self._given(shard):
            if self._prior is None:
                yield part
            else:
                vectors = self._prior.vectors(part.seeds, part.indices, part.conditions)
                yield replace(part, conditions=vectors)

    def store(self, shard: Mapping[str, Any], images: np.ndarray) -> dict[str, Any]:
        """Writes a shard's pictures, uint8 ``[N, H, W, C]``, and returns its record."""
        rows, hashes = self._rows(shard), None
        if self._reader is not None or rows.vectors is not None:
            hashes = [
                hash_ for part in self._given(shard) for hash_ in condition_hashes(part.conditions)
            ]
        indices = np.arange(shard["start"], shard["stop"])
        table = sample_table(self.job.seed, indices, rows.labels, images, rows.captions, hashes)
        return asdict(write_shard(table, self.job.output, shard["file"]))

    def _rows(self, shard: Mapping[str, Any]) -> PlannedRows:
        return self.job.plan.rows(shard["start"], shard["stop"])

    def _given(self, shard: Mapping[str, Any]) -> Iterator[Part]:
        """As `parts`, but with what the plan gives, as a prior takes it where there is one."""
        rows = self._rows(shard)
        num = len(rows.labels)
        size = max(1, num) if self._reader is None else self.stack.rows_per_call
        indices = np.arange(shard["start"], shard["stop"])
        seeds = np.full(num, self.job.seed)
        for start in range(0, num, size):
            place = slice(start, start + size)
            yield Part(place, seeds[place], indices[place], self._conditions(rows, place))

    def _conditions(self, rows: PlannedRows, place: slice) -> np.ndarray:
        if rows.vectors is not None:
            return rows.vectors[place]
        if self._reader is None:
            return rows.labels[place]
        assert rows.captions is not None
        return self._reader.conditions(rows.captions[place].to_pylist())


class StackWorker(ShardWorker):
    """Holds the whole stack and makes one shard a call."""

    def __init__(self, job: SampleJob) -> None:
        super().__init__(job)

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        images = [
            self.job.draw(self.stack, part.seeds, part.indices, part.conditions)
            for part in self.parts(shard)
        ]
        return self.store(shard, np.concatenate(images))


class StageWorker(ShardWorker):
    """Holds one stage's network and takes one shard through that stage a call.

    From worker to worker goes ``{"z": float32 [N, C, h, w]}``; keys and conditions follow from the
    shard's rows. The last stage's worker stores the pictures.
    """

    def __init__(self, job: SampleJob, stage: int) -> None:
        super().__init__(job, [stage])
        self._stage = stage

    def __call__(
        self, shard: dict[str, Any], carry: dict[str, np.ndarray] | None
    ) -> dict[str, Any]:
        levels = [
            sample_stage(
                self.stack,
                self._stage,
                None if carry is None else carry["z"][part.place],
                part.seeds,
                part.indices,
                part.conditions,
                self.job.options,
            )
            for part in self.parts(shard)
        ]
        z = np.concatenate(levels)
        if self._stage < len(self.stack.spec.stages) - 1:
            return {"z": z}
        return self.store(shard, from_signed(torch.from_numpy(z)))
