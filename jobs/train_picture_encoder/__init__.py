"""Train a picture encoder on a dataset's pictures and the embeddings of their captions.

OUTPUT/model/          the encoder's model directory, published last
OUTPUT/metrics.jsonl   loss, share of captions found, speed
OUTPUT/checkpoints/    from which the same command goes on
"""

from pathlib import Path

from jobs.common.fitting import check_even_batch
from jobs.common.stream import TrainingData
from jobs.common.training import run_training
from jobs.train_picture_encoder.config import TrainPictureEncoderConfig
from jobs.train_picture_encoder.publisher import MODEL_DIRECTORY, publish_picture_encoder
from jobs.train_picture_encoder.worker import PictureEncoderRun, train_worker
from noisestack.command import Command
from noisestack.session import ray_session
from pipeline.duration import duration
from pipeline.errors import UserError
from pipeline.formats.claim import Length, claim_output
from pipeline.formats.dataset import DatasetInfo, load_dataset
from pipeline.formats.embedding_set import EmbeddingSet
from pipeline.formats.model import CARD_FILE
from pipeline.formats.row_embeddings import RowEmbeddings
from pipeline.formats.splits import TRAIN, judged_split, train_split
from pipeline.networks.picture_encoder import PictureEncoderShape
from pipeline.picture_encoder import POOLING
from pipeline.training.checkpoint import CHECKPOINTS, newest_step, steps_done


def main(config: TrainPictureEncoderConfig) -> Path:
    """Train, or go on training, then publish the model with what it finds of another split.

    Returns:
        The model's directory.

    Raises:
        UserError: the dataset or the embedding set does not suit, the output holds other results,
            or the loss is not finite (the last good checkpoint stays).
    """
    info = load_dataset(config.dataset)
    train_split(info, "the picture encoder")
    split = judged_split(info, config.split)
    texts, judged = (
        RowEmbeddings.open(config.embeddings, info, name, pooled_only=True)
        for name in (TRAIN, split)
    )
    _check_texts(texts.embeddings)
    shape = _network_shape(config, info, texts.embeddings)
    check_even_batch(config.batch_size, config.num_workers)
    fingerprint = {
        **config.fingerprint(),
        "job": "train_picture_encoder",
        "dataset_sha256": info.sha256,
        "embeddings_sha256": texts.embeddings.sha256,
        "split": split,
    }
    with claim_output(
        config.output,
        fingerprint,
        overwrite=config.overwrite,
        marker=f"{MODEL_DIRECTORY}/{CARD_FILE}",
        length=Length("steps", steps_done),
    ) as output:
        if not output.finished:
            data = TrainingData.of(
                info,
                TRAIN,
                seed=config.seed,
                batch_size=config.batch_size,
                mode="auto",
                labelled=False,
                embeddings=texts,
            )
            run = PictureEncoderRun(config, data, shape, output.directory)
            if newest_step(run.output / CHECKPOINTS) < config.steps:
                with ray_session():
                    _train(run)
            publish_picture_encoder(run, judged)
    print(f"picture encoder: {output.path / MODEL_DIRECTORY}", flush=True)
    return output.path / MODEL_DIRECTORY


def _check_texts(embeddings: EmbeddingSet) -> None:
    if embeddings.encoder.pooling == POOLING:
        raise UserError(
            f"{embeddings.path} holds embeddings of pictures, and pictures are held against their "
            "captions; give a set that was made with --text-encoder"
        )


def _network_shape(
    config: TrainPictureEncoderConfig, info: DatasetInfo, embeddings: EmbeddingSet
) -> PictureEncoderShape:
    height, width, channels = info.shape
    return PictureEncoderShape(
        height,
        width,
        channels,
        num_dimensions=embeddings.encoder.width,
        widths=config.widths,
        blocks=config.blocks,
        pooled=config.pooled,
        stem_stride=config.stem_stride,
    )


def _train(run: PictureEncoderRun) -> None:
    config = run.config
    run_training(
        train_worker,
        {"run": run},
        output=run.output,
        workers=config.workers(),
        progress=lambda line: (
            f"picture encoder: step {line['step']:,} of {config.steps:,}, loss {line['loss']:.4f}, "
            f"{line['accuracy']:.1%} nearest to their own caption of a batch, "
            f"{line['pictures_per_second']:,.0f} pictures/s, "
            f"{duration(line['seconds_left'])} left"
        ),
    )


COMMAND = Command(
    TrainPictureEncoderConfig, main, summary="train an encoder of pictures on their captions"
)
