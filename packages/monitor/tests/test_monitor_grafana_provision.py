"""What Grafana reads when it starts: files, ConfigMaps, containers, and a Grafana of this machine."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from test_monitor_up import needs_programs

from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.sinks import served
from headwater.monitor.cli import monitor
from headwater.monitor.dashboards import BOARDS
from headwater.monitor.grafana import local
from headwater.monitor.targets import Targets, metrics_place, parse_exporters
from headwater.monitor.up import Stack, fetch

pytest.importorskip("grafana_foundation_sdk")
ARGUMENTS = ["--prometheus", "http://prometheus:9090", "--alertmanager", "http://alertmanager:9093"]
CONTAINERS = {"prometheus", "alertmanager", "grafana"}
# In place of Grafana: writes down how it was started, and answers as it does on /api/health.
FAKE = """#!{python}
import configparser, json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
config = next(each for each in sys.argv if each.startswith("--config=")).removeprefix("--config=")
settings = configparser.RawConfigParser()
settings.read(config)
with open("{record}", "w") as stream:
    json.dump(sys.argv[1:], stream)
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
        self.wfile.write(b'{{"database": "ok"}}')
    def log_message(self, *_):
        pass
HTTPServer((settings["server"]["http_addr"], int(settings["server"]["http_port"])), Handler).serve_forever()
"""


def ran(*arguments: str) -> str:
    done = CliRunner().invoke(monitor, list(arguments))
    assert done.exit_code == 0, f"{done.output}{done.exception}"
    return done.output


def test_files_hold_all_that_grafana_needs(tmp_path: Path) -> None:
    ran("grafana", "provision", "--output", str(tmp_path), *ARGUMENTS)
    (provider,) = yaml.safe_load((tmp_path / "dashboards" / "headwater.yaml").read_text())["providers"]
    boards = Path(provider["options"]["path"])
    assert provider["type"] == "file" and provider["folder"] == "Headwater"
    assert {json.loads(path.read_text())["uid"] for path in boards.iterdir()} == {board.uid for board in BOARDS}
    sources = yaml.safe_load((tmp_path / "datasources" / "headwater.yaml").read_text())["datasources"]
    assert {each["uid"]: each["url"] for each in sources} == {
        "headwater-prometheus": "http://prometheus:9090", "headwater-alertmanager": "http://alertmanager:9093",
    }  # fmt: skip
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    ran("grafana", "provision", "--output", str(tmp_path), *ARGUMENTS)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}, "the same bytes twice"


def test_config_maps_are_what_the_sidecar_looks_for(tmp_path: Path) -> None:
    printed = ran("grafana", "configmap", "--namespace", "monitoring", *ARGUMENTS)
    ran("grafana", "configmap", "--output", str(tmp_path / "maps.yaml"))
    assert '": "' not in printed.split("data:")[0] and "\n  headwater-run.json: |\n" in printed, "files are blocks"
    made: list[dict[str, Any]] = list(yaml.safe_load_all(printed))
    names = [each["metadata"]["name"] for each in made]
    assert len(set(names)) == len(BOARDS) + 1 and all(name == name.lower() for name in names)
    assert {each["metadata"]["namespace"] for each in made} == {"monitoring"}
    *boards, sources = made
    for board, each in zip(BOARDS, boards, strict=True):
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1", "a label is a text"
        assert json.loads(each["data"][f"{board.uid}.json"])["uid"] == board.uid
        assert len(json.dumps(each)) < 2**20 // 4, "a ConfigMap holds 1 MiB"
    assert sources["metadata"]["labels"]["grafana_datasource"] == "1"
    plain = list(yaml.safe_load_all((tmp_path / "maps.yaml").read_text()))
    assert len(plain) == len(BOARDS) and "namespace" not in plain[0]["metadata"]
    alone = CliRunner().invoke(monitor, ["grafana", "configmap", *ARGUMENTS[2:]])
    assert "give both" in str(alone.exception)


def test_containers_listen_on_loopback_and_have_no_password_that_others_know(tmp_path: Path) -> None:
    options = ["compose", "--output", str(tmp_path), "--run", str(tmp_path / "demo"), "--grafana-port", "3001"]
    ran(*options, "--webhook", "https://hooks.example/aSecretKey", "--exporter", "node=127.0.0.1:9100")
    made = yaml.safe_load((tmp_path / "compose.yaml").read_text())
    assert made["services"].keys() == CONTAINERS
    for name, service in made["services"].items():
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", service["image"]), name
        assert service["user"] == f"{os.getuid()}:{os.getgid()}" and service["read_only"]
        assert service["cap_drop"] == ["ALL"] and "ports" not in service
        for volume in service["volumes"]:
            assert (tmp_path / volume.split(":")[0]).exists(), volume
    listens = [
        part for each in made["services"].values() for part in each.get("command", ()) if "listen-address" in part
    ]
    assert {part.split("=")[1].rpartition(":")[0] for part in listens} == {"127.0.0.1", ""}
    settings = configparser.RawConfigParser()
    settings.read(tmp_path / "grafana" / "grafana.ini")
    assert dict(settings["server"]) == {"http_addr": "127.0.0.1", "http_port": "3001"}
    password = tmp_path / "grafana-admin-password"
    first = password.read_text()
    assert len(first) >= 24 and first not in (tmp_path / "compose.yaml").read_text()
    assert settings["security"]["admin_password"] == "$__file{/run/secrets/grafana-admin-password}"
    for secret in (password, tmp_path / "alertmanager" / "alertmanager.yml"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert json.loads((tmp_path / "prometheus" / "targets.json").read_text()) == [
        {"targets": ["127.0.0.1:9100"], "labels": {"job": "node"}}
    ]
    ran(*options)
    assert password.read_text() == first, "made once"
    assert "known beforehand" in str(CliRunner().invoke(monitor, [*options, "--port", "0"]).exception)


@pytest.mark.skipif(
    shutil.which("docker-compose") is None, reason="there is no docker-compose (apt install docker-compose)"
)
def test_docker_compose_accepts_the_file(tmp_path: Path) -> None:
    ran("compose", "--output", str(tmp_path), "--run", str(tmp_path / "demo"))
    done = subprocess.run(["docker-compose", "config"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["services"].keys() == CONTAINERS


@needs_programs
@pytest.mark.services
def test_an_installed_grafana_is_started_with_everything_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the program: Grafana itself is not at hand where this is tested."""
    home, record = tmp_path / "grafana", tmp_path / "record.json"
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "defaults.ini").touch()
    program = home / "bin" / "grafana"
    program.parent.mkdir()
    program.write_text(FAKE.format(python=sys.executable, record=record))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    with Stack(tmp_path / "stack", [tmp_path / "run"], port=0, alerts_port=0, grafana_port=0, interval=1) as stack:
        assert stack.grafana is not None
        assert fetch(f"{stack.grafana}/api/health") == {"database": "ok"}
        config = tmp_path / "stack" / "grafana.ini"
        assert json.loads(record.read_text()) == ["server", f"--homepath={home}", f"--config={config}"]
        settings = configparser.RawConfigParser()
        settings.read(config)
        provisioning = Path(settings["paths"]["provisioning"])
        (source, alerts) = yaml.safe_load((provisioning / "datasources" / "headwater.yaml").read_text())["datasources"]
        assert (source["url"], alerts["url"]) == (stack.prometheus, stack.alertmanager)
        assert Path(settings["dashboards"]["default_home_dashboard_path"]).is_file()
        assert settings["security"]["admin_password"] == f"$__file{{{stack.password_file}}}"
    with pytest.raises(OSError, match="refused"):
        fetch(f"{stack.grafana}/api/health")


