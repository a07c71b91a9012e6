"""The end of a picture encoder's training: its last checkpoint becomes a model directory."""

from typing import Any

import numpy as np
import ray
import torch

from jobs.common.retrieval import in_words
from jobs.train_picture_encoder.worker import PictureEncoderRun
from noisestack.config import describe
from pipeline.evaluation.retrieval import Captions, retrieval
from pipeline.formats.dataset import images_of, iterate_shards
from pipeline.formats.metrics import METRICS_FILE, read_metrics
from pipeline.formats.row_embeddings import RowEmbeddings
from pipeline.networks.picture_encoder import PictureEncoderNetwork
from pipeline.picture_encoder import PictureEncoder, save_picture_encoder
from pipeline.plots.losses import LOSSES_FILE, plot_losses
from pipeline.training.checkpoint import last_checkpoint
from pipeline.training.fit import published_weights

MODEL_DIRECTORY = "model"


def publish_picture_encoder(run: PictureEncoderRun, judged: RowEmbeddings) -> None:
    """Measures the trained encoder on a split and publishes ``run.output/model``.

    The run's losses are drawn in its directory too.

    Args:
        judged: the embeddings of the captions of the split that it is measured on.
    """
    config, output = run.config, run.output
    network = PictureEncoderNetwork(run.shape)
    network.load_state_dict(published_weights(last_checkpoint(output, config.steps)))
    lines = read_metrics(output / METRICS_FILE)
    plot_losses(
        [line["step"] for line in lines],
        {"loss": [line["loss"] for line in lines]},
        output / LOSSES_FILE,
        title="picture encoder",
    )
    device = "cuda" if config.use_gpu and torch.cuda.is_available() else "cpu"
    text_encoder = judged.embeddings.encoder
    encoder = PictureEncoder(network, text_encoder, device=device)
    found = _measured(encoder, judged, config.seed)
    save_picture_encoder(
        output / MODEL_DIRECTORY,
        network,
        text_encoder,
        {
            "dataset_sha256": run.data.info.sha256,
            "embeddings_sha256": judged.embeddings.sha256,
            "training": describe(config),
            "test_split": judged.split,
            "retrieval": found,
            "versions": {"torch": torch.__version__, "ray": ray.__version__},
        },
    )
    said = f"no {judged.split} picture has a caption" if found is None else in_words(found)
    print(f"picture encoder: {judged.split}: {said}", flush=True)


def _measured(encoder: PictureEncoder, judged: RowEmbeddings, seed: int) -> dict[str, Any] | None:
    """What it finds of a split's captions among all of that split; None without captions."""
    pictures, texts = [], []
    for number, table in enumerate(iterate_shards(judged.info, judged.split, ["image"])):
        vectors = judged.read(number)
        told = vectors.any(axis=1)
        pictures.append(encoder.encode(images_of(table)[told]))
        texts.append(vectors[told])
    told_texts = np.concatenate(texts)
    if not len(told_texts):
        return None
    found = retrieval(np.concatenate(pictures), told_texts, Captions(told_texts), seed=seed)
    return found.to_json()
