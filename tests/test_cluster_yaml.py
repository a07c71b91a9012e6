"""cluster.yaml, checked without a cloud: by Ray's own schema, and by what the jobs need."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "cluster.yaml"


@pytest.fixture
def cluster():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def check(cluster):
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_ray_up_accepts_it(cluster):
    check(cluster)


@pytest.mark.parametrize(
    ("place", "misspelt"),
    [
        ((), "setup_comands"),
        (("docker",), "run_option"),
        (("available_node_types", "gpu_worker"), "max_worker"),
    ],
)
def test_a_misspelt_key_is_found(cluster, place, misspelt):
    inner = cluster
    for key in place:
        inner = inner[key]
    inner[misspelt] = []
    with pytest.raises(ValidationError, match=misspelt):
        check(cluster)


def test_a_head_of_an_unknown_type_is_found(cluster):
    cluster["head_node_type"] = "haed"
    with pytest.raises(ValueError, match="head_node_type"):
        check(cluster)


def test_the_head_has_no_gpu_and_n_workers_have_one_each(cluster):
    head = cluster["available_node_types"].pop(cluster["head_node_type"])
    assert "GPU" not in head["resources"]
    (worker,) = cluster["available_node_types"].values()
    assert worker["resources"]["GPU"] == 1
    assert worker["max_workers"] == cluster["max_workers"]
    assert cluster["docker"]["worker_image"].endswith("-gpu")


def test_no_port_of_a_node_is_among_those_that_ray_gives_its_workers(cluster):
    head, worker = (" ".join(cluster[f"{node}_start_ray_commands"]) for node in ("head", "worker"))
    ports = [int(port) for port in re.findall(r"(?:port=|RAY_HEAD_IP:)(\d+)", f"{head} {worker}")]
    assert len(ports) == 4
    assert not [port for port in ports if 10002 <= port <= 19999]


def test_every_node_asks_for_the_token_and_has_it(cluster):
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert cluster["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"


def test_shared_storage_is_mounted_before_the_container_that_sees_it(cluster):
    # Initialization commands run on the instance, before docker.
    assert any("mount -t nfs4" in command for command in cluster["initialization_commands"])
    assert "--volume /shared:/shared" in cluster["docker"]["run_options"]


def test_what_the_setup_installs_is_mounted_and_there(cluster):
    (setup,) = cluster["setup_commands"]
    folder = setup.removeprefix("cd ~").partition(" ")[0]
    assert cluster["file_mounts"][f"/home/ray{folder}"] == "."
    assert "constraints.txt" in setup
    assert (ROOT / "constraints.txt").is_file()
    for pattern_file in cluster["rsync_filter"]:
        assert (ROOT / pattern_file).is_file()
