"""The first program inside the sandbox: sets the limits, runs the program under test, and says that it came to its end.

It is sent as source text and imports nothing of this package. An exit code proves nothing, because the program under
test may call os._exit(0) on its first line. So success is a token: HMAC(key, challenge). The key comes with the
program; the challenge waits unread in a pipe until the program has come to its end. Neither one is in an argument, an
environment variable, a file or a module that the program could print.

A program and its tests share one interpreter here, as HumanEval has it, so a program written against this very file
could still forge the token, just as it could return an object that equals everything. It could not get out.
"""

import hmac
import json
import os
import resource
import select
import sys
import types

MEMORY_EXIT, FAILURE_EXIT = 77, 1


def _read_exactly(source: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = os.read(source, count - len(data))
        if not part:
            raise SystemExit("the program did not arrive whole")
        data += part
    return data


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        # SIGXCPU at the limit tells a timeout from other deaths; a program that ignores it is killed a second later.
        grace = 1 if name == "RLIMIT_CPU" and (hard == resource.RLIM_INFINITY or value < hard) else 0
        resource.setrlimit(kind, (value, value + grace))


def _end_without_starter(result: int) -> None:
    """Ends if nobody reads the token any more.

    The sandbox dies with its starter from some moment of its start on; this is after it, and sees a death before it.
    """
    watched = select.poll()
    watched.register(result, 0)  # asks for nothing; that there is no reader is told anyway (poll(2), POLLERR)
    if watched.poll(0):
        raise SystemExit("the process that started the sandbox has ended")


def _main() -> None:
    result = int(sys.argv[1])
    _end_without_starter(result)
    source = os.dup(0)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    size = int.from_bytes(_read_exactly(source, 8), "big")
    message = json.loads(_read_exactly(source, size))
    key = bytes.fromhex(message["key"])
    _limit(message["limits"])
    end = os._exit  # the program may put something else in its place
    sys.argv[:] = ["program.py"]
    try:
        code = compile(message.pop("program"), "program.py", "exec")
        # A module of its own, registered as dataclasses and pickle want it, without the names of this file.
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(code, module.__dict__)  # noqa: S102
        sys.stdout.flush()
    except MemoryError:
        message.clear()
        os.write(2, b"MemoryError: the program reached its memory limit\n")
        end(MEMORY_EXIT)
    except BaseException as error:
        _tell(error)
        end(FAILURE_EXIT)
    else:
        challenge = _read_exactly(source, 32)
        os.write(result, hmac.digest(key, challenge, "sha256"))
        end(0)  # without waiting for threads that the program left behind


def _tell(error: BaseException) -> None:
    import traceback

    try:
        sys.stdout.flush()
        # The first frame is this file's.
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, trace, limit=-20)
        sys.stderr.flush()
    except BaseException:
        os.write(2, type(error).__name__.encode() + b"\n")


if __name__ == "__main__":
    _main()
