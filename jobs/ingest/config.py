"""The config of `ingest`: what each key means, and the source that it spells."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from jobs.common.bad_rows import DESCRIPTION, OnBadRow
from noisestack.config import JobConfig, Seed
from pipeline.registry import explained
from pipeline.sources import SOURCES, SourceName
from pipeline.sources.base import Source, SourceOptions
from pipeline.sources.decode import Decoder
from pipeline.sources.division import Division, divide
from pipeline.sources.fit import Fit
from pipeline.sources.splits import SplitsFrom

_COLUMN_KEYS = ("image_column", "label_column", "caption_column", "id_column", "split_column")


class IngestConfig(JobConfig):
    """Turn labelled pictures into a dataset: Parquet shards of one shape, split by split.

    The same command resumes what was interrupted, and gives the same bytes on any number of
    workers.
    """

    source: SourceName = Field(
        "digits", description=f"where the pictures are; {explained(SOURCES)}"
    )
    input: Path | None = Field(
        None, description="folder of the idx files or of the classes; Parquet file or folder"
    )
    output: Path = Field(description="the dataset's directory")
    overwrite: bool = Field(False, description="replace another config's results in OUTPUT")
    classes: tuple[str, ...] | None = Field(
        None,
        description="class names in the order of their labels; none for those that the data name, "
        "or the numbers that occur",
    )
    image_column: str = Field("image", description="parquet: column of encoded pictures")
    label_column: str | None = Field(
        None,
        description="parquet, or a folder's metadata file: column of labels or class names; none "
        "for 'label' if there",
    )
    caption_column: str | None = Field(
        None,
        description="parquet, or a folder's metadata file: column of texts; none for 'caption' or "
        "'text' if there",
    )
    id_column: str | None = Field(
        None, description="parquet: column of unique ids; none for file name and row"
    )
    split_column: str | None = Field(
        None,
        description="column of texts that say each row's split; none for 'split' if there",
    )
    splits_from: SplitsFrom = Field(
        "auto",
        description="what says train, test and validation: names (of folders, files and hive "
        "keys); column; auto: whichever does; draw: nothing, all rows are divided anew",
    )
    test_fraction: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="part of the rows for testing, 0 to 1, where the data say no splits",
    )
    seed: Seed = Field(0, description="keys which rows are for testing")
    resize: tuple[int, ...] | None = Field(
        None, description="height and width in pixels, or one number for both; none to keep them"
    )
    fit: Fit = Field(
        "crop",
        description="what resize does to pictures of other proportions: crop takes the largest "
        "centred part, pad keeps all and fills the rest, stretch makes circles ellipses",
    )
    pad_fill: int = Field(
        0, ge=0, le=255, description="fit pad: the level around a picture, 0 black to 255 white"
    )
    channels: Literal[1, 3] | None = Field(
        None, description="1 for grey, 3 for RGB; none for what the first picture has"
    )
    on_bad_row: OnBadRow = Field("fail", description=DESCRIPTION)
    rows_per_shard: int = Field(2048, ge=1, description="rows that a worker reads at a time")
    num_workers: int | None = Field(
        None, ge=1, description="actors at most; none for as many as the cluster holds"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        source = SOURCES[self.source]
        if not source.has_input:
            if self.input is not None or self.classes is not None:
                raise ValueError(
                    f"the source {self.source} brings its own pictures: it has no input and no "
                    "other classes"
                )
        elif self.input is None:
            raise ValueError(f"input is needed: where the {self.source} source is to be read")
        for key in _COLUMN_KEYS:
            if key not in source.columns and key in self.model_fields_set:
                takers = _that_take(key)
                raise ValueError(f"{key} is for the source {takers}, and this is {self.source}")
        if self.splits_from == "column" and "split_column" not in source.columns:
            takers = _that_take("split_column")
            raise ValueError(f"splits_from column is for the source {takers}, not {self.source}")
        if self.split_column is not None and self.splits_from == "draw":
            raise ValueError("split_column says splits and splits_from draw none; leave one out")
        if self.resize is not None and (
            len(self.resize) not in (1, 2) or any(not 1 <= side <= 16384 for side in self.resize)
        ):
            raise ValueError("resize is one or two numbers of pixels, each from 1 to 16384")
        if self.resize is None and "fit" in self.model_fields_set:
            raise ValueError("fit says how pictures are resized: give resize as well")
        if self.fit != "pad" and "pad_fill" in self.model_fields_set:
            raise ValueError(f"pad_fill is for fit pad, and this is {self.fit}")
        if self.classes is not None and (
            len(set(self.classes)) != len(self.classes) or "" in self.classes or not self.classes
        ):
            raise ValueError("classes are different names, none of them empty")
        return self

    def decoder(self) -> Decoder:
        """How pictures are treated, as these values say."""
        resize = None if self.resize is None else (self.resize[0], self.resize[-1])
        return Decoder(resize, self.channels, self.fit, self.pad_fill)

    def open_source(self) -> Source:
        """The source that these values name; UserError when it is not there or not usable."""
        return SOURCES[self.source].open(
            SourceOptions(
                self.input or Path(),
                self.classes,
                splits_from=self.splits_from,
                **{key: getattr(self, key) for key in _COLUMN_KEYS},
            )
        )

    def division(self, source: Source) -> Division | None:
        """How the rows of a source without splits are divided; None where the source has splits.

        Reads the ids and labels once.
        """
        if source.splits:
            return None
        return divide(
            source.keys(),
            len(source.classes),
            seed=self.seed,
            test_fraction=self.test_fraction,
        )

    def where_splits_come_from(self, source: Source) -> str:
        """For people: what says the splits of a source's rows, or how they are drawn."""
        if source.splits:
            unused = " (--test-fraction says nothing here)"
            is_set = "test_fraction" in self.model_fields_set
            return f"from {source.splits_origin}{unused if is_set else ''}"
        by_class = " by class" if source.classes else ""
        drawn = f"drawn: {100 * self.test_fraction:.4g} %{by_class}, seed {self.seed}"
        alone = f" ({source.splits_origin} say train for all)" if source.splits_origin else ""
        return drawn + alone


def _that_take(key: str) -> str:
    """The sources that take a column's key, for a message."""
    return " or ".join(name for name, source in SOURCES.items() if key in source.columns)
