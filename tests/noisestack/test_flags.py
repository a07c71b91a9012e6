import re
from importlib import import_module
from pathlib import Path
from typing import Annotated

import pytest
from example import ExampleConfig
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_settings import CliPositionalArg

from noisestack.__main__ import COMMANDS
from noisestack.config import JobConfig
from noisestack.flag_values import mapping_of
from noisestack.flags import read_config
from pipeline.errors import UserError


def read(*argv):
    return read_config(ExampleConfig, argv, "noisestack example")


def message(*argv):
    with pytest.raises(UserError) as caught:
        read(*argv)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.fixture
def yaml_file(tmp_path):
    def write(text):
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_defaults_hold_where_nothing_is_said():
    config = read("--output", "out")
    assert config == ExampleConfig(output="out")


@pytest.mark.parametrize(
    ("argv", "key", "value"),
    [
        (["--steps", "9"], "steps", 9),
        (["--steps=9"], "steps", 9),
        (["--rate", "1e-4"], "rate", 1e-4),
        (["--rate=-1e-4"], "rate", -1e-4),
        (["--rate", "8/255"], "rate", 8 / 255),
        (["--rate", ".5"], "rate", 0.5),
        (["--rate= -.5 / 1.5 "], "rate", -1 / 3),
        (["--layers", "8,4,2"], "layers", (8, 4, 2)),
        (["--layers", "[8, 4, 2]"], "layers", (8, 4, 2)),
        (["--layers", "8", "--layers", "4"], "layers", (8, 4)),
        (["--layers", "none"], "layers", None),
        (["--labels", "cat,3"], "labels", ("cat", "3")),
        (["--size", "3,4"], "size", (3, 4)),
        (["--labels", "none,cat"], "labels", ("none", "cat")),
        (["--labels", '"a, b",c=d,"say ""hi"""'], "labels", ("a, b", "c=d", 'say "hi"')),
        (
            ["--labels", r'["a, \"b\"", none, 007]'],
            "labels",
            ('a, "b"', "none", "007"),
        ),
        (["--labels", '5" disk, [x] , 007,-'], "labels", ('5" disk', "[x]", "007", "-")),
        (["--labels", '"none"'], "labels", ("none",)),
        (["--size", "[3,4]"], "size", (3, 4)),
        (["--shares", "3"], "shares", 3),
        (["--shares", "none"], "shares", None),
        (["--shares", "a=b=1,c=2"], "shares", {"a=b": 1, "c": 2}),
        (["--shares", '"c, d"=1,"e=f"=2'], "shares", {"c, d": 1, "e=f": 2}),
        (["--shares", '{"c, d":1, e=f: 2}'], "shares", {"c, d": 1, "e=f": 2}),
        (["--shares", "a=1", "--shares", "b=2"], "shares", {"a": 1, "b": 2}),
        (["--sampler", "ddim"], "sampler", "ddim"),
        (["--guide", "none"], "guide", "none"),
        (["--name", "none"], "name", "none"),
        (["--workers", "4"], "workers", 4),
        (["--workers", "auto"], "workers", "auto"),
        (["--model", "none"], "model", None),
        (["--channels", "3"], "channels", 3),
        (["--channels", "none"], "channels", None),
        (["--overwrite"], "overwrite", True),
        (["--overwrite", "--no-overwrite"], "overwrite", False),
    ],
)
def test_a_flag_sets_its_key(argv, key, value):
    assert getattr(read("--output", "out", *argv), key) == value


def test_a_key_of_one_letter_is_a_flag_as_the_others_are():
    class Votes(JobConfig):
        """Counts votes."""

        n: int = Field(1, description="how many")
        n0: int = Field(2, description="before these")

    assert read_config(Votes, ["--n", "5", "--n0=6"], "votes") == Votes(n=5, n0=6)
    assert read_config(Votes, ["--n=5"], "votes").n == 5


def test_flags_override_the_file_and_the_file_the_defaults(yaml_file):
    file = yaml_file("output: out\nsteps: 5\nrate: 1e-3\nlayers: [3]\nlabels: [7, cat]\n")
    config = read("--steps", "6", "--config", file)
    assert (config.steps, config.rate, config.layers) == (6, 1e-3, (3,))
    assert config.labels == ("7", "cat")


