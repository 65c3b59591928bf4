"""The pipeline: how the model is cut into stages, and one pass of micro-batches through torch's schedules.

`run_schedule` covers `torchtitan/trainer.py:842` and `torchtitan/components/validate.py:352`, which hand lists of
micro-batches to `schedule.step` and `schedule.eval`: torch 2.13 has no such arguments. Unnecessary with one that has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.pipelining.schedules import _ComputationType as Action
from torchtitan.models.common.moe import MoE

FORWARD = {Action.FORWARD, Action.SEND_F, Action.RECV_F, Action.UNSHARD, Action.RESHARD}
"""What is left of a schedule without its backward pass."""


def stage_modules(n_layers: int, stages: int) -> list[list[str]]:
    """The modules of each pipeline stage: equal numbers of layers, the embedding first and the head last.

    Args:
        n_layers: Layers of the model, a multiple of `stages`.
        stages: Stages over all processes.
    """
    width = n_layers // stages
    cut = [[f"layers.{layer}" for layer in range(width * stage, width * (stage + 1))] for stage in range(stages)]
    cut[0].insert(0, "tok_embeddings")
    cut[-1] += ["norm", "lm_head"]
    return cut


def run_schedule(
    schedule: Any, micro_batches: Sequence[tuple[torch.Tensor, torch.Tensor, dict[str, Any]]], *, first: bool,
    last: bool, backward: bool, **loss_arguments: Any,
) -> torch.Tensor:  # fmt: skip
    """Runs one pass through the pipeline.

    Args:
        schedule: torch's schedule.
        micro_batches: Inputs, labels and the model's other arguments of each; as many as the schedule was made for.
        first: Whether this process has the first stage.
        last: Whether it has the last one.
        backward: Whether to go back too.
        **loss_arguments: Further arguments of the loss function.

    Returns:
        The sum of the micro-batches' losses; 0 on a process without the last stage.
    """
    stages = schedule._stages if hasattr(schedule, "_stages") else [schedule._stage]
    losses: list[torch.Tensor] = []
    with _direction(schedule, backward), torch.set_grad_enabled(backward):
        for stage in stages:
            stage.has_backward = backward
            stage.clear_runtime_states()
        arguments = [(inputs,) for inputs, _, _ in micro_batches] if first else None
        keywords = [extra for _, _, extra in micro_batches]
        targets = [labels for _, labels, _ in micro_batches] if last else None
        _initialise(schedule, stages, arguments, keywords, targets, loss_arguments)
        schedule._step_microbatches(
            arguments, keywords, targets, losses if last else None, return_outputs=False, loss_kwargs=loss_arguments
        )
    device = stages[0].device
    return torch.stack(losses).sum().to(device) if last else torch.zeros((), device=device)


@contextmanager
def _direction(schedule: Any, backward: bool) -> Iterator[None]:
    """Turns the backward pass off for a while.

    A schedule of several stages is a list of actions. torch leaves its backward ones in, and where a process has two
    neighbouring stages, as in a V, they fail.
    """
    both_ways, orders = schedule._has_backward, getattr(schedule, "pipeline_order_with_comms", None)
    schedule._has_backward = backward
    if orders is not None and not backward:
        schedule.pipeline_order_with_comms = {
            rank: [action for action in actions if action.computation_type in FORWARD]
            for rank, actions in orders.items()
        }
    try:
        yield
    finally:
        schedule._has_backward = both_ways
        if orders is not None:
            schedule.pipeline_order_with_comms = orders


def _initialise(
    schedule: Any, stages: list[Any], arguments: Any, keywords: Any, targets: Any, loss_arguments: dict[str, Any]
) -> None:
    """Makes the stages' buffers, as the schedule itself would, and undoes what that leaves behind.

    torch finds out the shapes by passing real micro-batches through the stages, and an expert layer counts the tokens
    that pass through it.
    """
    counts = [module.tokens_per_expert_E for stage in stages for module in _mixtures(stage.submod)]
    before = [count.clone() for count in counts]
    initialise = getattr(schedule, "_initialize_stages", None) or schedule._initialize_stage
    initialise(
        arguments[0] if arguments else (), keywords[0], targets[0] if targets else None, loss_kwargs=loss_arguments
    )
    for count, value in zip(counts, before, strict=True):
        count.copy_(value)


def _mixtures(module: nn.Module) -> list[MoE]:
    return [part for part in module.modules() if isinstance(part, MoE)]
