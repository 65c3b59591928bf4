"""`run.json`: what a checkpoint says about the run that wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headwater.core.config import Section
from headwater.core.errors import ManifestError
from headwater.core.ramp import Ramp, StepSamples
from headwater.core.rope import NtkScaling, RopeScaling

SCHEMA_VERSION = 1
RUN_FILE = "run.json"
CAUSAL = "causal"
NOT_LEFT_TO_RIGHT = ("masked", "spans", "replaced_token")
"""Kinds of `train.objective` after which a model cannot say how likely a text is, or go on with one."""


class Experts(Section):
    """The mixture of experts of a decoder in the DeepSeek-V3 family (DeepSeek-AI, 2024, arXiv:2412.19437).

    Routing is by sigmoid scores, normalised over the chosen experts, with a bias in place of a balancing loss.

    Attributes:
        count: Routed experts of a layer.
        top_k: Experts that a token goes to.
        shared: Experts that every token goes to besides.
        ffn_dim: Width of an expert's SwiGLU hidden layer.
        dense_layers: Layers at the bottom that have a dense feed-forward of `ffn_dim` of the model instead.
    """

    count: int = Field(default=8, ge=2, le=4096)
    top_k: int = Field(default=2, ge=1, le=4096)
    shared: int = Field(default=1, ge=1, le=64)
    ffn_dim: int = Field(default=256, ge=8, le=10**6)
    dense_layers: int = Field(default=1, ge=0, le=10**4)


class LatentAttention(Section):
    """Multi-head latent attention of the same family: keys and values go through a low-rank bottleneck.

    Attributes:
        kv_rank: Width of the bottleneck of keys and values.
        q_rank: Width of the bottleneck of queries; 0 for none.
        nope_dim: Width of a head's part without rotary embedding.
        rope_dim: Width of a head's part with it.
        value_dim: Width of a value head.
    """

    kv_rank: int = Field(default=64, ge=8, le=10**5)
    q_rank: int = Field(default=0, ge=0, le=10**5)
    nope_dim: int = Field(default=32, ge=8, le=4096)
    rope_dim: int = Field(default=16, ge=2, le=4096, multiple_of=2)
    value_dim: int = Field(default=32, ge=8, le=4096)


class ModelShape(Section):
    """The shape of a decoder.

    Attributes:
        family: "llama3" (Dubey et al., 2024, arXiv:2407.21783); "qwen3", which norms each head's query and key
            (Yang et al., 2025, arXiv:2505.09388); "deepseek_v3", a mixture of experts with latent attention; "gpt2",
            with learned positions (Radford et al., 2019).
        dim: Width of the residual stream.
        head_dim: Width of a query, key or value head; none: `dim / n_heads`.
        ffn_dim: Width of the SwiGLU hidden layer.
        rope_theta: Base of the rotary position embedding.
        rope_scaling: How the rotary embedding is stretched (`core.rope`); none: it is not. Of "llama3" and "qwen3"
            only.
        max_seq_len: Longest context that the model was made for, in tokens.
        tied: Whether the output head shares the embedding's weights.
        dropout: Share of the activations that training drops. Of "gpt2" only.
        experts: Of "deepseek_v3" only.
        latent: Of "deepseek_v3" only; `n_kv_heads` and `head_dim` do not apply to it.
    """

    family: Literal["llama3", "qwen3", "deepseek_v3", "gpt2"] = "llama3"
    dim: int = Field(gt=0)
    n_layers: int = Field(gt=0, le=10**4)
    n_heads: int = Field(gt=0)
    n_kv_heads: int = Field(gt=0)
    head_dim: int | None = Field(default=None, gt=0)
    ffn_dim: int = Field(gt=0)
    vocab_size: int = Field(gt=0)
    rope_theta: float = Field(gt=0)
    rope_scaling: RopeScaling | None = None
    norm_eps: float = Field(gt=0)
    max_seq_len: int = Field(gt=0)
    tied: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    experts: Experts | None = None
    latent: LatentAttention | None = None

    @property
    def head_width(self) -> int:
        """Width of a head, whether or not it was given."""
        return self.head_dim or self.dim // self.n_heads

    @property
    def rope_base(self) -> float:
        """Base of the rotary embedding as it is turned: NTK-aware scaling makes it larger."""
        if isinstance(self.rope_scaling, NtkScaling):
            return self.rope_scaling.base(self.rope_theta, self.head_width)
        return self.rope_theta


class StageInfo(BaseModel):
    """A stage of the mixture: its name, how many samples it has, and the weights of its sources.

    The last stage of a run goes on for ever, whatever its number of samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    samples: int = Field(gt=0)
    weights: dict[str, float]


