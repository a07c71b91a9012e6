"""Noisestack from Python: `import noisestack as ns`. The command line stands on the same package.

    ns.load_stack(path).sample(labels=["3", "7"], seed=7)   # uint8 [N, H, W, C]
    ns.load_classifier(path).predict(x)                     # int64 [N]
    ns.attack(model, x, y, "pgd", eps=8 / 255)              # any torch module in memory
    ns.open_dataset(path), ns.open_samples(path), ns.open_perturbations(path)
    ns.open_certificates(path)
    ns.jobs.generate(model=path, output=path)               # each job of the command line

Pictures are uint8 ``[N, H, W, C]``, or floats ``[N, C, H, W]`` in [0, 1]. A mistake in what is
given is a `ns.UserError` of one line. Importing this imports neither torch nor Ray: torch comes
with the first function that computes, Ray with the first job that is run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from noisestack.own_packages import come_first

if TYPE_CHECKING:
    from noisestack import jobs
    from noisestack.face.attack import attack, attacks
    from noisestack.face.attack_result import AttackResult
    from noisestack.face.certificates import Certificates, open_certificates
    from noisestack.face.classifier import Classifier, load_classifier
    from noisestack.face.dataset import Dataset, open_dataset
    from noisestack.face.level import Level
    from noisestack.face.perturbations import Perturbations, open_perturbations
    from noisestack.face.rate import Rate
    from noisestack.face.samples import Samples, open_samples
    from noisestack.face.stack import BitsPerDim, Stack, load_stack
    from pipeline.errors import UserError

__version__ = "0.2.0"

__all__ = [
    "AttackResult",
    "BitsPerDim",
    "Certificates",
    "Classifier",
    "Dataset",
    "Level",
    "Perturbations",
    "Rate",
    "Samples",
    "Stack",
    "UserError",
    "attack",
    "attacks",
    "jobs",
    "load_classifier",
    "load_stack",
    "open_certificates",
    "open_dataset",
    "open_perturbations",
    "open_samples",
]

# The module that each name of the face comes from, which is imported when the name is first used.
_HOMES = {
    "AttackResult": "noisestack.face.attack_result",
    "BitsPerDim": "noisestack.face.stack",
    "Certificates": "noisestack.face.certificates",
    "Classifier": "noisestack.face.classifier",
    "Dataset": "noisestack.face.dataset",
    "Level": "noisestack.face.level",
    "Perturbations": "noisestack.face.perturbations",
    "Rate": "noisestack.face.rate",
    "Samples": "noisestack.face.samples",
    "Stack": "noisestack.face.stack",
    "UserError": "pipeline.errors",
    "attack": "noisestack.face.attack",
    "attacks": "noisestack.face.attack",
    "load_classifier": "noisestack.face.classifier",
    "load_stack": "noisestack.face.stack",
    "open_certificates": "noisestack.face.certificates",
    "open_dataset": "noisestack.face.dataset",
    "open_perturbations": "noisestack.face.perturbations",
    "open_samples": "noisestack.face.samples",
}

# Here, since `pipeline` and `jobs` are imported by the first module that needs them.
come_first()


def __getattr__(name: str) -> Any:
    if name == "jobs":
        return import_module("noisestack.jobs")
    if name not in _HOMES:
        raise AttributeError(f"module 'noisestack' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
