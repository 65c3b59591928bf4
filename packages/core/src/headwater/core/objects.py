"""Files and objects by one name: a local path, or a URI of any store that fsspec knows (`s3://`, `gs://`, `hf://`, …).

Local paths need nothing. A store's client is imported when the first URI of it is opened; the larger ones are extras
of headwater-data. Credentials come from where the clients look for them (environment variables, the instance's
role): they are in no recipe and in no artifact.
"""

from __future__ import annotations

import glob
import hashlib
import importlib
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from headwater.core.errors import ConfigError, HeadwaterError, StorageError

_CHUNK = 1 << 20
# Package that has the client, by protocol; the extra of headwater-data has the protocol's first name.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "hf": "hf", "http": "http", "https": "http"}
_ANONYMOUS: dict[str, dict[str, Any]] = {"s3": {"anon": True}, "gs": {"token": "anon"}}
# Where stores say which bytes an object has; the first that is there is taken.
_ETAGS = ("ETag", "etag", "lfs", "blob_id", "md5Hash", "content_md5")


@dataclass(frozen=True, slots=True)
class Stat:
    """What a store says of an object: its size in bytes (-1: it does not say) and its entity tag ("": none)."""

    bytes: int
    etag: str


def is_remote(uri: str) -> bool:
    """Whether a name has a protocol, and so is no local path."""
    protocol, separator, _ = uri.partition("://")
    return bool(separator) and protocol.isalnum() and protocol != "file"


def local_path(uri: str) -> Path:
    """The path of a local name."""
    return Path(uri.removeprefix("file://")).expanduser()


def join(root: str, name: str) -> str:
    """The URI or path of a name below a root."""
    return f"{root.rstrip('/')}/{name}" if root.rstrip("/") else f"{root}{name}"


@contextmanager
def object_errors(action: str, uri: str) -> Generator[None]:
    """Turns whatever a store's client raises into a `StorageError` that says what was being done.

    Args:
        action: What is being done, for example "read".
        uri: What it is being done to.
    """
    try:
        yield
    except HeadwaterError:
        raise
    except FileNotFoundError as error:
        raise StorageError(f"cannot {action} {uri}: it is not there", found="nothing of that name",
                           hint="it was moved or deleted, or the name is misspelt") from error  # fmt: skip
    except PermissionError as error:
        raise StorageError(
            f"cannot {action} {uri}: access was denied", found=_said(error), hint=_sign_in(uri)
        ) from error
    except Exception as error:
        if type(error).__name__ in _CREDENTIALS:
            raise StorageError(f"cannot {action} {uri}: no credentials were found", found=_said(error),
                               hint=_sign_in(uri)) from error  # fmt: skip
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _CLIENTS:
            raise
        raise StorageError(f"cannot {action} {uri}", found=_said(error),
                           hint="run the same command again: finished work is kept") from error  # fmt: skip


_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "LocalTokenNotFoundError")
_CLIENTS = frozenset(("aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "httpx", "huggingface_hub",
                      "requests", "s3fs", "urllib3"))  # fmt: skip


def _said(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {' '.join(text.split())[:300]}"


def _sign_in(uri: str) -> str:
    protocol = uri.partition("://")[0]
    how = {
        "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (a public bucket: `anonymous: true`)",
        "gs": "set GOOGLE_APPLICATION_CREDENTIALS (a public bucket: `anonymous: true`)",
        "hf": "set HF_TOKEN",
    }
    return how.get({"s3a": "s3", "gcs": "gs"}.get(protocol, protocol), "check who may read it")


def filesystem(uri: str, *, anonymous: bool = False) -> tuple[Any, str]:
    """The fsspec file system of a URI, and the URI's path in it.

    Args:
        uri: A URI with a protocol.
        anonymous: Whether to ask without credentials, as for a public bucket.

    Raises:
        ConfigError: There is no such protocol, or the package that speaks it is not installed.
    """
    fsspec: Any = importlib.import_module("fsspec")
    protocol = uri.partition("://")[0]
    options: dict[str, Any] = {"use_listings_cache": False}
    if anonymous:
        options |= _ANONYMOUS.get({"s3a": "s3", "gcs": "gs"}.get(protocol, protocol), {})
    try:
        with object_errors("open", uri):
            system, path = fsspec.core.url_to_fs(uri, **options)
            return system, path
    except ImportError as error:
        extra = _EXTRAS.get(protocol, protocol)
        raise ConfigError(f"{protocol}:// needs a package that is not installed", found=str(error).splitlines()[0],
                          hint=f"pip install 'headwater-data[{extra}]', or headwater-train's") from error  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"{uri} is no URI that can be opened", found=str(error),
                          expected="a local path, s3://, gs://, hf://, https:// …") from error  # fmt: skip