def test_an_empty_file_says_nothing(yaml_file):
    assert read("--config", yaml_file("# nothing yet\n"), "--output", "o").steps == 8


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "missing: --output; give it as a flag or in the --config file"),
        (["--outptu", "a"], "unknown flag --outptu; the nearest is --output"),
        (["--overw"], "unknown flag --overw; the nearest is --overwrite"),
        (["out"], "unexpected argument 'out'; every value follows a flag; see --help"),
        (["--steps", "0"], "--steps: should be greater than 0, not '0'"),
        (["--steps", "many"], "--steps: should be a valid integer, not 'many'"),
        (["--rate", "nan"], "--rate: should be a finite number, not 'nan'"),
        (["--layers", "8,x"], "--layers: item 2 should be a valid integer, not 'x'"),
        (
            ["--sampler", "huen"],
            "--sampler: should be 'heun' or 'ddim', not 'huen' (the nearest is heun)",
        ),
        (
            ["--workers", "x"],
            "--workers: should be a valid integer or should be 'auto', not 'x' "
            "(the nearest is auto)",
        ),
        (["--channels", "2"], "--channels: should be 1 or 3, not '2'"),
        (["--order", "up,dwn"], "--order: item 2 should be 'up' or 'down', not 'dwn'"),
        (["--steps", "1"], "there are more layers than steps; raise steps"),
        (["--shares", "cat=x"], "--shares: should be a valid integer, not 'x'"),
        (["--shares", "a=1,b"], "--shares: 'a=1,b' is not KEY=VALUE,KEY=VALUE"),
        (["--shares", "a=1,a=2"], "--shares: 'a' comes twice; give it once"),
        (["--shares", '{"a": 1, "a": 2}'], "--shares: 'a' comes twice; give it once"),
        (["--labels", 'x,"a,b'], "--labels: a quote in 'x,\"a,b' does not close"),
        (
            ["--labels", "[a, [b]"],
            "--labels: '[a, [b]' is no list or mapping in brackets: expected ',' or ']', but got "
            "'<stream end>'",
        ),
        (
            ["--shares", "{[a]: 1}"],
            "--shares: '{[a]: 1}' is no list or mapping in brackets: found unhashable key",
        ),
        (["--labels", '"a"b'], "--labels: '\"a\"b' has something between a quote and a comma"),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(argv, told):
    needed = [] if argv in ([], ["--outptu", "a"]) else ["--output", "o"]
    assert message(*needed, *argv) == told


def test_each_wrong_key_is_told():
    line = message("--output", "o", "--steps", "0", "--rate", "x")
    assert "--steps" in line
    assert "--rate" in line


def test_a_value_with_a_dash_is_told_how_to_be_written():
    assert "--key=VALUE" in message("--output", "o", "--rate", "-1e-4")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps: 0\noutput: o\n", "{file}: steps: should be greater than 0, not 0"),
        ("output: o\nstpes: 9\n", "{file}: line 2: unknown key 'stpes'; the nearest is 'steps'"),
        ("output: o\n8: 9\n", "{file}: line 2: unknown key '8'; the nearest is"),
        ("output: o\noutput: p\n", "{file}: line 2: the key 'output' stands here a second time"),
        ("output: o\nshares: {a: 1, a: 2}\n", "{file}: line 2: 'a' stands here a second time"),
        ("output: o\n  steps: 8\n", "{file}: line 2: not valid YAML"),
        ("output: !!python/object:os.system o\n", "{file}: line 1: not valid YAML"),
        ("- output\n", "{file}: expected lines of the form `key: value`, found '-'"),
        ("output\n", "{file}: expected lines of the form `key: value`, found 'output'"),
    ],
)
def test_a_wrong_file_is_told_with_its_name_and_line(yaml_file, text, told):
    file = yaml_file(text)
    assert message("--config", file).startswith(told.format(file=file))


@pytest.mark.parametrize(
    ("text", "mapping"),
    [
        ('a="x, y",b=z', {"a": "x, y", "b": "z"}),
        ('a="k=v",b="say ""no"""', {"a": "k=v", "b": 'say "no"'}),
        ('"p, q"="x,y" ,r= " s "', {"p, q": "x,y", "r": " s "}),
        ("k=v=1", {"k=v": "1"}),
        ('a=""', {"a": ""}),
        ('a"b=1', {'a"b': "1"}),
    ],
)
def test_a_mappings_value_in_quotes_may_hold_what_parts_pairs(text, mapping):
    assert mapping_of([text], "--named") == mapping


@pytest.mark.parametrize("text", ['a="x', 'a="x,b=1', '"a" b="x"', 'a="x" y'])
def test_a_mapping_with_a_quote_that_does_not_close_or_with_more_than_a_value_is_refused(text):
    with pytest.raises(UserError, match=r"--named: .*(does not close|is not KEY=VALUE)"):
        mapping_of([text], "--named")


def test_a_mapping_is_given_by_pairs_or_in_yaml(yaml_file):
    pairs = {"a cat": 2, "3": 4}
    assert read("--output", "o", "--shares", "a cat=2,3=4").shares == pairs
    in_file = yaml_file("output: o\nshares: {a cat: 2, 3: 4}\n")
    assert read("--config", in_file).shares == pairs
    assert read("--config", in_file, "--shares", "7").shares == 7
    assert read("--config", in_file, "--shares", "none").shares is None


def test_a_flag_that_overrides_a_wrong_value_of_the_file_mends_it(yaml_file):
    assert read("--config", yaml_file("steps: 0\noutput: o\n"), "--steps", "9").steps == 9


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    binary = tmp_path / "model.safetensors"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nope.yaml", tmp_path, binary):
        assert message("--config", str(path)).startswith(f"--config: cannot read {path}: ")


