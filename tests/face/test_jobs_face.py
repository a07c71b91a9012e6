"""`ns.jobs`: the commands as functions, refused as the command line refuses, in one line."""

from pathlib import Path

import pytest
from planted_sets import write_dataset

import noisestack as ns
from jobs.generate import GenerateConfig
from jobs.verify import VerifyConfig
from noisestack.__main__ import COMMANDS


def test_the_jobs_are_those_of_the_command_line() -> None:
    homes = {name.replace("-", "_"): module for name, (module, _) in COMMANDS.items()}
    names = {name for name, module in homes.items() if module.startswith("jobs.")}
    assert names == set(homes) - {"serve", "configs"}
    assert set(dir(ns.jobs)) == names
    assert set(ns.jobs.__annotations__) >= names  # what a type checker knows of them
    assert all(getattr(ns.jobs, name).__doc__ for name in names)
    assert ns.jobs.generate.config is GenerateConfig
    with pytest.raises(AttributeError, match="there is no job 'serve'"):
        ns.jobs.serve  # noqa: B018


def test_a_job_takes_keywords_a_mapping_its_config_or_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_dataset(tmp_path / "set")
    file = tmp_path / "verify.yaml"
    file.write_text(f"directory: {path}\nlimit: 3\n")
    config = VerifyConfig(directory=path)
    for given in ({"directory": path}, {"directory": str(path)}, config, file, str(file)):
        assert ns.jobs.verify(given) == 0
    assert ns.jobs.verify(directory=path) == 0
    assert ns.jobs.verify(config, limit=4) == 0
    with pytest.raises(ns.UserError, match="itself holds nothing to verify"):
        ns.jobs.verify(config, directory=tmp_path)  # a keyword overrides
    assert capsys.readouterr().out.count("ok: ") == 7


@pytest.mark.parametrize(
    ("config", "keys", "told"),
    [
        (None, {"modle": "x"}, "unknown key 'modle'; the nearest is 'model'"),
        ({"modle": "x"}, {}, "unknown key 'modle'"),
        (None, {"count": 0}, "count: should be greater than or equal to 1, not 0"),
        (None, {}, "missing: model, output; give it as a keyword"),
        ({"model": "m", "output": "o"}, {"sampler": "heum"}, "the nearest is heun"),
        (None, {"model": "s3://b/m", "output": "o"}, "model: s3://b/m is an address"),
        (VerifyConfig(directory=Path("x")), {}, "a VerifyConfig is no config of this job"),
        (7, {}, "a int is no config"),
        ("missing.yaml", {}, "cannot read missing.yaml"),
        (None, {"model": "missing", "output": "out"}, "missing"),
    ],
)
def test_a_wrong_config_is_refused_in_one_line_before_anything_starts(
    config: object, keys: dict[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ns.UserError, match=told) as caught:
        ns.jobs.generate(config, **keys)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
