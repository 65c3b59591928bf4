"""Worker processes of Beam's runner on this machine: quiet, on loopback, and missed when they are killed.

Beam 2.77 starts them by a shell command (`local_job_service.SubprocessSdkWorker`) and waits for ever for one that is
gone; they write Beam's log on the terminal; and its servers listen on every interface, without a password.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.transforms.environments import SubprocessSDKEnvironment

_EVERY_INTERFACE, _LOOPBACK = "[::]:", "localhost:"


class LocalWorkers:
    """The processes of one pipeline.

    Args:
        folder: Where each leaves its process id, and its exit status when that is not 0.
        log: Where their messages go.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder, self._log = folder, log

    def runner(self) -> FnApiRunner:
        """Beam's runner, which starts them when it needs them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.iterdir():
            old.unlink(missing_ok=True)
        python, folder, log = (shlex.quote(str(each)) for each in (sys.executable, self._folder, self._log))
        command = (
            f"{python} -m apache_beam.runners.worker.sdk_worker_main >> {log} 2>&1 & "
            f'echo $! > {folder}/"$WORKER_ID".pid; wait $!; code=$?; '
            f'[ $code = 0 ] || echo $code > {folder}/"$WORKER_ID".lost; exit $code'
        )
        environment: Any = SubprocessSDKEnvironment
        return FnApiRunner(default_environment=environment.from_command_string(command))

    def lost(self) -> str | None:
        """What became of a process that ended before its work; None when all are well."""
        for file in sorted(self._folder.glob("*.lost")):
            status = file.read_text().strip()
            if status:
                code = int(status)
                return f"a process that was killed by signal {code - 128}" if code > 128 else f"exit status {code}"
        return None

    def end(self) -> None:
        """Ends those that are left, when the pipeline did not."""
        for file in self._folder.glob("*.pid"):
            text = file.read_text().strip()
            if text and not file.with_suffix(".lost").exists():
                with suppress(ProcessLookupError):
                    os.kill(int(text), signal.SIGTERM)


class _OnLoopback:
    """The module grpc, except that servers for every interface are for this machine."""

    def __getattr__(self, name: str) -> Any:
        return getattr(grpc, name)

    def server(self, *arguments: Any, **options: Any) -> Any:
        """`grpc.server`."""
        made: Any = grpc.server(*arguments, **options)
        bind = made.add_insecure_port
        made.add_insecure_port = lambda address: bind(address.replace(_EVERY_INTERFACE, _LOOPBACK))
        return made


@contextmanager
def loopback_only() -> Generator[None]:
    """Keeps the servers of Beam's runner on loopback (`add_insecure_port('[::]:0')` in both modules, Beam 2.77)."""
    modules: list[Any] = [worker_handlers, local_job_service]
    shim = _OnLoopback()
    for module in modules:
        module.grpc = shim
    try:
        yield
    finally:
        for module in modules:
            module.grpc = grpc