def test_help_says_meaning_choices_and_default_of_every_key(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stopped:
        read("--help")
    assert stopped.value.code == 0
    page = capsys.readouterr().out
    assert page.startswith("usage: noisestack example [--config FILE.yaml] [--key VALUE …]\n")
    assert "Makes an example." in page
    assert "second paragraph" not in page
    options = re.sub(r"\s+", " ", page)
    for line in (
        "--output PATH directory that the example is written to",
        "--rate FLOAT how fast, 100% being 1 (default: 0.1)",
        "--layers INT,… layers of each stage (default: 8,4)",
        "--labels TEXT,… classes that are wanted (default: empty)",
        "--size INT,INT height and width in pixels (default: none)",
        "--sampler {heun,ddim} the way up the stack (default: heun)",
        "--workers INT|auto how many (default: auto)",
        "--shares INT|TEXT=INT,… how many of each (default: none)",
        "--overwrite, --no-overwrite replace finished results (default: off)",
    ):
        assert line in options
    assert page.index("required") < page.index("--output") < page.index("optional")


class PlaceConfig(JobConfig):
    """Looks at a place."""

    place: CliPositionalArg[Path] = Field(description="what is looked at")
    depth: int = Field(3, description="how far down")


def look(*argv):
    return read_config(PlaceConfig, argv, "noisestack look")


@pytest.mark.parametrize(
    ("argv", "depth"),
    [
        (["here"], 3),
        (["here", "--depth", "4"], 4),
        (["--depth", "4", "here"], 4),
        (["--depth=4", "here"], 4),
    ],
)
def test_one_value_may_stand_without_a_flag_wherever_it_stands(argv, depth):
    assert look(*argv) == PlaceConfig(place=Path("here"), depth=depth)


def test_the_file_may_give_it_and_the_command_line_overrides_it(yaml_file):
    file = yaml_file("place: there\n")
    assert look("--config", file).place.name == "there"
    assert look("--config", file, "here").place.name == "here"


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "missing: PLACE; give it here or in the --config file"),
        (
            ["here", "there"],
            "unexpected argument 'there'; every value but PLACE follows a flag; see --help",
        ),
        (["here", "--detph", "4"], "unknown flag --detph; the nearest is --depth"),
        (["here", "--depth", "x"], "--depth: should be a valid integer, not 'x'"),
        (["here", "--depth"], "--depth: expected one argument; a value that begins with a dash"),
    ],
)
def test_what_is_wrong_beside_it_is_told_in_one_line(argv, told):
    with pytest.raises(UserError) as caught:
        look(*argv)
    assert str(caught.value).startswith(told)


def test_help_names_it_in_capitals_where_it_stands(capsys):
    with pytest.raises(SystemExit):
        look("--help")
    page = capsys.readouterr().out
    assert page.startswith("usage: noisestack look PLACE [--config FILE.yaml] [--key VALUE …]\n")
    assert re.search(r"required, by flag or in the file:\n  PLACE +what is looked at\n", page)


def test_a_config_file_at_an_address_is_refused_as_one():
    assert message("--config", "gs://bucket/run.yaml").startswith(
        "--config: gs://bucket/run.yaml is an address, not a path; "
    )


class Shares(JobConfig):
    share: tuple[float, ...] = Field(description="numbers")
    half: float | None = Field(None, description="a number")
    count: int = Field(1, description="a whole number")
    name: str = Field("", description="a text")


@pytest.mark.parametrize("listed", ["1,.5,1/3", "[1, .5, 1/3]"])
def test_fractions_are_numbers_where_a_number_is_wanted_and_only_there(yaml_file, listed):
    flags = ["--share", listed, "--half", "1/2", "--name", "1/2"]
    told = read_config(Shares, flags, "noisestack shares")
    assert (told.share, told.half, told.name) == ((1.0, 0.5, 1 / 3), 0.5, "1/2")
    file = yaml_file("share: [1, .5, 1/3]\nhalf: 1/2\nname: 1/2\n")
    assert read_config(Shares, ["--config", file], "noisestack shares") == told
    with pytest.raises(UserError, match="--half: 1/0 divides by 0"):
        read_config(Shares, ["--share", "1", "--half", "1/0"], "noisestack shares")
    for half in ("1/x", "8/255/2", "1/-2", "1//2"):
        with pytest.raises(UserError, match=f"--half: should be a valid number, not '{half}'"):
            read_config(Shares, ["--share", "1", "--half", half], "noisestack shares")
    with pytest.raises(UserError, match="--count: should be a valid integer"):
        read_config(Shares, ["--share", "1", "--count", "4/2"], "noisestack shares")


def test_a_seed_of_any_command_is_an_int64_from_0():
    seeds = [
        TypeAdapter(Annotated[field.annotation, *field.metadata])
        for module, _ in COMMANDS.values()
        for name, field in import_module(module).COMMAND.config_class.model_fields.items()
        if name == "seed" or name.endswith("_seed")
    ]
    assert len(seeds) >= 9
    for seed in seeds:
        assert seed.validate_python(2**63 - 1) == 2**63 - 1
        for wrong in (-1, 2**63):
            with pytest.raises(ValidationError):
                seed.validate_python(wrong)
