from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field, RootModel

from headwater.core.config import NotValid, Section, load_base, nearest, read_recipe, resolve_recipe, validate
from headwater.core.errors import ConfigError
from headwater.core.mixture import Mixture


class Inner(Section):
    learning_rate: float = Field(default=1e-3, gt=0)
    steps: int = 10


class Outer(Section):
    optimizer: Inner = Inner()
    stages: dict[str, Inner] = {}
    steps: list[Inner] = []
    weights: dict[str, Annotated[float, Field(gt=0)]] = {}
    stop: Literal[1, 2] | None = None
    compile: bool = False
    options: dict[str, Any] = {}
    shuffle: bool | int = False


def recipe(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return path


def test_overrides_reach_mappings_and_lists(tmp_path):
    path = recipe(tmp_path, "name: a\nmixture:\n  weights: {web: 1}\n")
    value = read_recipe(path, ["mixture.weights.code=2.5", "seed=7", "mixture.block=64"])
    assert value == {"name": "a", "seed": 7, "mixture": {"weights": {"web": 1, "code": 2.5}, "block": 64}}
    path = recipe(tmp_path, "name: a\nmixture: {weights: [{a: 1}]}\n")
    assert read_recipe(path, ["mixture.weights.0.a=3"])["mixture"] == {"weights": [{"a": 3}]}


def test_a_resolved_recipe_is_a_valid_recipe_with_the_same_meaning(tmp_path):
    import yaml

    path = recipe(tmp_path, "name: a\nmixture:\n  weights: {web: 1}\n")
    resolved = resolve_recipe(path, ["seed=3"])
    again = recipe(tmp_path, yaml.safe_dump(resolved))
    assert resolve_recipe(again) == resolved
    assert resolved["mixture"]["block"] == 1000


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"optimiser": {}}, r"(?s)unknown key train\.optimiser.*one of: compile, optimizer.*mean optimizer"),
        ({"optimizer": {"learning_rat": 1}}, r"(?s)unknown key train\.optimizer\.learning_rat.*mean learning_rate"),
        ({"stages": {"a": {"step": 1}}}, r"(?s)unknown key train\.stages\.a\.step.*mean steps"),
        ({"steps": [{"stepz": 1}]}, r"(?s)unknown key train\.steps\.0\.stepz.*mean steps"),
        (
            {"optimizer": {"learning_rate": -1}},
            r"(?s)train\.optimizer\.learning_rate is not valid.*found:\s+-1.*greater",
        ),
        ({"optimizer": {"steps": "many"}}, r"(?s)train\.optimizer\.steps is not valid.*'many'.*integer"),
        ({"optimizer": {"steps": True}}, r"(?s)train\.optimizer\.steps is not valid.*True.*a number, not true"),
        ({"steps": [{"learning_rate": True}]}, r"(?s)train\.steps\.0\.learning_rate is not valid.*found:\s+True"),
        ({"weights": {"web": 1, "code": False}}, r"(?s)train\.weights\.code is not valid.*found:\s+False"),
        ({"stop": True}, r"(?s)train\.stop is not valid.*a number"),
    ],
)
def test_refusals_name_path_found_allowed_and_nearest(value, message):
    with pytest.raises(ConfigError, match=message):
        validate(Outer, value, "train")


def test_true_and_false_stay_where_they_are_asked_for() -> None:
    given = {"compile": True, "options": {"a": True}, "shuffle": True}
    assert validate(Outer, given, "train").model_dump(include=set(given)) == given


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("name: a\nmixtur: {}\n", [], r"(?s)unknown key mixtur.*did you mean mixture"),
        ("- a\n", [], "not a mapping"),
        ("a: [\n", [], "not valid YAML"),
        ("name: " + "[" * 5000, [], "nested too deeply"),
        ("name: a\nmixture: {weights: {web: 1, web: 2}}\n", [], "(?s)web is there twice.*line 2"),
        ("name: a\nmixture: {weights: [1]}\n", ["mixture.weights.²=1"], "no item of a list"),
        ("name: 2026-13-45\n", [], "not valid YAML"),
        ("name: " + "9" * 5000, [], "not valid YAML"),
        ("name: a\n", ["seed=2026-13-45"], "override seed is not valid YAML"),
        ("name: a\n", ["mixture.weights={web: 1, web: 2}"], r"override mixture\.weights is not valid YAML"),
        ("name: a\n", ["seed"], r"dotted\.path=value"),
        ("name: a\n", ["name.first=b"], "has no keys"),
        ("name: a\nmixture: {weights: [1]}\n", ["mixture.weights.4=1"], r"(?s)no item of a list.*0 to 0"),
    ],
)
def test_malformed_recipes_and_overrides(tmp_path, text, overrides, message):
    with pytest.raises(ConfigError, match=message):
        read_recipe(recipe(tmp_path, text), overrides)


