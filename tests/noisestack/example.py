"""A command as the jobs have them, for the tests of the edge."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from noisestack.config import JobConfig


class ExampleConfig(JobConfig):
    """Makes an example.

    This second paragraph is for readers of the code.
    """

    output: Path = Field(description="directory that the example is written to")
    steps: int = Field(8, gt=0, description="steps of the optimiser")
    rate: float = Field(0.1, description="how fast, 100% being 1")
    layers: tuple[int, ...] | None = Field((8, 4), description="layers of each stage")
    labels: tuple[str, ...] = Field((), description="classes that are wanted")
    size: tuple[int, int] | None = Field(None, description="height and width in pixels")
    sampler: Literal["heun", "ddim"] = Field("heun", description="the way up the stack")
    guide: Literal["label", "none"] = Field("label", description="what leads the way")
    name: str = Field("example", description="what it is called")
    channels: Literal[1, 3] | None = Field(None, description="1 for grey, 3 for colour")
    order: tuple[Literal["up", "down"], ...] = Field(("up",), description="where to, in turn")
    workers: int | Literal["auto"] = Field("auto", description="how many")
    shares: int | dict[str, int] | None = Field(None, description="how many of each")
    model: Path | None = Field(None, description="directory of a model")
    overwrite: bool = Field(False, description="replace finished results")

    @model_validator(mode="after")
    def _one_layer_list_for_each_step(self) -> Self:
        if self.layers and len(self.layers) > self.steps:
            raise ValueError("there are more layers than steps; raise steps")
        return self
