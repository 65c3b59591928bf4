"""Mixture weights that follow the loss: the recipe's `train.reweighting` section, and what it computes.

After DoReMi (Xie et al., 2023, arXiv:2305.10429, algorithm 1): weights are multiplied by exp(step size × excess loss),
normalised, and mixed with uniform ones. Excess loss is how far a source's loss lies above that of a reference model, or
0. DoReMi takes it token by token from the reference model on the same batch, and weights the losses of batches that are
drawn evenly; here, as in Sheared LLaMA's dynamic batch loading (Xia et al., 2024, arXiv:2310.06694, algorithm 1), it
is a source's mean loss less one number that the reference reached, and how much is drawn from the source changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from headwater.core.blocks import quotas
from headwater.core.config import Section, Whole, nearest, read_mapping
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact, read_manifest
from headwater.core.mixture import Mixture
from headwater.core.run import RUN_FILE, StageInfo, read_run

UNITS = 1000
"""Weights are rounded to so many parts before they are used: rounding noise of a layout rarely moves one."""
MOST_SOURCES = 32
"""As many as have a loss of their own (`titan.sources`)."""
AVERAGE_FILE = "mixture.yaml"
"""In the training folder: the averaged weights."""


def _path_or_losses(value: object) -> str:
    return "losses" if isinstance(value, Mapping) else "path"


Reference = Annotated[
    Annotated[str, Field(min_length=1), Tag("path")]
    | Annotated[dict[str, Annotated[float, Field(gt=0)]], Field(min_length=1), Tag("losses")],
    Discriminator(_path_or_losses),
]


class Reweighting(Section):
    """Weights of the mixture that follow the loss.

    Attributes:
        reference: What each source's loss is compared with: the folder of a finished run or of a checkpoint (its
            validation losses), a YAML or JSON file of source → nats a token, or that mapping itself.
        every: Steps between two changes of the weights.
        step_size: What excess losses are multiplied by (eta in DoReMi, which takes 1).
        smoothing: Share of uniform weights that is mixed in (c in DoReMi, which takes 0.001).
    """

    reference: Reference
    every: Whole = Field(default=100, ge=1)
    step_size: float = Field(default=1.0, gt=0, le=100)
    smoothing: float = Field(default=1e-3, ge=0, le=1)

    def losses(self) -> dict[str, float]:
        """The reference's losses, once they are known.

        Raises:
            ConfigError: The reference is still a path.
        """
        if isinstance(self.reference, str):
            raise ConfigError("train.reweighting.reference is a path that was not read", found=self.reference)
        return dict(self.reference)


def updated(
    weights: Mapping[str, float], excess: Mapping[str, float], step_size: float, smoothing: float
) -> dict[str, float]:  # fmt: skip
    """The next weights, which sum to 1.

    Args:
        weights: Source → weight, of any sum.
        excess: Source → excess loss in nats a token, 0 or more.
        step_size: See `Reweighting`.
        smoothing: See there.
    """
    most = max(excess.values())  # only ratios matter, and exp does not overflow so
    raised = {name: weight * math.exp(step_size * (excess[name] - most)) for name, weight in weights.items()}
    total = math.fsum(raised.values())
    even = smoothing / len(raised)
    return {name: (1 - smoothing) * value / total + even for name, value in raised.items()}


def rounded(weights: Mapping[str, float], units: int) -> dict[str, float]:
    """The weights in whole parts of `units`, at least one each; they sum to 1."""
    parts = quotas(list(weights.values()), units).tolist()
    return {name: part / units for name, part in zip(weights, parts, strict=True)}


def averaged(stages: Sequence[StageInfo], samples: int) -> dict[str, float]:
    """Mean weights over the samples since the first change: what DoReMi gives to the training of the large model.

    Args:
        stages: Of a run; the first has the weights that it began with, and does not count if others were trained on.
        samples: How many samples of the order the run has passed.
    """
    ends = list(accumulate(stage.samples for stage in stages[:-1]))
    sizes = [stop - start for start, stop in pairwise([0, *(min(end, samples) for end in ends), samples])]
    counted = list(zip(stages, sizes, strict=True))
    counted = counted[1:] if sum(sizes[1:]) else counted
    total = sum(size for _, size in counted)
    sums = dict.fromkeys(sorted(stages[0].weights), 0.0)
    for stage, size in counted:
        whole = math.fsum(stage.weights.values())
        for name, weight in stage.weights.items():
            sums[name] += size / total * weight / whole
    return {name: round(weight, 6) for name, weight in sums.items()}


def resolve_reference(
    reweighting: Reweighting, run: RunLayout, mixture: Mixture, window_samples: int
) -> Reweighting:  # fmt: skip
    """The section with the reference's losses in the place of its path, checked against the mixture.

    Args:
        reweighting: As the recipe gives it.
        run: The run folder, with its tokenizer.
        mixture: As the recipe gives it, and once more resolved: with the weights that the run begins with.
        window_samples: Samples between two changes.

    Raises:
        ConfigError: Stages or caps beside re-weighting, too many sources, too few samples between two changes, or a
            reference that has no loss for a source of the mixture or is of another tokenizer.
        ManifestError: The reference is a folder, but no checkpoint or finished run.
    """
    sources = sorted(mixture.normalised())
    if not 2 <= len(sources) <= MOST_SOURCES:
        raise ConfigError("train.reweighting needs sources to choose from", found=f"{len(sources)} in the mixture",
                          expected=f"2 to {MOST_SOURCES}")  # fmt: skip
    if window_samples < len(sources):
        raise ConfigError(
            "train.reweighting.every is too small: a source would give no sample between two changes",
            found=f"{window_samples} samples", expected=f"{len(sources)} or more, one for each source",
        )  # fmt: skip
    given = reweighting.reference
    losses = _read(Path(given), run) if isinstance(given, str) else given
    for name in sources:
        if name not in losses:
            near = nearest(name, losses)
            raise ConfigError(
                f"train.reweighting.reference has no loss for the source {name}", found=", ".join(sorted(losses)),
                expected=", ".join(sources), hint=f"did you mean {near}?" if near else None,
            )  # fmt: skip
    return reweighting.model_copy(update={"reference": {name: losses[name] for name in sources}})


def refuse_beside_stages(mixture: Mixture) -> None:
    """Refuses what re-weighting would undo: stages and caps.

    Raises:
        ConfigError: The mixture has them.
    """
    for key, there in (("stages", bool(mixture.stages)), ("max_epochs", mixture.max_epochs is not None)):
        if there:
            raise ConfigError(
                f"mixture.{key} does not go with train.reweighting, which changes the weights as it goes on",
                expected="mixture.weights or mixture.alpha to begin with", hint="take out one of the two",
            )  # fmt: skip


def _read(path: Path, run: RunLayout) -> Mapping[str, float]:
    if not path.exists():
        raise ConfigError(f"train.reweighting.reference {path} does not exist",
                          expected="a run, a checkpoint, or a file of source: loss")  # fmt: skip
    if path.is_file():
        return _checked(path, read_mapping(path, "the reference"))
    folder = _checkpoint(path)
    info = read_run(folder)
    mine = read_manifest(run.tokenizer).digest
    if info.tokenizer_digest != mine:
        raise ConfigError(
            f"the reference {folder} was trained on tokens of another tokenizer: losses a token do not compare",
            found=f"tokenizer {info.tokenizer_digest}", expected=f"tokenizer {mine}",
        )  # fmt: skip
    if not info.validation_losses:
        raise ConfigError(
            f"the reference {folder} has no validation losses by source", expected="validation_losses in its run.json",
            hint="train it with train.validation, or give a file of source: loss",
        )  # fmt: skip
    return info.validation_losses


def _checked(path: Path, values: Mapping[str, Any]) -> Mapping[str, float]:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConfigError(f"the loss of {name} in {path} is no positive number", found=value,
                              expected="nats a token")  # fmt: skip
    return values


def _checkpoint(path: Path) -> Path:
    """The folder of a checkpoint: itself, or the last one of a finished run."""
    if (path / RUN_FILE).is_file():
        return path
    layout = RunLayout(path)
    manifest = read_manifest(layout.train)  # says that there is no finished run
    folder = layout.checkpoint(int(manifest.counters["steps"]))
    if not is_artifact(folder):
        raise ConfigError(f"the last checkpoint of the reference run {path} is not there", expected=folder)
    return folder
