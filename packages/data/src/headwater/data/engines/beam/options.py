"""The options of the Beam engine in a recipe."""

from __future__ import annotations

from pydantic import Field, field_validator

from headwater.core.config import NotValid, Section


class BeamConfig(Section):
    """The section `documents.engine.beam`.

    Attributes:
        runner: A Beam runner by name. FnApiRunner runs on this machine, with `workers` processes unless `options` say
            otherwise; DirectRunner would download another one first.
        options: Beam's pipeline options, as on a command line: `--direct_num_workers=4`.
        job_server_options: Options that only the runner's job server knows (`--parallelism=64` of Flink). They are
            passed on as they are; the others are checked before anything starts.
        shuffle_partitions: Pieces that a shuffle cuts the rows into; 0 means as many as there are units of input, at
            most 1,000. A piece with its texts has to fit a worker's memory.
    """

    runner: str = Field(default="FnApiRunner", min_length=1)
    options: tuple[str, ...] = ()
    job_server_options: tuple[str, ...] = ()
    shuffle_partitions: int = Field(default=0, ge=0, le=100_000)

    @field_validator("options", "job_server_options")
    @classmethod
    def _look_like_options(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if not option.startswith("--"):
                raise NotValid(
                    f"options begin with --, and {option!r} does not", "write --name=value, one option an item"
                )
            if option.partition("=")[0] == "--runner":
                raise NotValid("the runner is not among the options", "set documents.engine.beam.runner")
        return options