def test_an_older_grafana_and_one_without_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GF_PATHS_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="own files"):
        local.command("/usr/sbin/grafana-server", tmp_path / "g.ini")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "defaults.ini").touch()
    assert local.command("/usr/sbin/grafana-server", tmp_path / "g.ini")[1:] == [
        f"--homepath={tmp_path}", f"--config={tmp_path / 'g.ini'}"
    ]  # fmt: skip


def test_data_jobs_and_watchers_are_found_while_they_run(tmp_path: Path) -> None:
    run = RunLayout(tmp_path / "demo")
    path = tmp_path / "targets.json"
    targets = Targets(path, [run.root], {"node": "127.0.0.1:9100"})

    def written() -> dict[str, dict[str, str]]:
        targets.write()
        return {each["targets"][0]: each["labels"] for each in json.loads(path.read_text())}

    assert written() == {"127.0.0.1:9100": {"job": "node"}}
    with served(0, run.serving("data")), served(0, run.serving("eval")):
        places = {stage: metrics_place(run, stage) for stage in ("data", "eval")}
        assert written() == {
            places["data"]: {"instance": "demo", "job": "headwater-data"},
            places["eval"]: {"instance": "demo", "job": "headwater-eval"},
            "127.0.0.1:9100": {"job": "node"},
        }
    assert written() == {"127.0.0.1:9100": {"job": "node"}}
    assert not run.serving("data").parent.exists()
    killed = subprocess.Popen(["true"])
    killed.wait()
    here = {"url": "http://127.0.0.1:1/metrics", "machine": socket.gethostname()}
    gone, elsewhere = here | {"pid": killed.pid}, here | {"pid": os.getpid(), "machine": "another"}
    for note in (json.dumps(gone), json.dumps(elsewhere), "{", "[]"):
        run.serving("data").parent.mkdir(exist_ok=True)
        run.serving("data").write_text(note)
        assert metrics_place(run, "data") is None, note
    run.serving("data").write_text(json.dumps(here | {"pid": os.getpid()}))
    assert metrics_place(run, "data") == "127.0.0.1:1"


