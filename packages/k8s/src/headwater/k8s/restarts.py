"""What is started again, and what is not: exit codes of the trainer, in the terms of Job and JobSet.

| what happened | exit code | what follows |
|---|---|---|
| evicted, preempted, drained | 75, or none (killed) | all pods start again, as often as it happens |
| a stall that ends the run (`guard.stall.respond: exit`), after a new checkpoint | 75 | the same |
| a stall before any | 69 | all pods start again, at most `max_restarts` times |
| a pod died, a node is gone, memory ran out | 137, 139, … | the same |
| another pod died first | 76 | the same |
| the recipe, the data or the program is wrong | 1, 2 | the job has failed and stays so |

The Job fails at the first failed pod, and its JobSet starts all of its pods again: processes of a training cannot be
replaced one by one. The JobSet tells evictions from bugs by the message of the Job's failure.
"""

from __future__ import annotations

from typing import Any

AGAIN = 75
"""EX_TEMPFAIL of sysexits.h: a checkpoint was written, run the same command again."""

PEER_LOST = 76
"""EX_PROTOCOL of sysexits.h: another process of the training went away."""

FAILED = (1, 2)
"""A bug, or a recipe that is refused: another try would end the same."""

CONTAINER = "node"
"""Name of the container; Kubeflow Trainer's name for it."""


def _exit(action: str, codes: tuple[int, ...], *, any_container: bool = False) -> dict[str, Any]:
    named = {} if any_container else {"containerName": CONTAINER}
    return {"action": action, "onExitCodes": {**named, "operator": "In", "values": list(codes)}}


def _disrupted(action: str) -> dict[str, Any]:
    return {"action": action, "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def of_training() -> dict[str, Any]:
    """`podFailurePolicy` of a training's Job: any failed pod fails it at once, with the reason in the message."""
    return {"rules": [_disrupted("FailJob"), _exit("FailJob", (AGAIN,)), _exit("FailJob", FAILED)]}


def of_jobset(max_restarts: int) -> dict[str, Any]:
    """`failurePolicy` of a training's JobSet.

    Args:
        max_restarts: After failures that are neither an eviction nor a bug.
    """
    announced = [f".*exit code {AGAIN} matching.*", ".*condition DisruptionTarget matching.*"]
    return {
        "maxRestarts": max_restarts,
        # The old pods have to be gone: they hold the run's lock and the first one's address.
        "restartStrategy": "BlockingRecreate",
        "rules": [
            {"name": "evicted", "action": "RestartJobSetAndIgnoreMaxRestarts",
             "onJobFailureReasons": ["PodFailurePolicy"], "onJobFailureMessagePatterns": announced},
            {"name": "bug", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]},
        ],
    }  # fmt: skip


def of_single(final: tuple[int, ...] = FAILED, *, any_container: bool = False) -> dict[str, Any]:
    """`podFailurePolicy` of a Job of one pod: evictions do not count, and some exit codes are final.

    Args:
        final: Those codes.
        any_container: Whether those of init containers count as well.
    """
    codes = [
        _exit("Ignore", (AGAIN,), any_container=any_container), _exit("FailJob", final, any_container=any_container),
    ]  # fmt: skip
    return {"rules": [_disrupted("Ignore"), *codes]}
