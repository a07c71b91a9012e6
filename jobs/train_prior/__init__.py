"""Trains a prior, the chain on vectors from texts to pictures' embeddings, on Ray Train."""

from pathlib import Path

from jobs.common.stack_publisher import MODEL_DIRECTORY
from jobs.common.stack_run import StackRun
from jobs.common.stack_training import publish, train_run
from jobs.common.vector_data import VectorData, as_pictures
from jobs.train_prior.config import TrainPriorConfig
from noisestack.command import Command
from noisestack.config import describe
from noisestack.session import ray_session
from pipeline.conditions import CONDITIONS, embedded_condition
from pipeline.formats.claim import Length, claim_output
from pipeline.formats.dataset import load_dataset
from pipeline.formats.row_embeddings import RowEmbeddings
from pipeline.formats.splits import TRAIN, train_split
from pipeline.stack_spec import StackSpec
from pipeline.training.checkpoint import steps_done
from pipeline.training.statistics import measure, stages_for


def main(config: TrainPriorConfig) -> Path:
    """Trains, or goes on with, the run in ``config.output``; returns the model's directory."""
    info = load_dataset(config.dataset)
    train_split(info, "the prior")
    words = CONDITIONS[config.condition].kind.has_tokens
    embeddings = RowEmbeddings.open(config.embeddings, info, TRAIN, pooled_only=not words)
    targets = RowEmbeddings.open(config.targets, info, TRAIN, pooled_only=True)
    origin = {
        "job": "train_prior",
        **config.fingerprint(),
        "dataset": info.sha256,
        "embeddings": embeddings.embeddings.sha256,
        "targets": targets.embeddings.sha256,
    }
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
        run = StackRun(
            data=VectorData.of(targets, embeddings, seed=config.seed, batch_size=config.batch_size),
            spec=plan_prior(config, embeddings, targets),
            stages=(0,),
            recipe=config.recipe(),
            output=output.directory,
            log_every=config.log_every,
            checkpoint_every=config.checkpoint_every,
            grid_rows=0,
        )
        with ray_session():
            if run.steps_done() < config.steps:
                train_run(run, config.workers())
            publish([run], output.directory, describe(config), config.workers())
        print(f"the model is in {final}")
    return final


def plan_prior(
    config: TrainPriorConfig, embeddings: RowEmbeddings, targets: RowEmbeddings
) -> StackSpec:
    """The stack of vectors to train: one stage, whose noise is measured in the vectors' own size.

    Raises:
        UserError: the embeddings have no words, and the condition is text.
    """
    condition = embedded_condition(config.condition, embeddings.embeddings.encoder)
    statistics = measure([as_pictures(targets.read_all())], [1])
    (scale,) = statistics.sigma_data
    return StackSpec(
        shape=(1, 1, targets.shape[0]),
        classes=(),
        condition=condition,
        stages=stages_for(
            statistics, sigma_max=config.sigma_max * scale, sigma_min=config.sigma_min * scale
        ),
        sigma_data=statistics.sigma_data,
        tau2=(),
        network=config.network,
        widths=(config.width,),
        blocks=(config.blocks,),
        embedding=config.embedding,
        dropout=config.dropout,
        rows_per_call=config.rows_per_call,
        layers=(config.layers,),
        sampler=config.sampler,
        guidance=config.guidance,
        attends=(0,) if condition.rule.has_tokens else (),
        vectors=targets.embeddings.encoder,
    )


COMMAND = Command(
    TrainPriorConfig, main, summary="train a prior: from a text's embedding to a picture's"
)
