"""Recipes: one YAML file, then dotted overrides, validated before anything starts.

A recipe is a mapping of sections. `name` and `seed` are its base; every other top-level key is a section that an
installed package registers under the entry point group `headwater.sections`. A command validates the sections it
reads; a misspelt section or key is refused with the nearest valid name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from headwater.core.errors import ConfigError

SECTIONS_GROUP = "headwater.sections"
_SHOWN = 200

Whole = Annotated[int, Field(le=10**15)]
"""Every whole number that a recipe gives: more than any count of bytes, tokens or steps, and far inside 64 bits."""

Ratio = Annotated[float, Field(ge=0, le=1)]
"""A share or a score, 0 to 1."""


class NotValid(ValueError):
    """What a validator raises to refuse a value with advice.

    Args:
        expected: What is allowed.
        hint: What the reader can do now.
        key: Of a section that is refused as a whole, the key that is wrong.
    """

    def __init__(self, expected: str, hint: str | None = None, key: str | None = None) -> None:
        super().__init__(expected)
        self.hint, self.key = hint, key


_NO_NUMBER = PydanticCustomError("no_number", "a number, not true or false (YAML reads yes, no, on and off as those)")


class Section(BaseModel):
    """Base of every configuration model: unknown keys are refused, numbers are finite, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, given: Any) -> Any:
        """Refuses true and false where a number is asked: pydantic would take them for 1 and 0."""
        values: Mapping[str, Any] = cast("Any", given) if isinstance(given, Mapping) else {}
        problems = [
            InitErrorDetails(type=_NO_NUMBER, loc=(name, *path), input=truth)
            for name, field in cls.model_fields.items()
            if name in values and _asks_for_numbers(field.annotation)
            for path, truth in _truths(values[name])
        ]
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        return cast("Any", given)


def _asks_for_numbers(annotation: Any) -> bool:
    """Whether numbers are all that true and false could be taken for, at whatever depth of lists and mappings."""
    kinds = set(_kinds(annotation))
    return not kinds.isdisjoint((int, float)) and not any(
        kind in (bool, Any, object) or issubclass(kind, BaseModel) for kind in kinds
    )


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types in an annotation, and those of its literals."""
    if parts := get_args(annotation):
        for part in parts:
            yield from _kinds(part)
    elif annotation is Any or isinstance(annotation, type):
        yield annotation
    elif isinstance(annotation, bool | int | float):
        yield type(annotation)


def _truths(value: Any, path: tuple[int | str, ...] = ()) -> Iterator[tuple[tuple[int | str, ...], bool]]:
    """Every true and false in a value of lists and mappings, with its place."""
    if isinstance(value, bool):
        yield path, value
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
    elif isinstance(value, list | tuple):
        items = enumerate(cast("Sequence[Any]", value))
    for key, item in items:
        yield from _truths(item, (*path, key))


class Base(Section):
    """The keys of a recipe that belong to no stage.

    Attributes:
        name: Name of the run, for people.
        seed: Seed of everything random: sample order, initial weights, dropout.
    """

    name: str = Field(min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**63)


ModelT = TypeVar("ModelT", bound=BaseModel)


def read_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Reads a recipe and applies overrides, without validating the sections' content.

    Args:
        recipe: Path of a YAML file, or the bare name of one in `./recipes`.
        overrides: `dotted.path=value`, the value parsed as YAML.

    Raises:
        ConfigError: No such recipe, not YAML, an unknown section, or a malformed override.
    """
    path = find_recipe(recipe)
    value = read_mapping(path, "recipe")
    for override in overrides:
        _apply(value, override)
    allowed = {*Base.model_fields, *(point.name for point in entry_points(group=SECTIONS_GROUP))}
    for key in value:
        if key not in allowed:
            raise _unknown_key(str(key), str(key), allowed, where=f"recipe {path}")
    return value


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The content of a YAML file that people write: a mapping in which no key is there twice.

    Args:
        path: The file.
        what: What it is, for messages.

    Raises:
        ConfigError: It is not YAML, or no mapping.
    """
    try:
        loaded: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError) as error:  # also no UTF-8, no date, a number of thousands of digits
        raise ConfigError(f"{what} {path} is not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{what} {path} is nested too deeply to be read") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{what} {path} is not a mapping", found=type(loaded).__name__)
    return cast("dict[str, Any]", loaded)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with two rules of YAML 1.2 in the place of those of 1.1.

    A key may not be there twice (3.2.1.1): one would be lost silently. And a number has base ten unless it begins with
    0x or 0b (10.3.2): to YAML 1.1, 010 is 8 and 1:30 is 90. 1_000 stays a thousand, as in Python and TOML.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float | str:
        """The number of a node; its text where only YAML 1.1 sees a number, or another one."""
        if ":" in node.value or re.match(r"[-+]?0[0-9_]+$", node.value):
            return str(node.value)
        return self.construct_yaml_int(node) if node.tag.endswith(":int") else self.construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)


def find_recipe(recipe: str | Path) -> Path:
    """Path of a recipe given by path or by bare name (`demo` → `recipes/demo.yaml`).

    Raises:
        ConfigError: There is no such file.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    folder = Path("recipes")
    named = folder / f"{recipe}.yaml"
    if named.is_file():
        return named
    if path.exists():
        raise ConfigError(f"the recipe {recipe} is not a file", found="a folder" if path.is_dir() else "a device",
                          expected="a YAML file")  # fmt: skip
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    near = nearest(str(recipe), known)
    raise ConfigError(
        f"there is no recipe {recipe}",
        expected=f"a YAML file, or one of: {', '.join(known) or 'none here'}",
        hint=f"did you mean {near}?" if near else None,
    )


