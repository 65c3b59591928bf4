"""A run folder as a `RunView`: whatever is there is read, whatever is not is shown as not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from headwater.core.config import load_base, load_section, read_recipe, resolve_recipe
from headwater.core.errors import HeadwaterError
from headwater.core.layout import RunLayout
from headwater.core.mixture import Mixture
from headwater.core.mixture_resolve import recorded_mixture, resolve_order
from headwater.core.run import RunInfo
from headwater.core.skips import KeptOrder, Skips

from .commands import stage_commands
from .files import Row, RunFiles, whole
from .read_evaluation import read_evaluation, read_history
from .read_lineage import read_lineage
from .read_training import latest_run, read_training
from .view import Funnel, FunnelRow, MixtureRow, RunView, StageRow


def read_run_view(run: RunLayout, recipe: str, overrides: Sequence[str] = ()) -> RunView:
    """Reads everything the page shows.

    Raises:
        ConfigError: The recipe is not valid.
    """
    files = RunFiles(run.root)
    base = load_base(recipe, overrides)
    mixed = "mixture" in read_recipe(recipe, overrides)
    mixture = load_section("mixture", Mixture, recipe, overrides) if mixed else None
    text = None if overrides else files.text(run.recipe)
    if text is None:
        text = yaml.safe_dump(resolve_recipe(recipe, overrides), sort_keys=False, allow_unicode=True)
    training = read_training(files, run)
    tokens = read_tokens(files, run)
    drawn, stages = read_mixture(files, run, mixture, tokens["train"])
    return RunView(
        name=base.name,
        seed=base.seed,
        run=str(run.root),
        recipe_text=text,
        funnel=read_funnel(files, run),
        mixture=drawn,
        stages=stages,
        tokens=tokens["train"],
        tokens_validation=tokens["validation"],
        training=training,
        evaluation=read_evaluation(files, run),
        history=read_history(files, run),
        lineage=read_lineage(files, run),
        commands=stage_commands(run, recipe, overrides),
        problems=tuple(files.problems),
    )


def read_funnel(files: RunFiles, run: RunLayout) -> Funnel | None:
    """The operators of `documents/funnel.json`, or `None`."""
    path = run.documents / "funnel.json"
    value = files.json(path)
    if value is None:
        return None
    sources = value.get("sources")
    if not isinstance(sources, dict):
        files.note(path, "it has no sources")
        return None
    rows: list[FunnelRow] = []
    for source, content in sources.items():
        operators = content.get("operators") if isinstance(content, dict) else None
        for row in operators if isinstance(operators, list) else []:
            if not isinstance(row, dict):
                files.note(path, f"an operator of {source} is not an object")
                continue
            rows.append(
                FunnelRow(
                    str(row.get("operator", "?")), str(source),
                    whole(row, "documents_in") or 0, whole(row, "documents_out") or 0,
                    whole(row, "bytes_in") or 0, whole(row, "bytes_out") or 0,
                    _counts(row.get("rejected")), _counts(row.get("changed")),
                )
            )  # fmt: skip
    return Funnel(rows) if rows else None


def _counts(value: object) -> dict[str, int]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {str(reason): count for reason, count in pairs if isinstance(count, int)}


def read_tokens(files: RunFiles, run: RunLayout) -> dict[str, dict[str, int]]:
    """Tokens of each source by split, from the manifests."""
    found: dict[str, dict[str, int]] = {"train": {}, "validation": {}}
    for folder in sorted(run.tokens_root.glob("*")):
        manifest = files.json(folder / "manifest.json")
        if manifest is None:
            continue
        counters: Row = manifest.get("counters") or {}
        for split, counts in found.items():
            counts[folder.name] = whole(counters, f"{split}_tokens") or 0
    return found


def read_mixture(
    files: RunFiles, run: RunLayout, mixture: Mixture | None, tokens: Mapping[str, int]
) -> tuple[list[MixtureRow] | None, list[StageRow]]:
    """Configured weights beside what the sample order really drew up to the newest checkpoint, and the stages.

    Nothing logs samples: the order is a pure function of mixture, seed and sample number, so it is counted again. Of
    stages, the weights are those of the samples drawn so far.
    """
    info = latest_run(run)
    if not tokens or mixture is None:
        return None, []
    if info is None or info.samples == 0:
        if not mixture.weights:  # only a run says which weights the rest comes to
            return None, []
        rows = [(name, weight, tokens.get(name, 0)) for name, weight in mixture.normalised().items()]
        return [MixtureRow(name, weight, None, None, None, there, None) for name, weight, there in rows], []
    try:
        order = KeptOrder(resolve_order(run, recorded_mixture(info), info.seq_len, info.seed), Skips.of(info.skips))
    except (HeadwaterError, KeyError, ValueError) as error:
        files.problems.append(f"the sample order could not be derived: {error}")
        rows = [(name, weight, tokens.get(name, 0)) for name, weight in info.weights.items()]
        return [MixtureRow(name, weight, None, None, None, there, None) for name, weight, there in rows], []
    return _drawn(order, info, tokens), _stages(order, info)


def _drawn(order: KeptOrder, info: RunInfo, tokens: Mapping[str, int]) -> list[MixtureRow]:
    rows: list[MixtureRow] = []
    for source in info.weights:
        expected = 0.0
        for number, stage in enumerate(order.stages):
            start, last = order.stage_start(number), number + 1 == len(order.stages)
            part = max(0, (info.samples if last else min(info.samples, start + stage.samples)) - start)
            expected += part * stage.weights.get(source, 0.0) / sum(stage.weights.values())
        drawn = order.drawn(source, info.samples)
        epochs = drawn / order.samples_per_epoch(source)
        rows.append(
            MixtureRow(source, expected / info.samples, drawn / info.samples, drawn, drawn * info.seq_len,
                       tokens.get(source, 0), epochs)
        )  # fmt: skip
    return rows


def _stages(order: KeptOrder, info: RunInfo) -> list[StageRow]:
    if not info.stages:
        return []
    rows: list[StageRow] = []
    for number, stage in enumerate(order.stages):
        start, total = order.stage_start(number), sum(stage.weights.values())
        weights = {name: weight / total for name, weight in sorted(stage.weights.items())}
        first, last = (info.step_samples.step_of(sample) for sample in (start, start + stage.samples - 1))
        done = min(max(info.samples - start, 0) / max(stage.samples, 1), 1.0)
        rows.append(StageRow(stage.name, first, last, done, weights))
    return rows
