"""Reads a JobConfig from a command line: a YAML file, and flags that override it.

Every mistake becomes one line that names the key, what is wrong with it, and whether the file or a
flag gave it.
"""

import argparse
import inspect
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import CliPositionalArg, CliSettingsSource

from noisestack.config import Config, JobConfig
from noisestack.flag_values import WHOLE, list_of, mapping_of
from noisestack.mistakes import choices, explain, nearest
from noisestack.paths import refuse_address
from noisestack.shipped import config_path, configs
from pipeline.errors import UserError

_POSITIONAL = get_args(CliPositionalArg)[1]  # what CliPositionalArg[...] marks a field with


def flag_of(key: str) -> str:
    """The flag that sets a config's key: num_workers -> --num-workers."""
    return "--" + key.replace("_", "-")


def positional_of(config_class: type[JobConfig]) -> str | None:
    """The key whose value needs no flag, which is declared `CliPositionalArg`; None without one."""
    fields = config_class.model_fields.items()
    return next((key for key, field in fields if _POSITIONAL in field.metadata), None)


def read_config(config_class: type[Config], argv: Sequence[str], prog: str) -> Config:
    """The config that a command line describes.

    Args:
        config_class: the fields, their meanings and their bounds.
        argv: the arguments behind the command's name, `--config FILE.yaml` among them.
        prog: how the command was called, for `--help`.

    Raises:
        UserError: an unknown key, a value that does not fit, a file that cannot be read.
        SystemExit: after `--help` was printed.
    """
    parser = _Parser(config_class, prog)
    source = CliSettingsSource[Config](
        config_class,
        root_parser=parser,
        add_argument_method=_Parser.add_option,
        cli_implicit_flags=True,
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_parse_none_str="none",
    )
    # Intermixed: a positional argument may stand before, between and behind the flags.
    arguments, unknown = parser.parse_known_intermixed_args(list(argv))
    if unknown:
        parser.refuse(unknown[0])
    file: str | None = vars(arguments).pop("config", None)
    try:
        refuse_address(file or "")
    except ValueError as error:
        raise UserError(f"--config: {error}") from None
    in_file = {} if file is None else read_yaml(config_path(file), config_class)
    several = {key: value for key, value in vars(arguments).items() if isinstance(value, list)}
    for key in several:
        delattr(arguments, key)
    flags = source(parsed_args=arguments)()
    flags = {
        key: _as_meant(flags.get(key), config_class.model_fields[key].annotation)
        for key in vars(arguments)
    } | {
        key: _several(texts, config_class.model_fields[key], _spelling(key, config_class))
        for key, texts in several.items()
    }
    try:
        return config_class(**{**in_file, **flags})
    except ValidationError as error:
        origins = {key: f"{file}: {key}" for key in in_file}
        origins |= {key: _spelling(key, config_class) for key in flags}
        raise UserError(
            explain(
                error,
                origins,
                config_class,
                lambda key: _spelling(key, config_class),
                _how_to_give,
            )
        ) from error


def read_yaml(path: Path, config_class: type[JobConfig]) -> dict[str, Any]:
    """The keys and values of a YAML file, each key being one of config_class's.

    Raises:
        UserError: no such file, not YAML (with the line), not a mapping, a key that is unknown
            (with the nearest) or that stands there twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        if isinstance(error, FileNotFoundError):
            if path.stem in configs():
                reason += f"; --config {path.stem} is the one that comes along"
            elif path.name == str(path) and not path.suffix:
                near = nearest(path.name, list(configs()))
                reason += f"; of those that come along the nearest is {near} (`noisestack configs`)"
        raise UserError(f"--config: cannot read {path}: {reason}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f"line {mark.line + 1}: "
        problem = getattr(error, "problem", None) or error
        raise UserError(f"{path}: {line}not valid YAML: {problem}") from error
    if node is None:  # an empty file says nothing, which is allowed
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise UserError(
            f"{path}: expected lines of the form `key: value`, found {text.split()[0]!r}"
        )
    keys = list(config_class.model_fields)
    seen: set[str] = set()
    for key_node, value_node in node.value:
        line, key = key_node.start_mark.line + 1, str(key_node.value)
        if key not in keys:
            raise UserError(
                f"{path}: line {line}: unknown key {key!r}; the nearest is {nearest(key, keys)!r}"
            )
        if key in seen:
            raise UserError(f"{path}: line {line}: the key {key!r} stands here a second time")
        seen.add(key)
        _refuse_twice(value_node, path)
    return dict(values)


def _refuse_twice(node: yaml.Node, path: Path) -> None:
    """Refuses equal keys within a key's own mapping, of which YAML would take the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                line = key.start_mark.line + 1
                raise UserError(f"{path}: line {line}: {name!r} stands here a second time")
            seen.add(name)


