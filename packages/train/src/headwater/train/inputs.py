"""What a training run reads: tokens, tokenizer, sidecars and the sample order, checked against one another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.config import Base
from headwater.core.errors import ConfigError, TrainError
from headwater.core.layout import RunLayout
from headwater.core.manifest import Parent, parent_of, read_manifest
from headwater.core.mixture import Mixture, Stage
from headwater.core.mixture_resolve import resolve_order
from headwater.core.objects import is_remote, local_path
from headwater.core.order import Order
from headwater.core.run import ModelShape, StageInfo
from headwater.core.tokenizer import read_vocabulary
from headwater.core.tokens import MegatronReader
from headwater.train.config import TrainConfig
from headwater.train.objectives.examples import Objective
from headwater.train.objectives.opened import open_objective
from headwater.train.weights import Weights, initial_weights


@dataclass
class Inputs:
    """The inputs of a run. They stay as they are, but for the order of a mixture that is re-weighted.

    Attributes:
        run: The run folder.
        base: Name and seed.
        config: The `train` section.
        mixture: The resolved mixture: weights, or stages with weights.
        order: The sample order; with each change of the weights it gets one more stage.
        readers: Source → its training tokens.
        held_out: Source → its validation tokens.
        tokenizer_digest: Manifest digest of the tokenizer.
        token_digests: Source → manifest digest of its tokens.
        vocab_size: Entries of the tokenizer's vocabulary.
        end_of_text: Id of the token that ends every document.
        objective: What the model is trained to predict.
        initial: The weights that the run starts from; none: random ones.
    """

    run: RunLayout
    base: Base
    config: TrainConfig
    mixture: Mixture
    order: Order
    readers: dict[str, MegatronReader]
    held_out: dict[str, MegatronReader]
    tokenizer_digest: str
    token_digests: dict[str, str]
    vocab_size: int
    end_of_text: int
    objective: Objective
    initial: Weights | None

    @property
    def shape(self) -> ModelShape:
        """The model's shape with the vocabulary filled in."""
        return self.config.model.shape(self.vocab_size, self.config.seq_len)

    @property
    def stages(self) -> list[StageInfo]:
        """The stages of a staged mixture, or of a re-weighted one so far; else none."""
        if not self.mixture.stages and len(self.order.stages) == 1:
            return []
        return [StageInfo(name=s.name, samples=s.samples, weights=dict(s.weights)) for s in self.order.stages]

    @property
    def weights(self) -> dict[str, float]:
        """Source → normalised weight, over all stages together."""
        stages = self.order.stages
        if self.mixture.stages or len(stages) == 1:
            return self.mixture.normalised()
        return Mixture(stages=tuple(
            Stage(name=stage.name, tokens=stage.samples * self.order.seq_len, weights=dict(stage.weights))
            for stage in stages
        )).normalised()  # fmt: skip

    def refuse_unknown_tokens(self, prefix: Path, tokens: npt.NDArray[Any], at: int) -> None:
        """Refuses tokens that the vocabulary does not have: a file that was damaged after it was written.

        Args:
            prefix: Of the token file that they were read from.
            tokens: Token ids, of any shape.
            at: Place in the file of the first, for a flat array.

        Raises:
            TrainError: Naming the first of them.
        """
        if not tokens.size or (tokens.min() >= 0 and tokens.max() < self.vocab_size):
            return
        place = int(np.flatnonzero((tokens < 0) | (tokens >= self.vocab_size))[0])
        raise TrainError(
            f"{prefix}.bin holds tokens that the tokenizer does not have",
            found=f"token id {int(tokens.flat[place])} at position {at + place}",
            expected=f"ids below {self.vocab_size}",
            hint="see what was changed with headwater verify; make the tokens again with headwater data tokenize",
        )

    def parents_for(self, folder: Path) -> list[Parent]:
        """Entries for the manifest of an artifact in `folder`."""
        initial = [] if self.initial is None else [parent_of(folder, self.initial.path, "init")]
        return [
            parent_of(folder, self.run.tokenizer, "tokenizer"), *initial,
            *(parent_of(folder, self.run.tokens(source), f"tokens/{source}") for source in sorted(self.token_digests)),
        ]  # fmt: skip


def open_inputs(run: RunLayout, base: Base, config: TrainConfig, mixture: Mixture) -> Inputs:
    """Opens a run's inputs.

    Raises:
        ManifestError: A parent is missing, half-written or damaged.
        TrainError: Tokens that another tokenizer made.
        ConfigError: The mixture names a source without tokens, or one that is too small for a sample; a vocabulary
            smaller than the tokenizer's; initial weights of another model; an objective whose special tokens the
            tokenizer lacks.
    """
    tokenizer = read_manifest(run.tokenizer)
    order = resolve_order(run, mixture, config.seq_len, base.seed)
    digests: dict[str, str] = {}
    for source in mixture.normalised():
        manifest = read_manifest(run.tokens(source))
        made_by = [parent.digest for parent in manifest.parents if parent.kind == "tokenizer"]
        if made_by != [tokenizer.digest]:
            raise TrainError(
                f"the tokens of source {source} were not made by the tokenizer of this run",
                found=f"tokens made by tokenizer {', '.join(made_by) or 'unknown'}",
                expected=f"tokenizer {tokenizer.digest} ({run.tokenizer})",
                hint="run: headwater data tokenize",
            )
        digests[source] = manifest.digest
    _refuse_mirror_inside(run, config.checkpoint.mirror)
    vocabulary = read_vocabulary(run.tokenizer)
    if (config.model.vocab_size or vocabulary.size) < vocabulary.size:
        raise ConfigError(
            "train.model.vocab_size is below the size of the tokenizer's vocabulary", found=config.model.vocab_size,
            expected=f"{vocabulary.size:,} or more", hint="leave it out to take the tokenizer's",
        )  # fmt: skip
    initial = None
    if config.init_from is not None:
        shape = config.model.shape(vocabulary.size, config.seq_len)
        initial = initial_weights(run, config.init_from, shape, tokenizer.digest)
    return Inputs(
        run=run, base=base, config=config, mixture=mixture, order=order,
        readers={source: MegatronReader(run.tokens(source) / "train") for source in digests},
        held_out={source: MegatronReader(run.tokens(source) / "validation") for source in digests},
        tokenizer_digest=tokenizer.digest, token_digests=digests,
        vocab_size=vocabulary.size, end_of_text=vocabulary.end_id,
        objective=open_objective(config.objective, vocabulary, base.seed, config.seq_len), initial=initial,
    )  # fmt: skip


def _refuse_mirror_inside(run: RunLayout, uri: str | None) -> None:
    """Refuses copies that would lie in the run folder, where the training would take them for its own."""
    if uri is None or is_remote(uri):
        return
    folder, root = local_path(uri).resolve(), run.root.resolve()
    if folder == root or root in folder.parents:
        raise ConfigError(
            "train.checkpoint.mirror lies in the run folder", found=folder, expected=f"a folder outside of {root}",
            hint="copies are for when the run folder is lost: choose another disk, or s3://…",
        )  # fmt: skip
