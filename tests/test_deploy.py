"""The files in deploy/, checked without a cluster."""

import importlib
import re
import shlex
import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from noisestack.flags import read_config
from serve.settings import AppConfig

ROOT = Path(__file__).resolve().parent.parent
PINNED_RAY = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


def load(name):
    return yaml.safe_load((ROOT / "deploy" / name).read_text(encoding="utf-8"))


def unknown_keys(serve_config):
    """Keys that Ray Serve would leave out without a word."""
    applications = {key for app in serve_config["applications"] for key in app}
    return (set(serve_config) - set(ServeDeploySchema.model_fields)) | (
        applications - set(ServeApplicationSchema.model_fields)
    )


def test_serve_deploy_accepts_the_endpoint():
    config = load("serve.yaml")
    ServeDeploySchema.model_validate(config)
    assert unknown_keys(config) == set()
    (application,) = config["applications"]
    module, _, builder = application["import_path"].partition(":")
    assert callable(getattr(importlib.import_module(module), builder))
    AppConfig.model_validate(application["args"])


def test_a_misspelt_key_of_the_endpoint_is_found():
    config = load("serve.yaml")
    config["applications"][0]["rout_prefix"] = "/"
    ServeDeploySchema.model_validate(config)  # Ray Serve itself does not mind
    assert unknown_keys(config) == {"rout_prefix"}


def test_an_endpoint_that_listens_everywhere_asks_for_a_key():
    config = load("serve.yaml")
    assert config["http_options"]["host"] == "0.0.0.0"
    assert config["applications"][0]["args"]["api_key_file"]


def test_the_kubernetes_job_is_a_command_of_ours(monkeypatch):
    monkeypatch.chdir(ROOT)  # the image's working directory has configs/ too
    python, dash_m, module, *arguments = shlex.split(load("rayjob.yaml")["spec"]["entrypoint"])
    assert (python, dash_m) == ("python", "-m")
    command = importlib.import_module(module).COMMAND
    config = read_config(command.config_class, arguments, module)
    mounted = [
        mount["mountPath"]
        for group in pod_groups()
        for container in group["template"]["spec"]["containers"]
        for mount in container["volumeMounts"]
    ]
    assert {str(config.output.parents[-2])} == set(mounted)


def pod_groups():
    cluster = load("rayjob.yaml")["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_the_kubernetes_job_has_a_token_and_a_gpu_for_each_worker():
    spec = load("rayjob.yaml")["spec"]
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    (workers,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    asked = re.search(r"--num-workers (\d+)", spec["entrypoint"])[1]
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert int(asked) == workers["replicas"] * gpus


def test_a_submitted_jobs_package_holds_no_results_and_no_environment(tmp_path):
    # Ray takes 512 MiB at most: `ray job submit --working-dir .` packs what git does not ignore.
    (root := tmp_path / "noisestack").mkdir()
    shutil.copy(ROOT / ".gitignore", root)
    large = ["runs/quickstart/stack/model", "build/lib", ".venv/lib", ".git/objects", ".mypy_cache"]
    for folder in ["jobs", "configs", *large]:
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text("what it holds")
    package = tmp_path / "package.zip"
    create_package(
        str(root), package, include_gitignore=True, excludes=get_runtime_env_default_excludes()
    )
    assert set(ZipFile(package).namelist()) == {".gitignore", "jobs/file", "configs/file"}


@pytest.mark.parametrize("file", ["cluster.yaml", "deploy/Dockerfile", "deploy/rayjob.yaml"])
def test_every_node_runs_the_pinned_ray(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    named = re.findall(r"(?:rayproject/ray:|rayVersion: )([0-9.]+)", text)
    assert named
    assert set(named) == {PINNED_RAY}


def test_the_image_copies_every_package_and_file_that_it_installs():
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    copied = [
        word for line in re.findall(r"COPY --chown=ray (.+) \S+", text) for word in line.split()
    ]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
