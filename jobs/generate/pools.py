"""The pools of actors that sample from the stack."""

import ray
import torch

from jobs.common.pools import Pool
from jobs.generate.config import GenerateConfig
from noisestack.resources import Demand, Waiting, require
from pipeline.sampling.cost import fits, share_out, stage_costs
from pipeline.sampling.workers import SampleJob, StackWorker, StageWorker
from pipeline.stack_spec import StackSpec


def make_pools(config: GenerateConfig, spec: StackSpec, job: SampleJob) -> list[Pool]:
    """The whole stack in each actor, or a pool of actors for each stage of it."""
    cpus, gpus = config.cpus_per_worker, config.gpus_per_worker
    whole = config.pools == "whole" or len(spec.stages) == 1 or config.inpaint is not None
    if whole or (config.pools == "auto" and _held_by_a_device(spec, gpus)):
        return [Pool(StackWorker, {"job": job}, config.num_workers, cpus, gpus)]
    costs = stage_costs(spec, job.options)
    shares = share_out(config.num_workers, costs) if config.num_workers else [None] * len(costs)
    return [
        Pool(StageWorker, {"job": job, "stage": stage}, share, cpus, gpus, cost)
        for stage, (share, cost) in enumerate(zip(shares, costs, strict=True))
    ]


def _held_by_a_device(spec: StackSpec, gpus: float) -> bool:
    """Whether an actor's part of a device holds the whole stack; the memory of a CPU does."""
    if not gpus:
        return True
    require(demand := Demand(1, 0, gpus))
    with Waiting("generate", [demand]):
        memory = ray.get(_device_memory.options(num_gpus=gpus).remote())
    return fits(spec, memory * min(1.0, gpus))


@ray.remote(num_cpus=0)
def _device_memory() -> int:
    """The bytes of a GPU that the cluster gives to actors."""
    return int(torch.cuda.get_device_properties(0).total_memory)
