"""The progress of a data job as Prometheus sees it."""

import subprocess
import sys
import time
import urllib.request
from importlib.metadata import entry_points

import pytest

from headwater.core import console
from headwater.core.sinks import served
from headwater.data.metrics import progress_served

needs_sink = pytest.mark.skipif(
    "prometheus" not in entry_points(group="headwater.sinks").names, reason="no Prometheus sink here"
)


@needs_sink
def test_progress_is_served_while_it_is_made(capsys):
    with progress_served(0):
        url = capsys.readouterr().err.partition("metrics: ")[2].strip()

        def page():
            with urllib.request.urlopen(url) as answer:
                lines = answer.read().decode().splitlines()
            return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

        with console.progress(8, "filter", done=2) as shown:
            assert page()['headwater_data_done{step="filter"}'] == "2.0"
            shown.advance(3, "a note")
        with console.progress(None, "collect") as shown:
            shown.advance()
        found = page()
    assert found['headwater_data_done{step="filter"}'] == "5.0"
    assert found['headwater_data_planned{step="filter"}'] == "8.0"
    assert found['headwater_data_done{step="collect"}'] == "1.0"
    assert 'headwater_data_planned{step="collect"}' not in found
    assert abs(float(found["headwater_data_progress_timestamp_seconds"]) - time.time()) < 60
    assert not any(name.startswith("headwater_train") for name in found)
    with pytest.raises(OSError, match="refused"):
        page()


def test_without_a_port_nothing_is_served_and_nobody_listens(capsys):
    with progress_served(None), console.progress(1, "step") as shown:
        shown.advance()
    assert "metrics:" not in capsys.readouterr().err
    with served(None) as log:
        log(1, {"no metric": 1.0})


@needs_sink
def test_the_command_serves_them(tiny):
    run, recipe = tiny()
    done = subprocess.run(
        [sys.executable, "-c", "from headwater.core.cli import main; main()", "data", "run", "--recipe", str(recipe),
         "--run", str(run), "--metrics-port", "0"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "metrics: http://127.0.0.1:" in done.stderr