def load_section(section: str, model: type[ModelT], recipe: str | Path, overrides: Sequence[str] = ()) -> ModelT:
    """One section of a recipe, validated.

    Args:
        section: The section's name.
        model: Its pydantic model.
        recipe: As `read_recipe`.
        overrides: As `read_recipe`.

    Raises:
        ConfigError: An unknown key, a wrong type or a value out of range; it names the dotted path, what was
            given, what is allowed, and the nearest valid key.
    """
    return validate(model, read_recipe(recipe, overrides).get(section, {}), section)


def load_base(recipe: str | Path, overrides: Sequence[str] = ()) -> Base:
    """The recipe's `name` and `seed`.

    Raises:
        ConfigError: As `load_section`.
    """
    value = read_recipe(recipe, overrides)
    return validate(Base, {key: value[key] for key in Base.model_fields if key in value}, "")


def resolve_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The whole recipe with every section validated and every default filled in; itself a valid recipe.

    Raises:
        ConfigError: As `load_section`, for any section.
    """
    value = read_recipe(recipe, overrides)
    base = validate(Base, {key: value[key] for key in Base.model_fields if key in value}, "")
    resolved: dict[str, Any] = base.model_dump(mode="json")
    for point in sorted(entry_points(group=SECTIONS_GROUP), key=lambda point: point.name):
        if point.name in value:
            resolved[point.name] = validate(point.load(), value[point.name], point.name).model_dump(mode="json")
    return resolved


def validate(model: type[ModelT], value: Any, where: str) -> ModelT:
    """Validates a value against a model.

    Args:
        model: A pydantic model.
        value: What was given.
        where: Dotted path of the value, for messages.

    Raises:
        ConfigError: As `load_section`.
    """
    if value is None:
        value = {}
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _explain(error, model, value, where) from error


def _explain(error: ValidationError, model: type[BaseModel], value: Any, where: str) -> ConfigError:
    problems = error.errors()
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    absent = first["type"] in ("missing", "extra_forbidden")
    path = ".".join([where, *_keys_of(first["loc"], value, absent)]).strip(".")
    if first["type"] == "extra_forbidden":
        return _unknown_key(path, str(first["loc"][-1]), _fields_at(model, first["loc"][:-1]))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "missing":
        return ConfigError(f"{path} is missing{more}", hint="add it to the recipe, or give it on the command line")
    given, hint = first["input"], None
    if isinstance(raised := first.get("ctx", {}).get("error"), NotValid):
        hint = raised.hint
        if raised.key is not None:
            path, given = f"{path}.{raised.key}", given[raised.key]
    found = repr(given)
    found = found if len(found) <= _SHOWN else f"{found[:_SHOWN]} …"
    return ConfigError(
        f"{path} is not valid{more}", found=found, expected=first["msg"].removeprefix("Value error, "),
        hint=hint,
    )  # fmt: skip


def _keys_of(location: Sequence[int | str], value: Any, absent: bool) -> list[str]:
    """The keys of `value` along an error's location, without the tags that pydantic puts between and after them.

    Args:
        location: Where pydantic found the error.
        value: What was given.
        absent: Whether the last part of the location is a key although `value` need not have it.
    """
    keys: list[str] = []
    here: Any = value
    for place, part in enumerate(location):
        known = {str(key): key for key in cast("Mapping[Any, Any]", here)} if isinstance(here, Mapping) else {}
        if str(part) in known:  # pydantic writes very large numbers as text
            here = cast("Mapping[Any, Any]", here)[known[str(part)]]
        elif isinstance(here, list | tuple) and isinstance(part, int) and part < len(cast("Sequence[Any]", here)):
            here = cast("Sequence[Any]", here)[part]
        elif place < len(location) - 1 or not absent:
            continue  # no key of the value: the tag of a union, or pydantic's "[key]"
        keys.append(str(part))
    return keys


def _unknown_key(path: str, key: str, allowed: Iterable[str], where: str | None = None) -> ConfigError:
    names = sorted(allowed)
    near = nearest(key, names)
    return ConfigError(
        f"unknown key {path}" + (f" in {where}" if where else ""),
        expected=f"one of: {', '.join(names)}",
        hint=f"did you mean {near}?" if near else None,
    )


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that a misspelt one was most likely meant to be; none if all are far off."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return close[0] if close else None


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Field names of the model that `location` leads to, through nested models, lists, mappings and unions."""
    candidates: list[type[BaseModel]] = [model]
    for part in location:
        following: list[type[BaseModel]] = []
        for candidate in candidates:
            field = candidate.model_fields.get(str(part))
            if field is not None:
                following += _models_in(field.annotation)
            elif issubclass(candidate, RootModel):
                following += _models_in(candidate.model_fields["root"].annotation)
        # A location also holds dictionary keys, list indices and union tags, which lead to no new model.
        candidates = following or _tagged(candidates, str(part))
    return sorted({name for candidate in candidates for name in candidate.model_fields})


