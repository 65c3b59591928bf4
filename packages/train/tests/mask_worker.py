"""One process: scores one document of packed samples on each layout, with its neighbours as they are and changed.

Rank 0 writes, for each layout, the largest difference of any token's
loss when the documents are apart, the same when they are one (so that the test can fail), and how many tokens.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from headwater.train import titan
from headwater.train.held_out import IGNORE, HeldOut
from headwater.train.runner import open_run
from headwater.train.session import Session

BEGIN, END = 19, 45  # of the scored document, in samples of 64 tokens


def data(length: int, vocab: int, windows: int, *, changed: bool, apart: bool) -> HeldOut:
    """Three documents a sample, of which the middle one is scored; `changed` are the tokens of the others."""
    tokens = np.random.default_rng(0).integers(0, vocab, (windows, length + 1))
    if changed:
        middle = tokens[:, BEGIN:END].copy()
        tokens = np.random.default_rng(1).integers(0, vocab, tokens.shape)
        tokens[:, BEGIN:END] = middle
    positions = np.arange(length)
    if apart:
        positions = np.concatenate([np.arange(BEGIN), np.arange(END - BEGIN), np.arange(length - END)])
    labels = np.full((windows, length), IGNORE)
    labels[:, BEGIN : END - 1] = tokens[:, BEGIN + 1 : END]
    return HeldOut(
        tokens[:, :-1],
        labels,
        np.tile(positions, (windows, 1)),
        np.zeros(windows, dtype=np.int64),
        ("text",),
        text_bytes=1,
        documents=3,
    )


def losses_of(trainer, records: list[torch.Tensor], variant: HeldOut) -> torch.Tensor:
    """This process's tokens' losses, in the order in which it scores them."""
    records.clear()
    trainer.validator._data = variant
    trainer.validator.figures(trainer)
    return torch.cat(records) if records else torch.zeros(0)


def main(jobs: Path, out: Path) -> None:
    results: dict[str, dict[str, float]] = {}
    for job in json.loads(jobs.read_text()):
        inputs = open_run(job["recipe"], Path(job["run"]), job["overrides"])
        config = inputs.config
        if not results:
            titan.start("cpu", config.parallel.world_size, 1)
            records = record_losses()
        from headwater.train.titan.build import trainer_config
        from headwater.train.titan.trainer import HeadwaterTrainer

        # More windows than a batch, and no multiple of it: the last ones are filled up with rows that do not count.
        cases = [(changed, apart) for changed in (False, True) for apart in (False, True)]
        variants = [data(config.seq_len, inputs.vocab_size, 9, changed=one, apart=two) for one, two in cases]
        trainer = HeadwaterTrainer(trainer_config(inputs, variants[0], [], "cpu"), inputs, Session(inputs.run))
        found = dict(zip(cases, [losses_of(trainer, records, variant) for variant in variants], strict=True))
        results[job["name"]] = {
            "apart": largest(found[False, True] - found[True, True]),
            "joined": largest(found[False, False] - found[True, False]),
            "tokens": float(trainer.parallel_sum(torch.tensor(float(len(found[False, True]))))),
        }
        trainer.close()
    if dist.get_rank() == 0:
        out.write_text(json.dumps(results))
    titan.stop()


def largest(value: torch.Tensor) -> float:
    whole = value.abs().max() if len(value) else torch.zeros(())
    dist.all_reduce(whole, op=dist.ReduceOp.MAX)
    return float(whole)


def record_losses() -> list[torch.Tensor]:
    """Keeps each token's loss of every call of the loss function, whichever stage of a pipeline makes it."""
    from headwater.train.titan.sample_loss import SampleLoss

    records: list[torch.Tensor] = []
    original = SampleLoss.__call__

    def recording(self, pred, labels, *more, **named):
        whole = pred.full_tensor() if isinstance(pred, DTensor) else pred
        each = F.cross_entropy(whole.flatten(0, 1).float(), labels.flatten(0, 1), reduction="none")
        records.append(each[labels.flatten(0, 1) != IGNORE].detach())
        return original(self, pred, labels, *more, **named)

    SampleLoss.__call__ = recording
    return records
