"""Trains a stack of conditional denoisers on a dataset, on Ray Data and Ray Train."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import ray

from jobs.common.stack_publisher import MODEL_DIRECTORY
from jobs.common.stack_run import StackRun
from jobs.common.stack_training import publish, train_run
from jobs.common.stream import TrainingData
from jobs.train_stack.config import TrainStackConfig
from jobs.train_stack.side_by_side import places_for, run_side_by_side
from noisestack.command import Command
from noisestack.config import describe
from noisestack.session import ray_session
from pipeline.chain.permutation import Purpose, keyed_permutation
from pipeline.conditions import CONDITIONS, ConditionSpec, embedded_condition
from pipeline.formats.claim import Length, claim_output
from pipeline.formats.class_counts import untrained_classes
from pipeline.formats.dataset import DatasetInfo, images_of, load_dataset
from pipeline.formats.row_embeddings import RowEmbeddings
from pipeline.formats.shard import iterate
from pipeline.formats.splits import TRAIN, train_split
from pipeline.stack_spec import StackSpec
from pipeline.training.checkpoint import steps_done
from pipeline.training.statistics import check_sides, measure, stages_for

_STATISTICS_ROWS = 65536  # of them the RMS of any band is known to a part in a hundred


def main(config: TrainStackConfig) -> Path:
    """Trains, or goes on with, the run in ``config.output``; returns the model's directory."""
    info = load_dataset(config.dataset)
    check_sides(info.shape[:2], config.stages)
    train_split(info, "the stack")
    embeddings = config.open_embeddings(info)
    origin = {"job": "train_stack", **config.fingerprint(), "dataset": info.sha256}
    if embeddings is not None:
        origin["embeddings"] = embeddings.embeddings.sha256
    with claim_output(
        config.output,
        origin,
        overwrite=config.overwrite,
        marker=f"{MODEL_DIRECTORY}/card.json",
        length=Length("steps", steps_done),
    ) as output:
        final = output.path / MODEL_DIRECTORY
        if output.finished:
            print(f"{final} is there already, made by this config")
            return final
        spec = plan_stack(config, info, embeddings)
        _describe_stages(spec)
        with ray_session():
            runs = plan_runs(config, info, spec, output.directory, embeddings)
            train_runs(config, runs)
            publish(runs, output.directory, describe(config), config.workers())
        print(f"the model is in {final}")
    return final


def plan_runs(
    config: TrainStackConfig,
    info: DatasetInfo,
    spec: StackSpec,
    output: Path,
    embeddings: RowEmbeddings | None = None,
) -> list[StackRun]:
    """The runs that train the stack: one, or one for each stage that has its own network."""
    shared = spec.network_entry.shared
    return [
        StackRun(
            data=TrainingData.of(
                info,
                TRAIN,
                seed=config.seed,
                batch_size=config.batch_size,
                mode=config.data,
                labelled=bool(spec.classes),
                cache_gb=config.cache_gb,
                embeddings=embeddings,
            ),
            spec=spec,
            stages=stages,
            recipe=config.recipe(),
            output=output if shared else output / spec.network_name(stages[0]),
            log_every=config.log_every,
            checkpoint_every=config.checkpoint_every,
            grid_rows=config.grid_rows,
            compile=config.compile,
            channels_last=config.channels_last,
        )
        for stages in spec.sharing(range(len(spec.stages)))
    ]


def train_runs(config: TrainStackConfig, runs: list[StackRun]) -> None:
    """Takes all runs to their last step: side by side, as far as the config and the cluster say.

    Raises:
        UserError: what the workers raised as one, for each run.
    """
    unfinished = [run for run in runs if run.steps_done() < run.recipe.num_steps]
    if len(runs) == 1:
        for run in unfinished:
            train_run(run, config.workers())
        return
    cluster = ray.cluster_resources()  # type: ignore[no-untyped-call]
    run_side_by_side(
        {
            f"stage {run.spec.stages[run.stages[0]].side} px": partial(
                train_run, run, config.workers()
            )
            for run in unfinished
        },
        config.stages_at_once or places_for(config.workers(), len(runs), cluster),
    )


def plan_stack(
    config: TrainStackConfig, info: DatasetInfo, embeddings: RowEmbeddings | None = None
) -> StackSpec:
    """The stack to train: what the config says, and where the data wants its resolution changed.

    Args:
        embeddings: of the train split, for a condition that is embedded.

    Raises:
        UserError: the dataset lacks the labels, or the noise levels do not fall.
    """
    statistics = measure(_some_pictures(info, config.seed), config.stages)
    condition = CONDITIONS[config.condition].kind
    labelled = condition.column == "label"
    return StackSpec(
        shape=info.shape,
        classes=info.classes if labelled else (),
        condition=ConditionSpec(config.condition, condition.size_for(info))
        if embeddings is None
        else embedded_condition(config.condition, embeddings.embeddings.encoder),
        attends=config.attends(),
        stages=stages_for(
            statistics,
            sigma_max=config.sigma_max,
            sigma_min=config.sigma_min,
            switch=config.switch,
        ),
        sigma_data=statistics.sigma_data,
        tau2=statistics.tau2,
        network=config.network,
        widths=config.widths,
        blocks=config.blocks,
        embedding=config.embedding,
        dropout=config.dropout,
        rows_per_call=config.rows_per_call,
        untrained=untrained_classes(info) if labelled else (),
        layers=config.layers or (8,) * len(config.stages),
        sampler=config.sampler,
        guidance=config.guidance,
    )


def _some_pictures(info: DatasetInfo, seed: int) -> Iterator[np.ndarray]:
    """The pictures of some shards of the train split: enough for statistics, whatever its size."""
    shards = info.splits[TRAIN]
    chosen: list[int] = []
    rows = 0
    for number in keyed_permutation(seed, 0, Purpose.STATISTICS_ROWS, len(shards)):
        chosen.append(int(number))
        rows += shards[number].num_rows
        if rows >= _STATISTICS_ROWS:
            break
    for table in iterate(info.path, [shards[i] for i in sorted(chosen)], ["image"]):
        yield images_of(table)


def _describe_stages(spec: StackSpec) -> None:
    for stage in spec.stages:
        levels = f"sigma {stage.sigma_high:.3g} to {stage.sigma_low:.3g}"
        print(f"stage {stage.side} px: {levels}", flush=True)
    if spec.untrained:
        print(
            f"{len(spec.untrained)} of {len(spec.classes)} classes have no picture in the train "
            f"split; nothing will be generated of them ({spec.classes[spec.untrained[0]]}, ...)"
        )


COMMAND = Command(TrainStackConfig, main, summary="train a conditional denoiser stack on a dataset")