class _Guarded:
    """A binary file for reading whose failures are `StorageError`: never mistaken for damage in what it holds."""

    def __init__(self, stream: IO[bytes], uri: str) -> None:
        self._stream, self._uri = stream, uri

    def read(self, size: int = -1) -> bytes:
        with object_errors("read", self._uri):
            return self._stream.read(size)

    def readinto(self, target: Any) -> int:
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with object_errors("read", self._uri):
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def flush(self) -> None:
        """Nothing to flush."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> _Guarded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_object(uri: str, *, anonymous: bool = False) -> IO[bytes]:
    """Opens a file or an object for reading, with seek; reads of remote ones become range requests.

    Raises:
        StorageError: It is not there, or must not be read; `read` and `seek` raise it too.
        ConfigError: As `filesystem`.
    """
    with object_errors("open", uri):
        if not is_remote(uri):
            stream: Any = open(local_path(uri), "rb", buffering=_CHUNK)  # noqa: SIM115 (closed by the caller)
        else:
            system, path = filesystem(uri, anonymous=anonymous)
            stream = system.open(path, "rb")
    return cast("IO[bytes]", _Guarded(stream, uri))


def read_range(uri: str, start: int, stop: int, *, anonymous: bool = False) -> bytes:
    """The bytes from `start` to before `stop` (fewer where it ends earlier), by one request.

    Raises:
        StorageError, ConfigError: As `open_object`.
    """
    if not is_remote(uri):
        with open_object(uri) as stream:
            stream.seek(start)
            return stream.read(stop - start)
    with object_errors("read", uri):
        system, path = filesystem(uri, anonymous=anonymous)
        return cast("bytes", system.cat_file(path, start=start, end=stop))


def stat(uri: str, *, anonymous: bool = False) -> Stat:
    """The size and the entity tag, as they are now.

    Raises:
        StorageError, ConfigError: As `open_object`.
    """
    with object_errors("read", uri):
        if not is_remote(uri):
            return Stat(local_path(uri).stat().st_size, "")
        system, path = filesystem(uri, anonymous=anonymous)
        system.invalidate_cache()
        return _stat(system.info(path))


def _stat(info: dict[str, Any]) -> Stat:
    found: Any = next((info[name] for name in _ETAGS if info.get(name)), "")
    if not isinstance(found, str | bytes):  # of a large file on the Hugging Face Hub: its SHA-256, in an object
        found = getattr(found, "sha256", None) or (cast("Any", found).get("sha256") if isinstance(found, dict) else "")
    return Stat(-1 if info.get("size") is None else int(info["size"]), str(found or "").strip('"'))


def find(pattern: str, *, anonymous: bool = False) -> dict[str, Stat]:
    """The files that a glob pattern (`*`, `?`, `[…]`, `**`) names, by URI or path, in order.

    Raises:
        StorageError, ConfigError: As `open_object`.
    """
    with object_errors("list", pattern):
        if not is_remote(pattern):
            names = sorted(glob.glob(str(local_path(pattern)), recursive=True, include_hidden=False))  # noqa: PTH207
            return {name: Stat(Path(name).stat().st_size, "") for name in names if Path(name).is_file()}
        system, path = filesystem(pattern, anonymous=anonymous)
        system.invalidate_cache()
        protocol = pattern.partition("://")[0]
        if not any(mark in path for mark in "*?["):
            return {pattern: _stat(system.info(path))}
        found: dict[str, Any] = system.glob(path, detail=True)
        plain = {name: info for name, info in found.items() if info.get("type", "file") == "file"}
        return {_named(protocol, name): _stat(info) for name, info in sorted(plain.items())}


def listing(root: str) -> list[str]:
    """Every file below a folder or a prefix, hidden ones too, by URI or path, in order; none where nothing is.

    Raises:
        StorageError, ConfigError: As `open_object`.
    """
    with object_errors("list", root):
        if not is_remote(root):
            return sorted(str(path) for path in local_path(root).rglob("*") if path.is_file())
        system, path = filesystem(root)
        system.invalidate_cache()
        protocol = root.partition("://")[0]
        return sorted(_named(protocol, name) for name in system.find(path))


def _named(protocol: str, path: str) -> str:
    return path if "://" in path else f"{protocol}://{path.lstrip('/')}"


def sha256(uri: str, *, anonymous: bool = False, tick: Callable[[float], None] | None = None) -> tuple[int, str]:
    """The size and SHA-256 of what is there now.

    Args:
        uri: What to read, from one end to the other.
        anonymous: As `filesystem`.
        tick: Called with the number of bytes read since the last call.

    Raises:
        StorageError, ConfigError: As `open_object`.
    """
    state, size = hashlib.sha256(), 0
    with open_object(uri, anonymous=anonymous) as stream:
        while chunk := stream.read(_CHUNK):
            state.update(chunk)
            size += len(chunk)
            if tick is not None:
                tick(len(chunk))
    return size, state.hexdigest()


def present(uri: str) -> Stat | None:
    """What is there now, or None when nothing is.

    Raises:
        StorageError, ConfigError: As `open_object`.
    """
    try:
        return stat(uri)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def put(content: Path, uri: str) -> None:
    """Places a finished local file under a name, so that it is seen whole or not at all.

    Args:
        content: The file; it may be moved away.
        uri: Where it goes; folders are made.

    Raises:
        StorageError, ConfigError: As `open_object`.
    """
    with object_errors("write", uri):
        if not is_remote(uri):
            target = local_path(uri)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
            try:
                shutil.copyfile(content, temporary)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            return
        system, path = filesystem(uri)
        system.put_file(str(content), path)


def get(uri: str, target: Path) -> None:
    """Copies a file or an object to a local path, whose folder must exist.

    Raises:
        StorageError, ConfigError: As `open_object`.
    """
    with object_errors("read", uri):
        if not is_remote(uri):
            shutil.copyfile(local_path(uri), target)
            return
        system, path = filesystem(uri)
        system.get_file(path, str(target))


def delete(uri: str) -> None:
    """Deletes a file or an object, if it is there.

    Raises:
        StorageError, ConfigError: As `open_object`.
    """
    with object_errors("delete", uri):
        if not is_remote(uri):
            local_path(uri).unlink(missing_ok=True)
            return
        system, path = filesystem(uri)
        with suppress(FileNotFoundError):
            system.rm_file(path)
