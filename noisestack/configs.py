"""`noisestack configs`: lists the configs that come along, prints one, or copies it."""

import shutil
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from noisestack.command import Command
from noisestack.config import JobConfig
from noisestack.shipped import named_file, shipped_files
from pipeline.errors import UserError


class ConfigsConfig(JobConfig):
    """List the configs that come with Noisestack, print one, or copy it.

    `--config NAME` of every command takes one of these names as well as a file.
    """

    name: CliPositionalArg[str | None] = Field(
        None, description="which to print or to copy; none lists all"
    )
    output: Path | None = Field(
        None, description="file or folder that it is copied to; none prints it"
    )


def main(config: ConfigsConfig) -> None:
    """Prints the list or a file, or copies the file.

    Raises:
        UserError: there is no such name, or nothing to copy, or something stands where the copy is
            to go.
    """
    if config.name is None:
        if config.output is not None:
            raise UserError("--output is for one config: give its name first")
        files = shipped_files().values()
        width = max(len(file.name) for file in files)
        print("\n".join(f"{file.name:{width}}  {file.description}" for file in files))
        return
    file = named_file(config.name)
    if config.output is None:
        print(file.path.read_text(encoding="utf-8"), end="")
        return
    target = config.output
    if target.is_dir():
        target = target / file.path.name
    if target.exists():
        raise UserError(f"{target} is there already; choose another --output, or remove it")
    try:
        shutil.copyfile(file.path, target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    print(target)


COMMAND = Command(ConfigsConfig, main, summary="the configs that come along: list, print, copy")
if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