def _tagged(candidates: list[type[BaseModel]], tag: str) -> list[type[BaseModel]]:
    literals = {c: [get_args(field.annotation) for field in c.model_fields.values()] for c in candidates}
    own = [c for c in candidates if (tag,) in literals[c]]  # of this name alone
    return own or [c for c in candidates if any(tag in values for values in literals[c])] or candidates


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if issubclass(annotation, RootModel):
            return _models_in(annotation.model_fields["root"].annotation)
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _apply(value: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(
            f"cannot read the override {override!r}", expected="dotted.path=value, for example train.steps=200"
        )
    try:
        parsed: Any = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"the value of override {path} is not valid YAML", found=text) from error
    *parents, last = path.split(".")
    here: Any = value
    for part in parents:
        key = _key(here, part, path)
        if isinstance(here, dict) and cast("dict[str, Any]", here).get(part) is None:
            here[key] = {}
        here = cast("dict[str | int, Any]", here)[key]
    here[_key(here, last, path)] = parsed


def _key(here: Any, part: str, path: str) -> str | int:
    """The key under which `part` of the dotted `path` is found in `here`: a mapping's key or a list's index."""
    if isinstance(here, dict):
        return part
    if not isinstance(here, list):
        raise ConfigError(f"the override {path} goes into a value that has no keys", found=repr(here))
    count = len(cast("list[Any]", here))
    if not part.isdecimal() or int(part) >= count:
        raise ConfigError(f"the override {path} names no item of a list", found=part, expected=f"0 to {count - 1}")
    return int(part)


def dump_yaml(value: Mapping[str, Any]) -> str:
    """A recipe as YAML text, in the order given."""
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=120)
