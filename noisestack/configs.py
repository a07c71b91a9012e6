"""`noisestack configs`: lists the configs that come along, prints one, or copies it."""

import os
import shutil
import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from noisestack.command import Command
from noisestack.config import JobConfig
from noisestack.shipped import named_file, shipped_files
from pipeline.errors import UserError
from pipeline.formats.output import atomic_path


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
        _show("".join(f"{file.name:{width}}  {file.description}\n" for file in files))
        return
    file = named_file(config.name)
    if config.output is None:
        _show(file.path.read_text(encoding="utf-8"))
        return
    target = config.output
    if target.is_dir():
        target = target / file.path.name
    if target.exists():
        raise UserError(f"{target} is there already; choose another --output, or remove it")
    try:
        with atomic_path(target) as temporary:
            shutil.copyfile(file.path, temporary)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    print(target)


def _show(text: str) -> None:
    """Prints a text, of which `head` or a pager may not want all."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end


COMMAND = Command(ConfigsConfig, main, summary="the configs that come along: list, print, copy")
if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
