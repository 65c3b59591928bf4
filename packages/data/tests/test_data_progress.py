"""What `data run` shows while it works."""

import pyarrow as pa
import pytest
from click.testing import CliRunner

from headwater.core import console
from headwater.data.chain import COUNTS
from headwater.data.cli import data
from headwater.data.engines.processes import Workers
from headwater.data.engines.tally import Display, Tally


def counts(*rows):
    table = [dict(zip(COUNTS.names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(table, schema=COUNTS)


def test_documents_that_came_in_are_counted_once_a_source():
    tally = Tally()
    tally.add_counts(
        counts(
            ("web", "read", "docs_in", 10), ("web", "read", "bytes_in", 9_000), ("web", "extract", "docs_in", 9),
            ("web", "extract", "bytes_in", 8_000), ("web", "extract", "reject:too_short", 3),
            ("web", "pii", "change:redacted", 2), ("code", "read", "docs_in", 5), ("code", "read", "bytes_in", 1_000),
        )
    )  # fmt: skip
    assert (tally.documents, tally.bytes, dict(tally.reasons)) == (15, 10_000, {"too_short": 3})


def test_the_note_says_speed_and_the_top_three_reasons():
    moments = iter([100.0, 102.0, 104.0])
    display = Display(lambda: next(moments))
    first = Tally(20, 4_000_000)
    first.reasons.update({"a": 1, "b": 5, "c": 2, "d": 2})
    assert display.note(first) == "10 documents/s · 2.0 MB/s · 50% set aside: b 5, c 2, d 2, …"
    assert display.note(Tally(20, 4_000_000)) == "10 documents/s · 2.0 MB/s · 25% set aside: b 5, c 2, d 2, …"
    assert display.note(None) is None
    assert Tally(1, 400).line(4.0).startswith("0.25 documents/s")
    assert Tally(3, 3).line(1.0) == "3 documents/s · 3 bytes/s · 0% set aside"


@pytest.mark.parametrize("processes", [1, 2])
def test_what_processes_tell_is_shown(processes, monkeypatch, capsys):
    monkeypatch.setattr(console, "PLAIN_INTERVAL_SECONDS", 0.0)
    with Workers(processes, "x") as workers:
        workers.run("filter", Tally, [(10, 1_000), (10, 1_000), (20, 2_000)])
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line.split(" (")[0] for line in lines] == ["filter: 1 of 3", "filter: 2 of 3", "filter: 3 of 3"]
    assert all("documents/s" in line for line in lines) and "left)" in lines[0] and "left)" not in lines[-1]


def test_lines_without_a_terminal_are_few_percent_apart(monkeypatch, capsys):
    monkeypatch.setattr(console, "PLAIN_INTERVAL_SECONDS", 0.0)
    with console.progress(1000, "filter") as shown:
        for _ in range(1000):
            shown.advance()
    assert len(capsys.readouterr().err.strip().splitlines()) == 50


@pytest.mark.parametrize("seconds, said", [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (7500, "2 h 5 min")])
def test_durations(seconds, said):
    assert console.duration(seconds) == said


def test_a_run_tells_its_reasons_and_json_stays_json(tiny, monkeypatch):
    monkeypatch.setattr(console, "PLAIN_INTERVAL_SECONDS", 0.0)
    run, recipe = tiny()
    found = CliRunner().invoke(data, ["run", "--json", "--recipe", str(recipe), "--run", str(run)])
    assert found.exit_code == 0 and found.stdout.startswith("{\n")
    last = [line for line in found.stderr.splitlines() if line.startswith("filter: ")][-1]
    assert "documents/s" in last and "set aside: " in last and "http_status 1" in last
