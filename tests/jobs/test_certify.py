"""`certify` as a job: the set it leaves, what it says, and a run that died."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from certificate_faults import certify_config, write_certificates
from perturbation_faults import write_inputs
from PIL import Image

from jobs.certify import main
from noisestack.__main__ import main as noisestack
from pipeline.errors import UserError
from pipeline.formats.certificate.set import open_certificate_set
from pipeline.formats.output import read_json


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certify_job")
    write_inputs(path)
    return path


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_run_that_died_half_way_leaves_the_set_of_one_that_did_not(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = certify_config(inputs, tmp_path / "set", radii=(0.1, 0.2), rows_per_shard=10)
    due = write_certificates(inputs, tmp_path / "due", radii=(0.1, 0.2), rows_per_shard=10)
    main(config)
    told = capsys.readouterr()
    opened = open_certificate_set(tmp_path / "set")
    assert opened.manifest["curve"] == due["curve"]
    content = opened.manifest["content_sha256"]
    assert content == open_certificate_set(tmp_path / "due").manifest["content_sha256"]
    assert f"rows (100%), {due['counts']['draws']:,} draws" in told.err
    assert "certified accuracy at radius 0.2: " in told.out
    with Image.open(tmp_path / "set" / "certified.png") as picture:
        assert picture.width > 700
    assert noisestack(["verify", str(tmp_path / "set")]) == 0
    # As a kill leaves it: no manifest, a shard gone, the claim there.
    (tmp_path / "set" / "manifest.json").unlink()
    (tmp_path / "set" / "part-00003.parquet").unlink()
    main(config)
    assert open_certificate_set(tmp_path / "set").manifest["content_sha256"] == content
    capsys.readouterr()
    main(config)
    assert "(finished before)" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds the results of another config"):
        main(certify_config(inputs, tmp_path / "set", radii=(0.1,), rows_per_shard=10))
    assert read_json(tmp_path / "set" / "manifest.json")["content_sha256"] == content


def test_another_perturbation_or_strange_files_in_the_output_are_left_alone(
    inputs: Path, tmp_path: Path
) -> None:
    shutil.copytree(inputs / "digits", tmp_path / "set")
    before = sorted(file.name for file in (tmp_path / "set").rglob("*"))
    with pytest.raises(UserError, match="holds files that no run of this command made"):
        main(certify_config(inputs, tmp_path / "set"))
    assert sorted(file.name for file in (tmp_path / "set").rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stack": "a"}, "the base classifier has no use for stack: leave it out, or give --base"),
        (
            {"base": "stack", "classifier": None, "stack": "a", "rows_per_call": 4},
            "the base stack has no use for rows_per_call: leave it out, or give --base classifier",
        ),
    ],
)
def test_an_option_that_the_base_would_not_look_at_is_refused(
    inputs: Path, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        main(certify_config(inputs, tmp_path / "set", **change))
    assert not (tmp_path / "set").exists()
