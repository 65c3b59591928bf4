"""Suites: which tasks are run, with how many examples and items. A suite is a YAML file that users copy and change."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from headwater.core.config import read_mapping, validate
from headwater.core.errors import ConfigError
from headwater.core.storage import storage_errors

FOLDER = Path(__file__).parent


class Asked(BaseModel):
    """How one task or group is run.

    Attributes:
        few_shot: Solved examples before each question; by default the task's own number.
        items: So many items of each of its tasks, drawn evenly: the same ones each time; by default all.
        max_gen_tokens: Most tokens generated for one item, where it is not the recipe's.
        metric: The metric that a gate compares (`acc_norm`, `exact_match,flexible-extract`); by default the first.
        margin: The loss that a gate allows; by default the gate's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    few_shot: int | None = Field(default=None, ge=0)
    items: int | None = Field(default=None, ge=1)
    max_gen_tokens: int | None = Field(default=None, ge=1)
    metric: str | None = None
    margin: float | None = Field(default=None, ge=0)


class Suite(BaseModel):
    """A suite file.

    Attributes:
        description: What it is for, in a sentence.
        tasks: Task or group of lm-eval → how it is run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    tasks: dict[str, Asked] = Field(min_length=1)


def names() -> list[str]:
    """The suites that come with Headwater."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_suite(name: str) -> Suite:
    """One of Headwater's suites, or a file.

    Args:
        name: Its name, or the path of a YAML file.

    Raises:
        ConfigError: There is no such suite, or it is not one.
    """
    path = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(
            f"there is no suite {name}", expected=f"{', '.join(names())}, or the path of a YAML file",
            hint="see them with: headwater eval suites",
        )  # fmt: skip
    with storage_errors("read", path):
        value = read_mapping(path, "suite")
    if isinstance(tasks := value.get("tasks"), dict):
        value |= {"tasks": {task: {} if how is None else how for task, how in tasks.items()}}
    try:
        return validate(Suite, value, "")
    except ConfigError as error:
        hint = error.hint if error.expected else "see a whole one with: headwater eval suites ci"
        raise ConfigError(
            f"{path} is no suite: {error.message}", found=error.found, expected=error.expected, hint=hint
        ) from error
