"""How much memory a training takes: an estimate from the recipe alone, to refuse what cannot fit.

It counts what training keeps: weights, gradients and Adam's two moments in float32, 16 bytes a parameter (Rajbhandari
et al., SC 2020, section 3.1, with float32 weights in place of float16 ones and their copies), divided by what shards
them; one block's gathered weights; and the activations that the backward pass reads (Korthikanti et al., 2022,
arXiv:2205.05198, section 4, for a gated feed-forward and an attention that keeps no scores).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.core.run import ModelShape
    from headwater.train.config import TrainConfig

CONTEXT_BYTES = 2 * 2**30
"""CUDA's context, NCCL's buffers, and what the allocator cannot use."""

PROCESS_BYTES = 6 * 2**30
"""Host memory of one process: torch with CUDA, tokens that are mapped, pinned buffers."""

KEPT_BYTES = 12
"""Of a parameter in a checkpoint: weight and two moments in float32."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of one process.

    Attributes:
        parameters: Of the whole model.
        state: Weights, gradients, moments.
        gathered: Weights of the blocks at work, gathered from their shards.
        activations: What the backward pass reads.
        host: Host memory.
    """

    parameters: int
    state: float
    gathered: float
    activations: float
    host: float

    @property
    def device(self) -> float:
        """All of it on the device."""
        return self.state + self.gathered + self.activations + CONTEXT_BYTES


def parameters_of(shape: ModelShape) -> int:
    """Parameters of a model."""
    embedding = shape.vocab_size * shape.dim
    positions = shape.max_seq_len * shape.dim if shape.family == "gpt2" else 0
    head = 0 if shape.tied else embedding
    blocks = sum(_block(shape, layer) for layer in range(shape.n_layers))
    return embedding + positions + head + blocks + shape.dim


def _block(shape: ModelShape, layer: int) -> int:
    return _attention(shape) + _feed_forward(shape, layer) + 2 * shape.dim


def _attention(shape: ModelShape) -> int:
    if shape.family == "deepseek_v3":
        latent, heads = shape.latent, shape.n_heads
        assert latent is not None
        wide = heads * (latent.nope_dim + latent.rope_dim)
        query = shape.dim * latent.q_rank + latent.q_rank + latent.q_rank * wide if latent.q_rank else shape.dim * wide
        keys = shape.dim * (latent.kv_rank + latent.rope_dim) + latent.kv_rank
        return (
            query
            + keys
            + latent.kv_rank * heads * (latent.nope_dim + latent.value_dim)
            + (heads * latent.value_dim * shape.dim)
        )
    if shape.family == "gpt2":
        return 4 * shape.dim * shape.dim
    width = shape.head_width
    normed = 2 * width if shape.family == "qwen3" else 0
    return 2 * shape.dim * width * (shape.n_heads + shape.n_kv_heads) + normed


def _feed_forward(shape: ModelShape, layer: int) -> int:
    if shape.family == "gpt2":
        return 2 * shape.dim * shape.ffn_dim
    if shape.experts is not None and layer >= shape.experts.dense_layers:
        experts = shape.experts
        return 3 * shape.dim * experts.ffn_dim * (experts.count + experts.shared) + shape.dim * experts.count
    return 3 * shape.dim * shape.ffn_dim


def estimate(train: TrainConfig, shape: ModelShape) -> Estimate:
    """The memory of one process of a training.

    Args:
        train: The `train` section.
        shape: The model's shape.
    """
    parallel = train.parallel
    parameters = parameters_of(shape)
    cut = parallel.tp * parallel.pp
    shards = parallel.dp_shard * parallel.cp
    zero = parallel.zero_stage
    weights = 4 / (shards if zero == 3 else 1)
    gradients = 4 / (shards if zero >= 2 else 1)
    moments = 8 / shards
    compute = 4 if train.precision == "float32" else 2
    largest = max(*(_block(shape, layer) for layer in range(shape.n_layers)), shape.vocab_size * shape.dim)
    gathered = 2 * compute * largest / parallel.tp if zero == 3 and shards > 1 else 0
    return Estimate(
        parameters=parameters,
        state=parameters / cut * (weights + gradients + moments),
        gathered=gathered,
        activations=_activations(train, shape, compute),
        host=PROCESS_BYTES + (KEPT_BYTES * parameters / cut / shards if train.checkpoint.background else 0),
    )


def _activations(train: TrainConfig, shape: ModelShape, compute: int) -> float:
    parallel = train.parallel
    tokens = train.micro_batch * train.seq_len / parallel.cp / parallel.tp
    width = shape.head_width
    if shape.family == "gpt2":
        values = 8 * shape.dim + 2 * shape.ffn_dim
    elif shape.family == "deepseek_v3":
        assert shape.latent is not None and shape.experts is not None
        latent, experts = shape.latent, shape.experts
        heads = shape.n_heads * (2 * (latent.nope_dim + latent.rope_dim) + 2 * latent.value_dim)
        busy = experts.ffn_dim * (experts.top_k + experts.shared)
        values = 4 * shape.dim + heads + 4 * busy + 2 * shape.dim * experts.top_k
    else:
        # The inputs of two norms, their outputs, the attention's output, queries; keys and values; three products of
        # the gated feed-forward and what its last layer reads.
        values = 5 * shape.dim + width * (shape.n_heads + 2 * shape.n_kv_heads) + 4 * shape.ffn_dim
    passes = min(parallel.pp, parallel.micro_batches_of(train.global_batch, train.micro_batch))
    logits = 2 * 4 * shape.vocab_size * tokens  # float32, and their gradient
    return tokens * values * compute * shape.n_layers / parallel.pp * passes + logits
