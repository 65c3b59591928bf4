"""A training on a layout: what memory and speed are reckoned from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from headwater.core.run import ModelShape
from headwater.train.optimizers.config import AdamW, Optimizer
from headwater.train.plan.counts import Counts, Layer, counts

Precision = Literal["float32", "bfloat16", "float8"]
Checkpointing = Literal["none", "selective", "full"]
Method = Literal["pretrain", "sft", "lora", "qlora"]
Loss = Literal["plain", "fused", "in_place"]

ADAMW = AdamW()
SCHEDULES_WITHOUT_BUBBLE = ("ZBVZeroBubble", "InterleavedZeroBubble")


@dataclass(frozen=True)
class Degrees:
    """Degrees of parallelism; the product of all but `ep` is the number of processes.

    Attributes:
        virtual: Pipeline stages of one process.
        schedule: Of the pipeline, under torch's name.
        zero: ZeRO stage of what `dp_shard * cp` shards; 0: weights, gradients and optimizer state are on each process.
    """

    dp_replicate: int = 1
    dp_shard: int = 1
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    virtual: int = 1
    schedule: str = "1F1B"
    zero: int = 3

    @property
    def dp(self) -> int:
        """Processes, or groups of them, that read different samples."""
        return self.dp_replicate * self.dp_shard

    @property
    def shards(self) -> int:
        """Parts that FSDP cuts a parameter into: context parallel processes take part."""
        return self.dp_shard * self.cp

    @property
    def expert_shards(self) -> int:
        """The same of experts, whose processes are taken from `dp_shard`, `cp` and `tp`."""
        return max(1, self.dp_shard * self.cp * self.tp // self.ep)

    @property
    def processes(self) -> int:
        """All of them."""
        return self.dp * self.tp * self.pp * self.cp


@dataclass(frozen=True)
class Job:
    """A training on a layout.

    Attributes:
        shape: The model.
        degrees: The layout.
        seq_len: Tokens in a sample.
        global_batch: Samples in a step.
        micro_batch: Samples in a forward pass of one process.
        precision: Of the products; weights, gradients and optimizer state are in float32.
        checkpointing: Which activations are computed again in the backward pass (Korthikanti et al., 2022,
            arXiv:2205.05198); "selective": what lies between the linear layers, and every second of those.
        kernels: "eager", "compiled" or "fused": how much the operations between products cost.
        attention: "flash", "flash1" (its first version), or "materialised" when scores are written to memory.
        tp_overlap: In which passes tensor parallel communication runs beside the products; none: in neither.
        recomputed: Share of the forward pass that is computed again; none: what `checkpointing` means.
        method: "pretrain" and "sft" train all weights; "lora" adapters of `lora_rank` beside frozen bfloat16 weights
            (Hu et al., 2021, arXiv:2106.09685); "qlora" the same beside 4-bit weights (Dettmers et al., 2023,
            arXiv:2305.14314).
        loss: How cross-entropy is computed: "plain"; "fused", as torch.compile makes it; or "in_place", as Megatron-LM.
        pure: Whether weights, gradients and optimizer state are in bfloat16, as in some published runs.
        reduce_bytes: Bytes of a gradient when it is reduced over processes: the trainer does so in float32.
        gradient_bytes: Bytes of a gradient that a process keeps whole under ZeRO 1, over several micro-batches.
        sequence_parallel: Whether tensor parallelism cuts what lies between the products too (Korthikanti et al., 2022,
            section 4.2.2), as the trainer does.
        data_overlap: Whether gathering weights and reducing gradients runs beside the work, as the trainer's does.
        outer_as_blocks: Whether pipeline stages count embedding and head as a block each.
        optimizer: The recipe's section; adapters have AdamW.
        offload: Whether the optimizer's state lies in host memory.
    """

    shape: ModelShape
    degrees: Degrees
    seq_len: int
    global_batch: int
    micro_batch: int
    precision: Precision = "bfloat16"
    checkpointing: Checkpointing = "none"
    kernels: str = "compiled"
    attention: str = "flash"
    tp_overlap: Literal["backward", "all"] | None = None
    recomputed: float | None = None
    method: Method = "pretrain"
    lora_rank: int = 16
    pure: bool = False
    reduce_bytes: int = 4
    gradient_bytes: float = 4
    sequence_parallel: bool = True
    data_overlap: bool = True
    outer_as_blocks: bool = False
    loss: Loss = "plain"
    optimizer: Optimizer = ADAMW
    offload: bool = False

    @cached_property
    def counts(self) -> Counts:
        """Parameters of the model."""
        return counts(self.shape)

    @cached_property
    def micro_batches(self) -> int:
        """Forward passes of one process in a step."""
        return max(1, self.global_batch // (self.micro_batch * self.degrees.dp))

    @property
    def adapters(self) -> bool:
        """Whether adapters are trained, beside weights that are frozen."""
        return self.method in ("lora", "qlora")

    @property
    def tokens(self) -> int:
        """Tokens of a micro-batch on one process, of the tokens that context parallelism leaves it."""
        return self.micro_batch * self.seq_len // self.degrees.cp

    @property
    def product_bytes(self) -> int:
        """Bytes of a weight in a product."""
        return 4 if self.precision == "float32" else 2

    @cached_property
    def stages(self) -> tuple[dict[Layer, int], ...]:
        """The blocks of each pipeline process, over all its stages, and how many of each kind.

        With several stages a process, stage `i` is on process `i % pp`; the first stages have one block more when their
        number does not divide the blocks.
        """
        pp, virtual = self.degrees.pp, self.degrees.virtual
        layers: tuple[Layer | None, ...] = self.counts.layers
        if self.outer_as_blocks:
            layers = (None, *layers, None)
        number = pp * virtual
        parts: list[Counter[Layer]] = [Counter() for _ in range(pp)]
        start = 0
        for index in range(number):
            size = len(layers) // number + (index < len(layers) % number)
            parts[index % pp].update(layer for layer in layers[start : start + size] if layer)
            start += size
        return tuple(dict(part) for part in parts)

    @property
    def last_rank(self) -> int:
        """The pipeline process that has the head: the last, or the first under a schedule that folds in a V."""
        return 0 if self.degrees.schedule == "ZBVZeroBubble" else self.degrees.pp - 1

    @property
    def distinct_ranks(self) -> set[int]:
        """Those among which the heaviest and the slowest process are: with embedding, without both, with head."""
        return {0, min(1, self.degrees.pp - 1), self.degrees.pp - 1}