class _Parser(argparse.ArgumentParser):
    """argparse with a help page for people, and errors that are UserErrors."""

    def __init__(self, config_class: type[JobConfig], prog: str) -> None:
        paragraphs = (inspect.getdoc(config_class) or "").split("\n\n")
        self._positional = positional_of(config_class)
        first = f"{self._positional.upper()} " if self._positional else ""
        super().__init__(
            prog=prog,
            usage=f"%(prog)s {first}[--config FILE.yaml] [--key VALUE …]",
            description=paragraphs[0],
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30),
            allow_abbrev=False,
        )
        self._fields = config_class.model_fields
        self._required = self.add_argument_group("required, by flag or in the file")
        self._optional = self.add_argument_group("optional")
        self.add_argument(
            "--config",
            metavar="FILE.yaml",
            default=argparse.SUPPRESS,
            help="YAML file with the keys below, spelt with _ for -, or the name of one that "
            "`noisestack configs` lists; flags override it",
        )

    def add_option(self, *names: str, **options: Any) -> argparse.Action:
        """Called by pydantic-settings for each field, with a help text and metavar of its own."""
        field = self._fields[options.get("dest", names[0])]
        group = self._required if field.is_required() else self._optional
        if "dest" not in options:  # it stands without a flag; the file may give it instead
            options |= {"nargs": "?", "default": argparse.SUPPRESS}
        elif "metavar" in options:  # a pair of --key and --no-key has none
            options["metavar"] = "TEXT" if _is_whole(field) else _metavar(field.annotation)
        # A key of one letter is spelled as the others are: pydantic-settings would have it as -n.
        names = tuple(f"-{n}" if len(n) == 2 and n.startswith("-") else n for n in names)
        return group.add_argument(*names, **{**options, "help": _help(field).replace("%", "%%")})

    def refuse(self, argument: str) -> NoReturn:
        if not argument.startswith("-"):
            rule = "every value follows a flag"
            if self._positional:
                rule = f"every value but {self._positional.upper()} follows a flag"
            self.error(f"unexpected argument {argument!r}; {rule}; see --help")
        name = argument.partition("=")[0]
        flags = [option for action in self._actions for option in action.option_strings]
        self.error(f"unknown flag {name}; the nearest is {nearest(name, flags)}")

    def error(self, message: str) -> NoReturn:
        if message.endswith("expected one argument"):
            message += "; a value that begins with a dash is written --key=VALUE"
        raise UserError(message.removeprefix("argument "))


def _spelling(key: str, config_class: type[JobConfig]) -> str:
    """A key on the command line: its flag, or its name in capitals if it needs none."""
    return key.upper() if key == positional_of(config_class) else flag_of(key)


def _how_to_give(missing: Sequence[str]) -> str:
    how = "as a flag" if all(name.startswith("--") for name in missing) else "here"
    return f"give it {how} or in the --config file"


def _help(field: FieldInfo) -> str:
    if field.is_required():
        return field.description or ""
    default = field.get_default(call_default_factory=True, validated_data={})
    match default:
        case bool():
            shown = "on" if default else "off"
        case tuple() | list():
            shown = ",".join(map(str, default)) or "empty"
        case _:
            shown = "none" if default is None else str(default)
    return f"{field.description or ''} (default: {shown})".strip()


def _metavar(annotation: Any) -> str:
    """The text after a flag in `--help`: FLOAT, PATH, {a,b}, INT,INT,…, TEXT=INT,… for instance."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        options = [_metavar(option) for option in arguments if option is not NoneType]
        return options[0] if len(options) == 1 else "|".join(o.strip("{}") for o in options)
    if origin is Literal:
        return "{" + ",".join(map(str, arguments)) + "}"
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"{_metavar(arguments[0])},…"
        return ",".join(map(_metavar, arguments))
    if origin is dict:
        return f"{_metavar(arguments[0])}={_metavar(arguments[1])},…"
    if origin is Annotated:
        return _metavar(arguments[0])
    if annotation is str:
        return "TEXT"
    return str(getattr(origin or annotation, "__name__", annotation)).upper()


def _is_whole(field: FieldInfo) -> bool:
    return WHOLE in field.metadata


def _several(texts: Sequence[str], field: FieldInfo, flag: str) -> Any:
    """The values of a flag that takes a list or a mapping, as text."""
    if "=" in _metavar(field.annotation):
        value = mapping_of(texts, flag)
    else:
        value = list_of(texts, flag, whole=_is_whole(field))
    if value is None and NoneType not in get_args(field.annotation):
        return ["none"]
    return value


def _as_meant(value: Any, annotation: Any) -> Any:
    """Corrects a flag's value where pydantic-settings does not respect the key's type.

    It passes "none" as None, even for a key that does not allow None, and a number that is one of a
    Literal's choices as text.
    """
    options = choices(annotation)
    allows_none = NoneType in get_args(annotation) and "none" not in options
    if value is None:
        return None if allows_none else "none"
    return next((choice for choice in options if str(choice) == value), value)
