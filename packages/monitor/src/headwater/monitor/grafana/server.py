"""A Grafana server over its HTTP API, with errors that say what to do. The one module that imports grafana-client."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headwater.core.console import warn
from headwater.core.errors import ConfigError, StorageError
from headwater.core.storage import storage_errors

if TYPE_CHECKING:
    from grafana_client import GrafanaApi

TOKEN = "GRAFANA_TOKEN"  # noqa: S105 (the name of a variable)
"""Environment variable of the service account's token."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HINTS = {
    401: "make a token of a service account (Administration → Users and access → Service accounts), and give it with "
         f"{TOKEN} or --token-file; an old one may have ended",
    403: "the service account needs the role Admin, or the rights folders:*, dashboards:*, datasources:*, alert.*",
    404: "is the address that of Grafana, with its path if it has one (https://host/grafana)?",
    409: "another one has that name: rename or remove it in Grafana",
    412: "somebody changed it meanwhile: look at it, and run the command again",
}  # fmt: skip


def token_of(file: Path | None) -> str:
    """The token, from a file or from the environment; never from the command line, which others can read.

    Raises:
        ConfigError: There is none, or the file holds more than one line.
        StorageError: The file cannot be read.
    """
    if file is None:
        text, place = os.environ.get(TOKEN, ""), f"the environment variable {TOKEN}"
    else:
        with storage_errors("read", file):
            text, place = file.read_text(encoding="utf-8"), str(file)
    token = text.strip()
    if not token:
        raise ConfigError("there is no token for Grafana", found=f"{place} is empty",
                          expected=f"a service account's token in {TOKEN}, or a file with --token-file")  # fmt: skip
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError("what is to be Grafana's token is none", found=f"{place} holds spaces, lines or the like",
                          expected="one line, as Grafana showed it")  # fmt: skip
    return token


@dataclass(frozen=True)
class Server:
    """A Grafana server.

    Attributes:
        url: Its address, with its path if it has one.
        api: The client.
        timeout: Seconds to wait for an answer.
    """

    url: str
    api: GrafanaApi
    timeout: float


def connect(url: str, token: str, *, timeout: float = 30.0, ca_file: Path | None = None) -> Server:
    """A Grafana server; nothing is sent yet.

    Args:
        url: Of the server, with its path if it has one.
        token: Of a service account.
        timeout: Seconds to wait for an answer.
        ca_file: Certificates (PEM) to trust in place of the system's.

    Raises:
        ConfigError: The address is none, or grafana-client is not installed.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError("the address of Grafana is not valid", found=str(error)) from error
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError("the address of Grafana is not valid", found=parts.scheme or url,
                          expected="http://HOST[:PORT][/PATH] or https://…")  # fmt: skip
    if parts.username or parts.password:
        raise ConfigError("the address of Grafana holds a password, which others can read on the command line",
                          expected=f"the address alone; the token in {TOKEN} or --token-file")  # fmt: skip
    if parts.scheme == "http" and host not in _LOOPBACK:
        warn(f"{host} is asked without TLS: the token goes over the network for all to read")
    if ca_file is not None:
        _check_certificates(ca_file)
    try:
        from grafana_client import GrafanaApi
    except ImportError as error:
        raise ConfigError(
            "Grafana's API needs grafana-client", found=str(error),
            hint="URLLIB3_NO_OVERRIDE=1 pip install --no-binary urllib3-future 'headwater-monitor[grafana-push]'",
        ) from error  # fmt: skip
    path = parts.path.strip("/")
    trusted: Any = True if ca_file is None else str(ca_file)  # its type says bool; a path is taken as well
    api = GrafanaApi(
        token, protocol=parts.scheme, host=f"[{host}]" if ":" in host else host, port=port,
        url_path_prefix=f"{path}/" if path else "", timeout=timeout, verify=trusted, user_agent="headwater",
    )  # fmt: skip
    return Server(f"{parts.scheme}://{parts.netloc}{'/' + path if path else ''}", api, timeout)


def _check_certificates(file: Path) -> None:
    try:
        ssl.create_default_context(cafile=str(file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{file} holds no certificates", found=str(error), expected="certificates in PEM") from error


@contextmanager
def grafana_errors(server: Server, action: str) -> Generator[None]:
    """Turns what the client raises into a `StorageError` that says what was being done, and what to do.

    Args:
        server: Of `connect`.
        action: What is being done, for example "update the dashboard X".
    """
    from grafana_client.client import GrafanaException, GrafanaTimeoutError
    from niquests.exceptions import ConnectionError as NoConnection
    from niquests.exceptions import RequestException, SSLError, Timeout

    what = f"Grafana at {server.url} was to {action}"
    try:
        yield
    except (GrafanaTimeoutError, Timeout) as error:
        raise StorageError(f"{what}, and gave no answer in time", found=f"nothing in {server.timeout:g} s",
                           hint="give it more with --timeout, or look at its log") from error  # fmt: skip
    except GrafanaException as error:
        raise StorageError(f"{what}, and refused", found=_said(error), hint=_HINTS.get(error.status_code)) from error
    except SSLError as error:
        raise StorageError(f"{what}: no trusted TLS connection", found=_reason(error),
                           hint="a private authority's certificate: --ca-file FILE") from error  # fmt: skip
    except NoConnection as error:
        raise StorageError(f"{what}: it cannot be reached", found=_reason(error),
                           hint="is it running, and is the address right?") from error  # fmt: skip
    except (RequestException, ValueError) as error:  # no JSON: a login page, another program
        raise StorageError(f"{what}, and what answered is no Grafana", found=f"{type(error).__name__}: {error}",
                           expected="JSON, as Grafana's HTTP API gives", hint=_HINTS[404]) from error  # fmt: skip


def read(server: Server, what: str, ask: Callable[..., Any], *arguments: Any) -> Any:
    """What `ask(*arguments)` returns, or none where Grafana knows no such thing.

    Args:
        server: Of `connect`.
        what: What is read, for example "the dashboard X".
        ask: A method of the client.
        *arguments: Of `ask`.

    Raises:
        StorageError: The server refused, cannot be reached, or is no Grafana.
    """
    from grafana_client.client import GrafanaException

    with grafana_errors(server, f"show {what}"):
        try:
            found = ask(*arguments)
        except GrafanaException as error:
            if error.status_code == 404 and isinstance(error.response, dict):
                return None
            raise
        if not isinstance(found, dict | list):
            raise ValueError("a page of text")
        return found


def _reason(error: Exception) -> str:
    """Without the client's own objects and tries."""
    cause = getattr(error.args[0] if error.args else None, "reason", error)
    return re.sub(r"<[^>]*>: ", "", str(cause))


def _said(error: Any) -> str:
    """The server's own words; the request, which holds the token, is not in them."""
    response = error.response
    words = response.get("message") if isinstance(response, dict) else None
    return f"{error.status_code}: {words or error.message}"
