"""The run page's server: what it answers, to whom, and that it writes nothing."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from monitor_live_run import LiveRun
from monitor_sample_run import make_run

from headwater.core.errors import ConfigError
from headwater.monitor.cli import monitor
from headwater.monitor.live.charts import MOST_RUNS, View
from headwater.monitor.live.page import SECTIONS, RunPage
from headwater.monitor.live.server import PageServer

HOSTILE = "\"'><script>window.owned=1</script><img src=x onerror='window.owned=2'>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("runs")
    run = LiveRun(folder / "one")
    run.steps(300)
    with PageServer(RunPage([run.root])) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content


def series(section: str) -> list[dict[str, Any]]:
    found = re.search(r'data-plot="([^"]*)"', section)
    assert found
    return json.loads(found[1].replace("&#34;", '"').replace("&amp;", "&"))["series"]


def test_the_page_and_its_state_are_all_there_is(server: PageServer) -> None:
    status, headers, page = ask(server, "/")
    assert status == 200 and "one · Headwater run page" in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and "default-src 'none'" in policy[1] and "connect-src 'self'" in policy[1]
    assert "unsafe-inline" not in policy[1].split("script-src")[1].split(";")[0]
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert (headers["x-content-type-options"], headers["cross-origin-resource-policy"]) == ("nosniff", "same-origin")
    assert "access-control-allow-origin" not in headers
    status, headers, text = ask(server, "/state?width=900")
    state = json.loads(text)
    assert status == 200 and headers["content-type"].startswith("application/json")
    assert list(state["sections"]) == [name for name, _ in SECTIONS] and state["last"] == 300
    again = json.loads(ask(server, f"/state?width=900&known={state['digest']}")[2])
    assert "sections" in again or again["digest"] == state["digest"]
    for path in ("/train/metrics.jsonl", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/state/x",
                 "/index.html", "/?x/../../etc"):  # fmt: skip
        assert ask(server, path)[0] == (200 if path.startswith("/?") else 404), path
        assert "root:x:" not in ask(server, path)[2]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_nothing_but_get_is_answered(server: PageServer, method: str) -> None:
    status, headers, text = ask(server, "/state", method)
    assert status == 405 and headers["allow"] == "GET, HEAD" and "sections" not in text
    status, _, text = ask(server, "/", "HEAD")
    assert status == 200 and text == ""


def test_a_name_that_was_pointed_here_is_refused(server: PageServer) -> None:
    port = server.server_port
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "[",
        "a b",
    ):
        status, _, text = ask(server, "/state", Host=host)
        assert status == 403 and "sections" not in text, host
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost:9999", f"[::1]:{port}", "LOCALHOST"):
        assert ask(server, "/state", Host=host)[0] == 200, host


@pytest.mark.parametrize(
    "query",
    ["width=wide", "width=nan", "from=5&to=2", "from=-1&to=2", "to=x", "runs=a", "runs=0,,1", "file=x", "to=1e99"],
)
def test_a_request_that_makes_no_sense_is_refused(server: PageServer, query: str) -> None:
    status, _, text = ask(server, f"/state?{query}")
    assert status == 400 and len(text) < 200


def test_it_writes_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")

    def looks() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in tmp_path.rglob("*")}

    before = looks()
    page = RunPage([run.root])
    page.frame()
    page.state(View(400, (10, 50), True))
    assert looks() == before


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run<b>")
    run.steps(30)
    run.spike(url=f"https://example.org/{HOSTILE}")
    run.event("checkpoint_refused", reason=HOSTILE)
    make_run(tmp_path / "other", hostile=HOSTILE)
    page = RunPage([run.root, tmp_path / "other"])
    text = page.frame() + "".join(page.state(View())["sections"].values())
    assert "<script>window" not in text and "<img" not in text and "run<b>" not in text
    assert "&lt;script&gt;window" in text


def test_a_spike_is_seen_at_any_distance_and_closer_when_zoomed(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "long", planned=10_000)
    run.steps(4000)
    run.spike()
    run.steps(1999)
    page = RunPage([run.root])
    far = series(page.state(View())["sections"]["loss"])[0]
    near = series(page.state(View(steps=(3900, 4100)))["sections"]["loss"])[0]
    assert (4001, 9.0) in zip(far["x"], far["y"], strict=True) and len(far["x"]) <= 1202
    assert near["x"] == list(range(3900, 4101)) and 9.0 in near["y"]
    assert "mean" in page.state(View())["sections"]["loss"]


def test_what_a_rollback_undid_stays_in_sight(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    run.steps(200)
    page = RunPage([run.root])
    page.state(View())
    run.steps(30, headwater_train_loss=7.0)
    run.roll_back(180)
    run.steps(10)
    state = page.state(View())
    shown = {one["name"]: one for one in series(state["sections"]["loss"])}
    assert max(shown["train"]["x"]) == 190 and max(shown["train"]["y"]) < 6
    assert (shown["undone"]["x"][0], max(shown["undone"]["y"])) == (181, 7.0)
    assert "undone by a rollback" in state["sections"]["loss"]
    assert "https://example.org/bad" in state["sections"]["events"]


def test_runs_in_any_state_share_the_page(tmp_path: Path) -> None:
    runs = [LiveRun(tmp_path / f"run-{n}", seed=n) for n in range(3)]
    for n, run in enumerate(runs):
        run.steps(50 * n)
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "whole")
    folders = [*(run.root for run in runs), tmp_path / "empty", tmp_path / "whole", tmp_path / "later"]
    page = RunPage(folders)
    state = page.state(View())
    assert [one["name"] for one in series(state["sections"]["loss"])][:2] == ["run-1", "run-2"]
    assert state["sections"]["runs"].count("<tr>") == 7
    assert state["sections"]["funnel"].count("<h3>") == 1
    assert "whole" in state["sections"]["evaluation"]
    only = page.state(View(), only=[1])
    assert {one["name"] for one in series(only["sections"]["loss"])} == {"train"}
    assert "Last heard of" not in only["sections"]["runs"], "one run is told of at length"
    assert page.state(View(), only=[99])["sections"]["loss"] == ""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    gone = page.state(View())
    assert gone["sections"]["loss"] == "" and gone["sections"]["runs"].count("waiting") >= 6 and gone["last"] == 0


def test_as_many_runs_as_can_be_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / f"{n:02}" for n in range(20)]
    for n, folder in enumerate(folders):
        LiveRun(folder, seed=n).steps(20)
    state = RunPage(folders).state(View())
    looks = set(
        re.findall(r'class="line (s\d)" fill="none"(?: stroke-dasharray="([^"]*)")?', state["sections"]["loss"])
    )
    assert len(looks) == 20
    with pytest.raises(ConfigError, match="more runs than can be told apart"):
        RunPage([tmp_path / str(n) for n in range(MOST_RUNS + 1)])
    with pytest.raises(ConfigError, match="given twice"):
        RunPage([tmp_path / "00", tmp_path / "00"])


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    page = RunPage([tmp_path / "a" / "demo", tmp_path / "b" / "demo"])
    assert "a/demo" in page.title and "b/demo" in page.title


def test_values_that_are_not_numbers_are_no_curve_and_no_fault(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    run.steps(5)
    run.steps(3, headwater_train_loss="nan", headwater_train_grad_norm="inf")
    run.steps(3)
    state = RunPage([run.root]).state(View(log=True))
    assert len(series(state["sections"]["loss"])[0]["x"]) == 8
    LiveRun(tmp_path / "odd").steps(3, headwater_train_loss="nan")
    RunPage([tmp_path / "odd"]).state(View(log=True))
    json.dumps(state, allow_nan=False)


def test_a_port_that_is_taken_is_said_so(server: PageServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1, port {server.server_port}") as caught:
        PageServer(RunPage([tmp_path]), port=server.server_port)
    assert "--port" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="--host"), PageServer(RunPage([tmp_path]), host="192.0.2.1"):
        pass


def test_the_command_serves_until_it_is_ended_whatever_its_readers_do(tmp_path: Path) -> None:
    LiveRun(tmp_path / "run").steps(50)
    program = "from headwater.core.cli import main; main()"
    command = [sys.executable, "-c", program, "monitor", "open", str(tmp_path / "run"), "--port", "0", "--print"]
    # What runs in a shell's background inherits that SIGINT is ignored.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **heeding) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert found
        for _ in range(3):  # gone before the answer
            with socket.create_connection(("127.0.0.1", int(found[1]))) as reader:
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                reader.sendall(b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with urllib.request.urlopen(f"{found[0]}state", timeout=60) as answer:
            assert json.load(answer)["last"] == 50
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0 and process.stdout.read().endswith("ended\n")


def test_the_command_names_its_options_and_wants_a_run() -> None:
    assert CliRunner().invoke(monitor, ["open"]).exit_code == 2
    text = CliRunner().invoke(monitor, ["open", "--help"]).output
    assert "headwater monitor open runs/demo" in text and "--prometheus" in text
