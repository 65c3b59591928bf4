"""`headwater monitor grafana push` against a server that behaves as Grafana's HTTP API is documented to."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from monitor_grafana_server import TOKEN, GrafanaServer, Refused

from headwater.core.errors import HeadwaterError
from headwater.monitor.cli import monitor
from headwater.monitor.dashboards import BOARDS
from headwater.monitor.rules import ALERTS

pytest.importorskip("grafana_client")
pytest.importorskip("grafana_foundation_sdk")
SOURCES = ["--prometheus", "http://prometheus:9090", "--alertmanager", "http://alertmanager:9093"]
HOOK = "https://hooks.example/services/aSecretKey"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GrafanaServer]:
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    made = GrafanaServer(prefix="/grafana")
    yield made
    made.close()


def push(server: GrafanaServer | str, *options: str) -> Result:
    url = server if isinstance(server, str) else server.url
    done = CliRunner().invoke(monitor, ["grafana", "push", url, *options])
    assert TOKEN not in done.output + str(done.exception), "a token is never shown"
    return done


def refused(server: GrafanaServer | str, *options: str) -> str:
    done = push(server, *options)
    assert isinstance(done.exception, HeadwaterError), done.output
    return str(done.exception)


def test_a_push_makes_everything_and_a_second_one_nothing(server: GrafanaServer, tmp_path: Path) -> None:
    (tmp_path / "hook").write_text(HOOK + "\n")
    everything = [*SOURCES, "--alert-rules", "--webhook-file", str(tmp_path / "hook"), "--email", "on-call@example"]
    dry = push(server, *everything, "--dry-run")
    assert dry.exit_code == 0 and not server.written(), dry.output
    assert "would create dashboard Headwater: run\n" in dry.output and "nothing was written" in dry.output
    first = push(server, *everything)
    assert first.exit_code == 0, first.output
    assert server.dashboards.keys() == {board.uid for board in BOARDS}
    assert {each["meta"]["folderUid"] for each in server.dashboards.values()} == {"headwater"}
    assert server.datasources["headwater-prometheus"]["jsonData"]["alertmanagerUid"] in server.datasources
    asked = {variable["current"]["value"] for board in server.dashboards.values()
             for variable in board["dashboard"]["templating"]["list"] if variable["type"] == "datasource"}  # fmt: skip
    assert asked == {"headwater-prometheus"}
    assert server.points["headwater-webhook"]["settings"]["url"] == HOOK
    rules = server.groups["headwater", "headwater"]["rules"]
    assert [rule["title"] for rule in rules] == [alert.name for alert in ALERTS]
    assert {rule["notification_settings"]["receiver"] for rule in rules} == {point["name"] for point in
                                                                           server.points.values()}  # fmt: skip
    assert not any("$value " in rule["annotations"]["summary"] for rule in rules), "Grafana's $value is a text"
    assert HOOK not in dry.output + first.output
    server.requests.clear()
    again = push(server, *everything)
    count = len(BOARDS) + 6
    assert again.output.startswith(f"grafana push: 0 created, 0 updated, {count} unchanged"), again.output
    assert not server.written()


def test_what_changed_is_shown_and_brought_back(server: GrafanaServer, tmp_path: Path) -> None:
    (tmp_path / "hook").write_text(HOOK)
    options = [*SOURCES, "--alert-rules", "--webhook-file", str(tmp_path / "hook")]
    push(server, *options)
    server.folders["headwater"]["title"] = "Mine"
    board = server.dashboards["headwater-run"]
    board["dashboard"]["panels"][1]["title"] = "Renamed by hand"
    source = server.datasources["headwater-prometheus"]
    source["url"], source["jsonData"]["tlsAuth"] = "http://old:9090", True
    server.points["headwater-webhook"]["settings"]["url"] = "https://hooks.example/services/anOldKey"
    server.groups["headwater", "headwater"]["rules"][0]["for"] = "1h"
    dry = push(server, *options, "--dry-run")
    for line in ('-      "title": "Renamed by hand",', '+  "title": "Headwater",', '- "url": "http://old:9090"',
                 '-   "for": "1h",'):  # fmt: skip
        assert line.replace(" ", "") in dry.output.replace(" ", ""), f"{line}\n{dry.output}"
    assert "Key" not in dry.output, "addresses may hold keys"
    assert source["url"] == "http://old:9090", "nothing was written"
    done = push(server, *options)
    assert "0 created, 5 updated" in done.output, done.output
    assert server.dashboards["headwater-run"]["dashboard"]["version"] == 2
    assert server.datasources["headwater-prometheus"]["jsonData"]["tlsAuth"], "what others set stays"
    assert push(server, *options).output.count("updated") == 1
    assert not [request for request in server.requests if request.startswith("DELETE")]


def test_what_somebody_saved_meanwhile_is_not_lost(server: GrafanaServer) -> None:
    push(server)
    server.dashboards["headwater-data"]["dashboard"]["title"] = "Mine"

    def before(request: str) -> None:
        if request == "POST /api/dashboards/db":
            server.dashboards["headwater-data"]["dashboard"]["version"] += 1

    server.before = before
    said = refused(server)
    assert "update the dashboard Headwater: data pipeline" in said and "412" in said and "run the command again" in said


def test_what_files_provision_is_named(server: GrafanaServer) -> None:
    push(server, *SOURCES)
    server.dashboards["headwater-data"]["meta"]["provisioned"] = True
    assert push(server).exit_code == 0, "it is as it should be"
    server.dashboards["headwater-data"]["dashboard"]["title"] = "Older"
    assert "provisions it from a file" in refused(server)
    server.datasources["headwater-prometheus"].update(readOnly=True, url="http://other")
    assert "push without --prometheus" in refused(server, *SOURCES)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (403, "You'll need additional permissions: dashboards:create", "role Admin"),
        (409, "data source with the same name already exists", "rename or remove it"),
        (500, "database is locked", "500: "),
        (400, "invalid", "invalid"),
    ],
)
def test_refusals_say_what_to_do(server: GrafanaServer, status: int, message: str, expected: str) -> None:
    def before(request: str) -> None:
        if request.startswith("POST"):
            raise Refused(status, message)

    server.before = before
    said = refused(server)
    assert f"{status}: {message}" in said and expected in said
    assert "was to create the folder Headwater, and refused" in said


def test_a_token_that_is_wrong_missing_or_no_token(
    server: GrafanaServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "another")
    said = refused(server)
    assert "401: Invalid API key" in said and "another" not in said and "service account" in said
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert push(server, "--token-file", str(file)).exit_code == 0, "the file goes before the environment"
    file.write_text("two\nlines")
    assert "spaces, lines" in refused(server, "--token-file", str(file))
    assert "holds a password" in refused(server.url.replace("http://", "http://admin:aSecret@"))
    monkeypatch.setenv("GRAFANA_TOKEN", " ")
    assert "no token" in refused(server)


def test_servers_that_are_none(server: GrafanaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "with its path" in refused(server.url.removesuffix("/grafana"))
    for wrong in ("grafana.example", "ftp://x", "http://[::1"):
        assert "address of Grafana is not valid" in refused(wrong)
    monkeypatch.setattr(GrafanaServer, "answer", lambda *_: (200, "<html>log in</html>"))
    assert "no Grafana" in refused(server)
    release = threading.Event()
    server.before = lambda request: (release.wait(), None)[1]
    assert "no answer in time" in refused(server, "--timeout", "0.2")
    release.set()
    server.close()
    said = refused(server)
    assert "cannot be reached" in said and "refused" in said


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
def test_tls_is_verified_and_a_private_authority_can_be_named(server: GrafanaServer, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    url = server.url.replace("http://", "https://")
    said = refused(url)
    assert "no trusted TLS connection" in said and "--ca-file" in said
    assert push(url, "--ca-file", str(certificate)).exit_code == 0
    (tmp_path / "none.pem").write_text("nothing")
    assert "holds no certificates" in refused(url, "--ca-file", str(tmp_path / "none.pem"))


def test_a_network_without_tls_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    from headwater.monitor.grafana.server import connect

    say: Callable[[], str] = lambda: capsys.readouterr().err  # noqa: E731
    assert connect("http://[::1]:3000/g/", "x").api.client.url == "http://[::1]:3000/g/api" and not say()
    assert connect("https://grafana.example", "x").api.client.url == "https://grafana.example/api" and not say()
    connect("http://grafana.example", "x")
    assert "without TLS" in say()