@pytest.mark.parametrize("written", ["1000", "1_000", "01000", "'1000'", "'1000 '", "1000 ", "0x3e8", "1000.0"])
def test_a_whole_number_has_base_ten_however_it_is_written(tmp_path, written):
    assert load_base(recipe(tmp_path, f"name: a\nseed: {written}\n")).seed == 1000
    assert load_base(recipe(tmp_path, "name: a\n"), [f"seed={written}"]).seed == 1000


def test_what_only_an_older_yaml_takes_for_a_number_is_text(tmp_path):
    with pytest.raises(ConfigError, match=r"(?s)seed is not valid.*'1:30'.*integer"):
        load_base(recipe(tmp_path, "name: a\n"), ["seed=1:30"])
    read = read_recipe(recipe(tmp_path, "name: 0012345\n"), ["report.title=1:30.5", "report.at=-0.5"])
    assert read == {"name": "0012345", "report": {"title": "1:30.5", "at": -0.5}}


def test_a_key_may_override_what_it_merges(tmp_path):
    text = "name: a\nmixture: &base {block: 1}\nreport: {<<: *base, block: 2}\n"
    assert read_recipe(recipe(tmp_path, text))["report"] == {"block": 2}


def test_what_was_found_is_shown_in_part_when_it_is_long():
    with pytest.raises(ConfigError) as error:
        validate(Mixture, {"weights": dict.fromkeys(map(str, range(500)), -1)}, "mixture")
    assert len(str(error.value.found)) < 300
    assert str(error.value.expected).startswith("the weight of 0 must be")


def test_a_list_that_is_too_short_is_named_with_what_it_lacks():
    class Adam(Section):
        betas: tuple[float, float]

    with pytest.raises(ConfigError, match=r"^train\.optimizer\.betas\.1 is missing"):
        validate(Adam, {"betas": [0.9]}, "train.optimizer")


def test_base_is_checked(tmp_path):
    assert load_base(recipe(tmp_path, "name: a\nseed: 4\n")).seed == 4
    with pytest.raises(ConfigError, match="name is missing"):
        load_base(recipe(tmp_path, "seed: 4\n"))
    with pytest.raises(ConfigError, match="seed is not valid"):
        load_base(recipe(tmp_path, "name: a\nseed: -4\n"))


def test_unknown_recipe_suggests_a_near_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "demo.yaml").write_text("name: demo\n")
    assert read_recipe("demo") == {"name": "demo"}
    with pytest.raises(ConfigError, match="did you mean demo"):
        read_recipe("demmo")


def test_weights_must_be_positive():
    for weight in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"mixture.*is not valid"):
            validate(Mixture, {"weights": {"web": weight}}, "mixture")
    assert Mixture(weights={"b": 3, "a": 1}).normalised() == {"a": 0.25, "b": 0.75}


def _known(name: str) -> str:
    if name not in ("web", "code"):
        raise NotValid("web or code", f"did you mean {nearest(name, ('web', 'code'))}?")
    return name


class Cat(Section):
    kind: Literal["cat"]
    lives: int = 9
    toys: int | dict[Annotated[str, Field(max_length=3)], int] = 0


class Dog(Section):
    kind: Literal["dog"]
    tricks: int = 0


class Pets(RootModel[dict[str, Annotated[Cat | Dog, Field(discriminator="kind")]]]):
    pass


def test_paths_of_a_tagged_union_are_paths_of_the_recipe():
    with pytest.raises(ConfigError, match=r"(?s)unknown key pets\.tom\.live\n.*did you mean lives"):
        validate(Pets, {"tom": {"kind": "cat", "live": 1}}, "pets")
    with pytest.raises(ConfigError, match=r"pets\.rex\.tricks is not valid"):
        validate(Pets, {"rex": {"kind": "dog", "tricks": "many"}}, "pets")
    for toys, path in (("many", "toys"), ({"balls": 1}, "toys"), ({"cat": "no"}, "toys")):
        with pytest.raises(ConfigError, match=rf"pets\.tom\.{path}(\.\w+)? is not valid") as error:
            validate(Pets, {"tom": {"kind": "cat", "toys": toys}}, "pets")
        assert not any(tag in error.value.message for tag in ("int", "dict", "[key]"))


class Advised(Section):
    names: dict[Annotated[str, AfterValidator(_known)], int] = {}


def test_a_key_that_a_validator_refuses_is_named_with_its_advice():
    with pytest.raises(ConfigError, match=r"(?s)a\.names\.webb is not valid\n.*'webb'.*web or code.*mean web\?"):
        validate(Advised, {"names": {"webb": 1}}, "a")
