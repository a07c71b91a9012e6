"""Which commands there are: each job with a COMMAND, `serve` and `configs`.

They are read from the files' text, since importing them takes seconds.
"""

import ast
from importlib.machinery import PathFinder
from pathlib import Path
from pkgutil import iter_modules

from noisestack.own_packages import ROOT

# In the order in which a newcomer meets them; other jobs follow, and last what is no job.
_FIRST = (
    "quickstart", "ingest", "train-stack", "train-classifier", "generate", "perturb", "evaluate",
    "boundary", "compare", "verify", "export",
)  # fmt: skip


def find_commands(root: Path = ROOT) -> dict[str, tuple[str, str]]:
    """By its name, the module that holds a command's COMMAND, and one line about it.

    A job is called as its module is: `jobs/train_stack` is `train-stack`.

    Args:
        root: the folder of our packages.
    """
    jobs = root / "jobs"
    modules = {
        module.name.replace("_", "-"): f"jobs.{module.name}" for module in iter_modules([str(jobs)])
    }
    modules |= {"serve": "serve.command", "configs": "noisestack.configs"}
    return {
        name: (modules[name], summary)
        for name in dict.fromkeys((*_FIRST, *modules))
        if name in modules and (summary := _summary(root, modules[name])) is not None
    }


def _summary(root: Path, module: str) -> str | None:
    """What a module's `COMMAND = Command(…, summary="…")` says; None where there is none."""
    spec = PathFinder.find_spec(module, [str(root / module.partition(".")[0])])
    assert spec is not None
    assert spec.origin is not None
    for node in ast.parse(Path(spec.origin).read_bytes()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="COMMAND")], value=ast.Call(keywords=keywords)):
                for keyword in keywords:
                    if keyword.arg == "summary":
                        return str(ast.literal_eval(keyword.value))
    return None
