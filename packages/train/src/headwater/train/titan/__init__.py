"""The only place that imports torchtitan.

`start(device)` must run before any other module of this folder is imported: torchtitan describes the device in names
that its modules copy when they are imported.
"""

from __future__ import annotations

import gc
import logging
import os
import sys

from headwater.core.errors import ConfigError

_log_level: int | None = None
"""The root logger's level before `start`, which `stop` puts back."""

_ours = False
"""Whether `start` set LOCAL_RANK, which `stop` takes away again."""

_excepthook = sys.excepthook
"""What torch puts the name of the rank before the lines of, once more with every process group."""

_collects = True
"""Whether Python collected garbage before the first `start`."""
_started = 0
"""How often `start` was called more than `stop`: processes that train several times join one process group."""


def choose_device(device: str) -> str:
    """The device that `auto`, `cpu` or `cuda` means here.

    Raises:
        ConfigError: CUDA is asked for and there is none.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("train.device asks for CUDA, and there is none here", found=device, expected="cpu or auto")
    return device


def start(device: str, world_size: int, threads: int | None) -> None:
    """Prepares the process: CPU shims, threads, and the process group.

    A single process needs no launcher, no port and no store on the network. Calls nest: the process group lasts until
    the last `stop`.

    Raises:
        ConfigError: The number of processes that the launcher started is not the product of `train.parallel`.
    """
    import warnings

    import torch
    import torch.distributed as dist

    from headwater.train.titan import cpu

    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != world_size:
        raise ConfigError(
            "the number of processes is not the product of the degrees in train.parallel",
            found=f"{launched} processes", expected=f"{world_size} processes",
            hint=f"start with: torchrun --standalone --nproc-per-node {world_size} -m -- headwater.train run …",
        )  # fmt: skip
    global _ours
    _ours = _ours or "LOCAL_RANK" not in os.environ
    os.environ.setdefault("LOCAL_RANK", "0")  # torchtitan's; left behind, Accelerate would take this for a launcher's
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "3")
    if threads is not None:
        torch.set_num_threads(threads)
    # torchtitan logs to the root logger; what matters to users goes through events, metrics and the progress bar.
    global _log_level
    _log_level = logging.getLogger().level if _log_level is None else _log_level
    logging.getLogger().setLevel(logging.ERROR)
    for name in ("torchao", "torch.utils._pytree"):  # that kernels of torchao for other devices do not load is no news
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=r"DTensor manual_seed\(\) may not have complete support")
    # True of drawing tensors on a CPU mesh, which happens once, before any sharding; and of a scheduler's restore.
    warnings.filterwarnings("ignore", message="DTensor random operators may not have complete support")
    warnings.filterwarnings("ignore", message="To get the last learning rate computed by the scheduler")
    # Rank 0 alone reads what all of them wrote: that is what is meant.
    warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
    # A router computes in float32 anyway, unless something else turns autocast on.
    warnings.filterwarnings("ignore", message="In CPU autocast, but the target dtype is not supported")
    cpu.install(device)
    # As torchtitan does when it makes the process group itself: backward stays on the calling thread.
    torch.autograd.set_multithreading_enabled(False)
    if not dist.is_initialized():
        global _excepthook
        _excepthook = sys.excepthook
        backend = "nccl" if device == "cuda" else "gloo"
        if launched == 1:
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        else:
            dist.init_process_group(backend)
    global _started, _collects
    if not _started:
        _collects = gc.isenabled()  # torchtitan's trainer stops it, and collects between steps itself
    _started += 1


def stop() -> None:
    """Leaves the process group, so that the process can end or train again."""
    import torch.distributed as dist

    global _log_level, _started, _ours
    _started -= 1
    if _started:
        return
    if _ours:
        os.environ.pop("LOCAL_RANK", None)
        _ours = False
    if _log_level is not None:
        logging.getLogger().setLevel(_log_level)
        _log_level = None
    if dist.is_initialized():
        dist.destroy_process_group()
        sys.excepthook = _excepthook
    if _collects:
        gc.enable()
        gc.collect()  # what was trained: its weights, and the token files that it held open
