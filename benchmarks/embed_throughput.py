"""What does `embed` cost beside the bare encoder: captions a CPU-second, on the same batches.

All-MiniLM on the names of emoji where those are, else on drawn sentences, 32 tokens a text. The
bare side is transformers' tokenizer and model in a loop, calls of as many rows, one thread; ours
is the job's worker: it reads a shard's captions from Parquet, encodes, pools, stores float16 and
hashes. Both are in this process, where no Ray is; shard by shard in turn, in CPU time, since others
may be at work.
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.common import Stopwatch, median, read_options, report
from pipeline.formats.dataset import DatasetInfo, dataset_table, write_dataset_info, write_shard
from pipeline.formats.embedding_set import shards_to_embed
from pipeline.text.directory import directory_of
from pipeline.text.embedder import CaptionEmbedder
from pipeline.text.encoder import TextEncoder

TARGETS = {"ratio_embed": 0.95}
ENCODER = "minilm"
EMOJI = Path(__file__).resolve().parents[2] / "shared" / "data" / "emoji" / "emoji.parquet"
SHARD_ROWS = 32
ROWS, QUICK_ROWS = 512, 64


def captions(count: int) -> list[str]:
    """The first names of emoji, or sentences of such lengths."""
    if EMOJI.is_file():
        names = pq.read_table(EMOJI, columns=["caption"]).column("caption").to_pylist()
        return [str(name) for name in names[:count]]
    words = ("red", "small", "circle", "square", "face", "with", "eyes", "of", "a", "above")
    draws = np.random.default_rng(0)
    return [" ".join(draws.choice(words, draws.integers(1, 8))) for _ in range(count)]


def write_dataset(directory: Path, texts: list[str]) -> DatasetInfo:
    """A dataset with a caption a row and black pictures."""
    shards = []
    for number, start in enumerate(range(0, len(texts), SHARD_ROWS)):
        part = texts[start : start + SHARD_ROWS]
        images = np.zeros((len(part), 2, 2, 1), np.uint8)
        table = dataset_table(
            [f"{start + row:05d}" for row in range(len(part))], images, None, part
        )
        shards.append(write_shard(table, directory, f"train/part-{number:05d}.parquet"))
    return write_dataset_info(
        directory,
        shape=(2, 2, 1),
        classes=(),
        splits={"train": shards},
        has_captions=True,
        origin={"source": "benchmarks"},
    )


class Bare:
    """Transformers' own tokenizer and model, and a loop."""

    def __init__(self, max_length: int, rows_per_call: int) -> None:
        import transformers

        path = directory_of(ENCODER)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        self._model = transformers.AutoModel.from_pretrained(path).eval()
        self._max_length, self._rows = max_length, rows_per_call

    @torch.inference_mode()
    def __call__(self, texts: list[str]) -> None:
        """The states of all texts, thrown away."""
        for start in range(0, len(texts), self._rows):
            given = self._tokenizer(
                texts[start : start + self._rows],
                padding="max_length",
                truncation=True,
                max_length=self._max_length,
                return_tensors="pt",
            )
            self._model(**given).last_hidden_state  # noqa: B018


def main() -> None:
    """Measures both sides in turn and prints the figures as one line of JSON, the last."""
    options = read_options(__doc__)
    texts = captions(QUICK_ROWS if options.quick else ROWS)
    with tempfile.TemporaryDirectory(prefix="embed-") as directory:
        place = Path(directory)
        info = write_dataset(place / "dataset", texts)
        encoder = TextEncoder.load(ENCODER)
        embedder = CaptionEmbedder(
            dataset=info.path, encoder=encoder.id, output=place / "embeddings"
        )
        shards = shards_to_embed(info, ["train"])
        bare = Bare(encoder.id.max_length, encoder.rows_per_call)

        def bare_shard(number: int) -> None:
            bare(texts[number * SHARD_ROWS : (number + 1) * SHARD_ROWS])

        def round_of(number: int) -> dict[str, float]:
            """CPU seconds of both sides, a shard each in turn: what disturbs falls on both."""
            spent = {"bare": 0.0, "embed": 0.0}
            for shard in range(len(shards)):
                sides = list(spent) if (number + shard) % 2 else list(spent)[::-1]
                for side in sides:
                    watch = Stopwatch()
                    if side == "bare":
                        bare_shard(shard)
                    else:
                        embedder(shards[shard])
                    spent[side] += watch.spent().cpu_seconds
            return spent

        bare_shard(0)  # what a first call prepares
        embedder(shards[0])
        rounds = [round_of(number) for number in range(options.repeats)]
    figures = {
        f"{side}_captions_per_cpu_second": len(texts) / median([spent[side] for spent in rounds])
        for side in ("bare", "embed")
    }
    figures["ratio_embed"] = median([spent["bare"] / spent["embed"] for spent in rounds])
    report("embed_throughput", figures, options=options, targets=TARGETS)


if __name__ == "__main__":
    main()
