"""Published trainings: what is known of each, where it was read, and which half of the table it belongs to."""

from __future__ import annotations

import csv
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from headwater.core.run import ModelShape

Measured = Literal["tokens_per_second_per_gpu", "model_teraflops", "hardware_teraflops", "mfu_percent", "memory"]


class Source(BaseModel):
    """Where figures were read.

    Attributes:
        title: Author and name.
        url: Address of the publication.
        read: In which text the figures were read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    url: str
    read: str


class PublishedRun(BaseModel):
    """A row of the table.

    Attributes:
        run: Name of the row.
        source: Key in `sources`.
        model: Key in `shapes`; a model without a shape is for reference only.
        gpu: Kind of GPU, a key of `clusters.GPUS` or a chip that is not modelled.
        gpus: Number of GPUs.
        seq_len: Tokens in a sample.
        global_batch: Samples in a step.
        micro_batch: Samples in a forward pass of one process.
        virtual: Pipeline stages of one process.
        zero: ZeRO stage of what `dp_shard` (and `cp`) shards; 0: nothing is.
        checkpointing: Which activations are computed again.
        kernels: "eager", "compiled" (torch.compile) or "fused" (written by hand).
        attention: "flash", "flash1" (fused attention from before its second version), or "materialised": the scores
            are written to memory.
        tp_overlap: In which passes the communication of tensor parallelism runs beside the products; in none where
            nothing is said.
        recomputed: Share of the forward pass that is computed again, where the source tells more than `checkpointing`.
        network_gbps: Bandwidth of the network for each GPU, where it is not that of the kind of GPU.
        network: Its kind, where it is neither InfiniBand nor RoCE, which alone are modelled: speed is for reference.
        loss: What cross-entropy keeps of the logits, as `Job.loss`.
        pure: Whether weights, gradients and optimizer state are in bfloat16.
        reduce: In which precision gradients are reduced; float32 where nothing is said.
        sequence_parallel: Whether tensor parallelism cuts what lies between the products too; yes where nothing is
            said.
        data_overlap: Whether gathering weights and reducing gradients runs beside the work; yes where nothing is said.
        split: "outer" where pipeline stages count embedding and head as a block each.
        gradient_bytes: Bytes of a gradient that a process keeps whole under ZeRO 1; 4 where nothing is said.
        measured: What `value` is. Hardware teraFLOP/s count the recomputed forward pass too; "memory": no speed is
            known.
        value: As published.
        memory_gib: Peak memory of a GPU that the source gives, in GiB.
        memory_kind: What was measured: "allocated" tensors, what torch's allocator "reserved", or all that the "device"
            had in use, which is assumed where the source does not say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    source: str
    model: str
    gpu: str
    gpus: int = Field(ge=1)
    seq_len: int = Field(ge=1)
    global_batch: int | None
    micro_batch: int | None
    precision: Literal["bf16", "fp8"]
    tp: int | None
    pp: int | None
    virtual: int | None
    cp: int | None
    ep: int | None
    dp_replicate: int | None
    dp_shard: int | None
    zero: Literal[0, 1, 2, 3] | None
    checkpointing: Literal["none", "selective", "full"] | None
    kernels: Literal["eager", "compiled", "fused"] | None
    attention: Literal["flash", "flash1", "materialised"] | None
    tp_overlap: Literal["backward", "all"] | None
    recomputed: float | None = Field(ge=0, le=1)
    network_gbps: float | None
    network: Literal["omni-path"] | None
    loss: Literal["plain", "fused", "in_place"] | None
    pure: bool | None
    reduce: Literal["bf16", "fp32"] | None
    sequence_parallel: bool | None
    data_overlap: bool | None
    split: Literal["blocks", "outer"] | None
    gradient_bytes: float | None
    measured: Measured
    value: float | None
    memory_gib: float | None
    memory_kind: Literal["allocated", "reserved", "device"] | None
    note: str

    @field_validator("zero", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return int(value) if isinstance(value, str) else value

    @property
    def modelled(self) -> bool:
        """Whether enough is known to predict it: its speed, its memory, or both."""
        return self.measured != "mfu_percent"

    @property
    def speed_modelled(self) -> bool:
        """Whether its speed is known, and on hardware that is modelled."""
        return self.modelled and self.value is not None and self.network is None

    @property
    def calibrates(self) -> bool:
        """Whether it belongs to the half that parameters are fitted on.

        Rows of one source, model and kind of GPU stay together, so that no near twin of a held-back row is fitted on:
        those whose SHA-256 of `source/model/gpu` begins with 0 to 7.
        """
        group = f"{self.source}/{self.model}/{self.gpu}"
        return hashlib.sha256(group.encode()).hexdigest()[0] < "8"


@cache
def published_runs() -> tuple[PublishedRun, ...]:
    """The rows of `facts/runs.csv`."""
    text = (_facts() / "runs.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(PublishedRun.model_validate({key: value or None for key, value in row.items()} | {"note": row["note"]})
                 for row in rows)  # fmt: skip


@cache
def sources() -> dict[str, Source]:
    """The sources of `published_runs`, by key."""
    return {key: Source.model_validate(value) for key, value in _read("sources.yaml").items()}


@cache
def shapes() -> dict[str, ModelShape]:
    """The shapes of the models of `published_runs`, by name."""
    common = {"rope_theta": 10_000.0, "norm_eps": 1e-5}
    return {
        name: ModelShape.model_validate(common | {key: value for key, value in values.items() if key != "source"})
        for name, values in _read("models.yaml").items()
    }


def _read(name: str) -> dict[str, dict[str, Any]]:
    return yaml.safe_load((_facts() / name).read_text(encoding="utf-8"))


def _facts() -> Any:
    return files("headwater.train.plan") / "facts"
