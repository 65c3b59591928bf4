"""`headwater eval`: commands of the evaluation package. Only click is imported until a command runs."""

from importlib import import_module
from pathlib import Path

import click

from headwater.core.cli_options import recipe_options

# Commands that live in another module of this package, imported when they are asked for.
_ATTACHED = {
    "items": "headwater.eval.items_cli:items",
    "data": "headwater.eval.items_cli:data",
    "difficulty": "headwater.eval.difficulty_cli:difficulty",
    "report": "headwater.eval.report_cli:report",
    "gate": "headwater.eval.gate_cli:gate",
    "suites": "headwater.eval.gate_cli:suites",
    "watch": "headwater.eval.watch_cli:watch",
    "scores": "headwater.eval.scores_cli:scores",
}


class EvalCommands(click.Group):
    """The group, with the attached commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Own and attached commands, by name."""
        return sorted({*self.commands, *_ATTACHED})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name in self.commands or cmd_name not in _ATTACHED:
            return self.commands.get(cmd_name)
        module, _, name = _ATTACHED[cmd_name].partition(":")
        return getattr(import_module(module), name)


@click.group("eval", cls=EvalCommands)
def eval_group() -> None:
    """Evaluate checkpoints: tasks and suites, held-out bits per byte, a gate between two models, reports, items."""


@eval_group.command("run")
@recipe_options
@click.option("--checkpoint", metavar="best|last|STEP|PATH", help="Which checkpoint (default: eval.checkpoint).")
@click.option("--tasks", metavar="NAME,NAME…", help="lm-eval tasks or groups (default: eval.tasks).")
@click.option("--suite", metavar="NAME|FILE", help="A suite in place of tasks; see `headwater eval suites`.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N items of every task.")
@click.option(
    "--data-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Data of the real mmlu, gsm8k and humaneval: no network is used (default: eval.data_dir).",
)
@click.option(
    "--checksums",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Checksums of that data (default: SHA256SUMS in it).",
)
@click.option(
    "--include",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Folder of your own lm-eval task files; may be given again.",
)
@click.option("--hub", is_flag=True, help="Allow data sets from the Hugging Face hub.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the results go (default: RUN/eval).",
)
def run_command(
    recipe: str,
    run: Path,
    as_json: bool,
    overrides: tuple[str, ...],
    checkpoint: str | None,
    tasks: str | None,
    suite: str | None,
    limit: int | None,
    data_dir: Path | None,
    checksums: Path | None,
    include: tuple[Path, ...],
    hub: bool,
    output: Path | None,
) -> None:
    """Measure a checkpoint: tasks with 95% confidence intervals, and bits per byte on held-out text.

    \b
    headwater eval run --recipe demo --run demo
    headwater eval run --recipe demo --run demo --checkpoint last --limit 20
    headwater eval run --recipe demo --run demo --suite ci --data-dir DIR --output DIR
    headwater eval run --recipe demo --run demo --tasks mmlu,gsm8k,humaneval --data-dir DIR --output DIR
    """
    from headwater.core.config import load_section, validate
    from headwater.core.console import print_json
    from headwater.core.errors import ConfigError
    from headwater.core.layout import RunLayout
    from headwater.eval.config import EvalConfig
    from headwater.eval.stage import run_eval
    from headwater.eval.summary import print_summary

    if tasks is not None and suite is not None:
        raise ConfigError("both --tasks and --suite say what to run", expected="one of them")
    config = load_section("eval", EvalConfig, recipe, overrides)
    given: dict[str, object] = {"checkpoint": checkpoint, "limit": limit, "hub": hub or None, "suite": suite}
    if tasks is not None:
        given["tasks"] = [name.strip() for name in tasks.split(",")]
    changed = {key: value for key, value in given.items() if value is not None}
    if tasks is not None:
        changed["suite"] = None
    config = validate(EvalConfig, config.model_dump() | changed, "eval")
    evaluation = run_eval(
        RunLayout(run), config, data_dir=data_dir, checksum_file=checksums, include=include, output=output
    )
    if as_json:
        print_json(
            {
                "artifact": str(evaluation.folder),
                "digest": evaluation.manifest.digest,
                "up_to_date": not evaluation.fresh,
                "sandbox": evaluation.sandbox,
                "results": evaluation.results.model_dump(mode="json"),
            }
        )
    else:
        print_summary(evaluation)