def test_exporters_that_are_none() -> None:
    assert parse_exporters(["node=127.0.0.1:9100", "gpu=[::1]:9400"]) == {"node": "127.0.0.1:9100", "gpu": "[::1]:9400"}
    for wrong in ("node", "node=http://x:1/metrics", "=x:1", "node=x", "node=x:70000"):
        with pytest.raises(ConfigError, match="not valid"):
            parse_exporters([wrong])
    with pytest.raises(ConfigError, match="one job"):
        parse_exporters(["node=a:1", "node=b:1"])
    with pytest.raises(ConfigError, match="Headwater's own"):
        Targets(Path("x"), [], {"headwater": "a:1"})


SCHEMA = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headwater" / "grafana-schema"
TOOL = Path(__file__).parents[1] / "grafana" / "schema" / "validate.mjs"


@pytest.mark.skipif(not TOOL.is_file(), reason="the package is tested outside the repository")
@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
@pytest.mark.skipif(
    not (SCHEMA / "node_modules").is_dir(),
    reason="Grafana's types are not installed: bash packages/monitor/grafana/schema/install.sh",
)
def test_dashboards_are_valid_by_the_types_that_grafana_publishes(tmp_path: Path) -> None:
    ran("dashboards", "--output", str(tmp_path))
    files = sorted(tmp_path.iterdir())
    done = subprocess.run(["node", TOOL, SCHEMA, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{len(BOARDS)} passed, 0 failed")
    text, broken = files[0].read_text(), []
    for right, wrong in (('"legendFormat"', '"legendFromat"'), ('"unit"', '"unitt"'), ('"multi"', '"many"')):
        assert right in text
        broken.append(tmp_path / f"broken-{len(broken)}.json")
        broken[-1].write_text(text.replace(right, wrong))
    done = subprocess.run(["node", TOOL, SCHEMA, *broken], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout.startswith("0 passed, 3 failed")