class RunInfo(BaseModel):
    """State and origin of a checkpoint.

    Attributes:
        step: Optimizer steps done.
        samples: Samples consumed; the one integer that resumes the order.
        seq_len: Tokens in a sample.
        global_batch: Samples in a step, after the ramp.
        batch_ramp: The first steps, which have fewer samples; else none.
        seed: The run's seed.
        steps_planned: Steps that the run is to do in all.
        model: The model's shape.
        tokenizer_digest: Manifest digest of the tokenizer that made the tokens.
        tokens: Source → manifest digest of its tokens.
        weights: Source → normalised mixture weight; of stages, over all of them together.
        stages: The stages of a staged mixture, in order, or of a re-weighted one so far; else none.
        block: Samples in a block of the order.
        skips: Windows `[start, stop)` of the order that rollbacks excluded (`core.skips.Skips`).
        order_digest: Digest of the samples consumed (`core.skips.KeptOrder.digest`).
        weights_digest: SHA-256 over the model's tensors: name, dtype, shape, bytes, in order of name.
        init_digest: That of the weights which the run started from; none: random ones.
        validation_loss: Latest validation loss in nats a token; none if it was never measured.
        validation_bits_per_byte: The same in bits a UTF-8 byte of text.
        validation_losses: The same loss by source.
        config: The resolved `train` section.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    step: int = Field(ge=0)
    samples: int = Field(ge=0)
    seq_len: int = Field(gt=0)
    global_batch: int = Field(gt=0)
    batch_ramp: Ramp = Field(default=(), exclude_if=lambda ramp: not ramp)
    seed: int
    steps_planned: int = Field(gt=0)
    model: ModelShape
    tokenizer_digest: str
    tokens: dict[str, str]
    weights: dict[str, float]
    stages: list[StageInfo] = []
    block: int
    skips: list[list[int]] = []
    order_digest: str
    weights_digest: str
    init_digest: str | None = None
    validation_loss: float | None = None
    validation_bits_per_byte: float | None = None
    validation_losses: dict[str, float] = {}
    config: dict[str, Any]

    @property
    def step_samples(self) -> StepSamples:
        """The samples of each step."""
        return StepSamples(self.global_batch, self.batch_ramp)

    @property
    def objective(self) -> str:
        """What the model was trained to predict: the `kind` of `train.objective`."""
        value = self.config.get("objective")
        return str(cast("dict[str, Any]", value).get("kind", CAUSAL)) if isinstance(value, dict) else CAUSAL

    def dump(self) -> str:
        """The content of `run.json`."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_run(checkpoint: str | Path) -> RunInfo:
    """Reads a checkpoint's `run.json`.

    Raises:
        ManifestError: It is missing, damaged, or of another schema version.
    """
    path = Path(checkpoint) / RUN_FILE
    try:
        value: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ManifestError(f"{checkpoint} is not a Headwater checkpoint: it has no {RUN_FILE}") from error
    except ValueError as error:
        raise ManifestError(f"{path} is damaged: {error}", hint="use another checkpoint of the run") from error
    version = cast("dict[str, Any]", value).get("schema_version") if isinstance(value, dict) else None
    if version != SCHEMA_VERSION:
        raise ManifestError(
            f"checkpoint {checkpoint} has another schema version", found=version, expected=SCHEMA_VERSION,
            hint="use the Headwater version that wrote it, or train again with this one",
        )  # fmt: skip
    try:
        return RunInfo.model_validate(value)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise ManifestError(f"{path} is not valid: {where}: {detail['msg']}", hint="use another checkpoint") from error
