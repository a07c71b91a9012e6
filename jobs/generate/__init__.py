"""Samples from a trained stack, in batch: sample indices through pools of actors into Parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.common.records import remove_records
from jobs.common.row_ranges import RowRanges
from jobs.common.sharded import run_shards
from jobs.generate.config import COUNT, GenerateConfig, shard_rows
from jobs.generate.inpainting import inpainting_plan, resolved_options
from jobs.generate.plans import check_prompts, condition_plan
from jobs.generate.pools import make_pools
from noisestack.command import Command
from noisestack.session import ray_session
from pipeline.conditions import ConditionSpec
from pipeline.formats.claim import claim_output
from pipeline.formats.output import write_bytes
from pipeline.formats.sample_set import MANIFEST_FILE, write_manifest
from pipeline.formats.shard import Shard, shards_from_json
from pipeline.plots.sample_set import draw_sample_set
from pipeline.sampling.known_picture import INPAINTING, KNOWN_FILE, InpaintingPlan
from pipeline.sampling.picture_vectors import VECTORS, VectorsInTurn
from pipeline.sampling.plan import ConditionPlan
from pipeline.sampling.prior import BEST_OF, Prior, open_prior
from pipeline.sampling.prompt_reader import open_prompt_reader
from pipeline.sampling.prompts import PromptPlan
from pipeline.sampling.workers import SampleJob
from pipeline.stack import Stack
from pipeline.stack_spec import StackSpec


def main(config: GenerateConfig) -> Path:
    """Makes, or finishes, the sample set in ``config.output``; returns its directory."""
    stack = Stack.load(config.model)
    spec = stack.spec
    options = resolved_options(config, spec)
    inpainting = inpainting_plan(config, spec, options)
    plan = condition_plan(config, spec)
    count = config.count or plan.num_rows or COUNT
    prior = _opened_prior(config, spec)
    condition = spec.condition if prior is None else prior.condition
    if isinstance(plan, PromptPlan):
        check_prompts(plan, count, open_prompt_reader(condition, config.text_encoder))
    rows_per_shard = config.rows_per_shard or shard_rows(count, spec)
    origin = {
        "job": "generate",
        "model_sha256": stack.sha256,
        "seed": config.seed,
        "count": count,
        **_drawn_on(plan, condition, inpainting),
        **({} if prior is None else {"prior": prior.origin()}),
        "options": options.origin(),
        "rows_per_shard": rows_per_shard,
    }
    with claim_output(
        config.output, origin, overwrite=config.overwrite, marker=MANIFEST_FILE
    ) as output:
        if output.finished:
            print(f"{output.path} is there already, made by this config")
            return output.path
        job = SampleJob(
            config.model,
            output.directory,
            config.seed,
            plan,
            options,
            device="cuda" if config.gpus_per_worker else "cpu",
            threads=config.cpus_per_worker,
            inpainting=inpainting,
            text_encoder=config.text_encoder,
            prior=config.prior,
            best_of=_best_of(config),
        )
        written = _run(config, spec, job, count, rows_per_shard)
        _draw(output.directory, written, spec, inpainting)
        write_manifest(
            output.directory, shape=spec.shape, classes=spec.classes, shards=written, origin=origin
        )
        remove_records(output.directory)
    print(f"{count:,} samples are in {output.path}")
    return output.path


def _run(
    config: GenerateConfig, spec: StackSpec, job: SampleJob, count: int, rows_per_shard: int
) -> tuple[Shard, ...]:
    """All shards, made or finished on Ray."""
    with ray_session():
        records = run_shards(
            make_pools(config, spec, job),
            RowRanges(count, rows_per_shard),
            job.output,
            describe="generate",
            unit="samples",
        )
    return shards_from_json(records, job.output)


def _draw(
    directory: Path, written: Sequence[Shard], spec: StackSpec, inpainting: InpaintingPlan | None
) -> None:
    """The pictures for people: of the samples, and of what they were drawn around."""
    if inpainting is not None:
        write_bytes(directory / KNOWN_FILE, inpainting.picture.to_png())
    draw_sample_set(directory, written, spec.classes)


def _best_of(config: GenerateConfig) -> int:
    return config.prior_candidates or BEST_OF


def _opened_prior(config: GenerateConfig, spec: StackSpec) -> Prior | None:
    if config.prior is None:
        return None
    return open_prior(config.prior, spec, best_of=_best_of(config))


def _drawn_on(
    plan: ConditionPlan, condition: ConditionSpec, inpainting: InpaintingPlan | None
) -> dict[str, Any]:
    """What the manifest says that the samples are drawn on, and around."""
    around = {} if inpainting is None else {INPAINTING: inpainting.origin()}
    if not condition.rule.embedded:
        return {"labels": plan.origin(), **around}
    if isinstance(plan, VectorsInTurn):
        return {VECTORS: plan.origin(), **around}
    return {"prompts": plan.origin(), "condition": condition.to_json(), **around}


COMMAND = Command(GenerateConfig, main, summary="random noise into pictures of labels or sentences")
