"""The progress of a data job as Prometheus sees it."""

import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from importlib.metadata import entry_points

import pytest

from headwater.core import console
from headwater.core.metrics import DATA_DOCUMENTS, DATA_REJECTED, parse_series
from headwater.core.sinks import served
from headwater.data.metrics import funnel_series, progress_served

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
def test_the_command_serves_them_and_its_funnel_to_the_last_scrape(tiny):
    from prometheus_client.parser import text_string_to_metric_families

    run, recipe = tiny()
    command = ["data", "run", "--recipe", str(recipe), "--run", str(run), "--metrics-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from headwater.core.cli import main; main()", *command], stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    url = next(line for line in process.stderr if line.startswith("metrics: ")).split()[1]
    page = ""
    try:
        while True:  # as Prometheus does, until the exporter is gone: it waits for a look at the last values
            with urllib.request.urlopen(url) as answer:
                page = answer.read().decode()
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            break
    except OSError:
        pass
    assert process.wait() == 0
    served_series = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    funnel = json.loads((run / "documents" / "funnel.json").read_text())
    expected = funnel_series(funnel)
    parsed = {series: parse_series(series) for series in expected}
    assert expected == {
        series: served_series.get((metric.name, frozenset(labels.items())))
        for series, (metric, labels) in parsed.items()
    }
    assert expected
    # What the first operators saw is what came in, and no operator gave out more than it took, less what it set aside.
    total = Counter()
    for content in funnel["sources"].values():
        total[content["operators"][0]["operator"]] += content["documents_in"]
    (first,) = total
    assert expected[DATA_DOCUMENTS.series(step=first, way="in")] == funnel["total"]["documents_in"]
    steps = {row["operator"] for content in funnel["sources"].values() for row in content["operators"]}
    for step in steps:
        came, left = (expected[DATA_DOCUMENTS.series(step=step, way=way)] for way in ("in", "out"))
        gone = sum(value for name, value in expected.items()
                   if name.startswith(DATA_REJECTED.name) and parse_series(name)[1]["step"] == step)  # fmt: skip
        assert came - left == gone, step
