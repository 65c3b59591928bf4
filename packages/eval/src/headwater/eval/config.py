"""The `eval` section of a recipe."""

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from headwater.core.config import Section, Whole
from headwater.eval.suites import Asked, load_suite

Precision = Literal["float32", "bfloat16"]
MINI_TASKS = ("headwater_mini_mmlu", "headwater_mini_gsm8k", "headwater_mini_humaneval")


class EvalConfig(Section):
    """What `headwater eval run` measures, and how.

    There is no switch that runs generated code without a sandbox: a code task runs inside it or is refused.
    """

    tasks: tuple[str, ...] = Field(
        default=MINI_TASKS, description="lm-eval task or group names; Headwater's own and lm-eval's built-in ones."
    )
    suite: str | None = Field(
        default=None,
        min_length=1,
        description="A suite in place of `tasks`: one of Headwater's (`headwater eval suites`) or a YAML file.",
    )
    checkpoint: str = Field(
        default="best",
        description="`best` (lowest validation loss), `last`, a step number, or the path of a checkpoint.",
    )
    every: Whole | None = Field(
        default=None,
        ge=1,
        description="Also evaluate during training, every so many steps, on its processes; a multiple of "
        "train.checkpoint.every.",
    )
    limit: Whole | None = Field(default=None, ge=1, description="Only the first so many items of every task.")
    few_shot: Whole | None = Field(
        default=None, ge=0, description="Examples before each question; by default what the task itself says."
    )
    max_gen_tokens: Whole | None = Field(
        default=None, ge=1,
        description="Most tokens generated for one item; by default what the task asks for, 256 where it does not say.",
    )  # fmt: skip
    prompt_lengths: tuple[Whole, ...] | None = Field(
        default=None,
        min_length=1,
        description="Tokens of the prompts that long-context tasks make (headwater_needle, RULER); by default an "
        "eighth, a quarter, half and all of what the model reads.",
    )
    precision: Precision = Field(
        default="float32",
        description="Numbers of the weights and of what is computed with them. bfloat16, meant for GPUs, takes "
        "half the memory; log-probabilities are then off by a hundredth or so.",
    )
    batch_tokens: Whole | None = Field(
        default=None,
        ge=1,
        description="Most tokens, padding included, in one forward pass; by default what suits the device.",
    )
    bits_per_byte: bool = Field(default=True, description="Measure bits per byte on the held-out documents.")
    held_out_tokens: Whole = Field(
        default=16384, ge=1, description="Most held-out tokens per source that bits per byte reads."
    )
    data_dir: str | None = Field(
        default=None,
        min_length=1,
        description="Folder with the data of the real mmlu, gsm8k and humaneval; relative to the working directory. "
        "What lies in it decides the results, where it lies does not.",
    )
    hub: bool = Field(default=False, description="Allow data sets to come from the Hugging Face hub (needs a network).")

    @cached_property
    def asked(self) -> dict[str, Asked]:
        """Task or group → how it is run, from the suite or the settings here."""
        if self.suite is not None:
            return dict(load_suite(self.suite).tasks)
        return {name: Asked() for name in self.tasks}

    @property
    def data_folder(self) -> Path | None:
        """`data_dir` as a path, the home folder filled in."""
        return Path(self.data_dir).expanduser() if self.data_dir is not None else None

    @field_validator("tasks")
    @classmethod
    def _no_repeats(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if any(not name.strip() for name in tasks):
            raise ValueError("names that are not empty")
        repeated = sorted({name for name in tasks if tasks.count(name) > 1})
        if repeated:
            raise ValueError(f"each task once; more than once: {', '.join(repeated)}")
        return tasks
