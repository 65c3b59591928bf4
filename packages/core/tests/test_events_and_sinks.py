import json

import pytest

from headwater.core.errors import ConfigError, ManifestError, StorageError
from headwater.core.events import EventLog, read_events
from headwater.core.metrics import TABLE
from headwater.core.sinks import closing_sinks, keep_rows, open_sinks


def test_events_are_read_back_and_a_cut_last_line_is_left_out(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("start", 0, world_size=1)
    log.emit("checkpoint", 10, path="step-00000010")
    with open(log.path, "a") as stream:
        stream.write('{"time": "20')
    assert [(event["kind"], event["step"]) for event in read_events(log.path)] == [("start", 0), ("checkpoint", 10)]
    with open(log.path, "a") as stream:
        stream.write("\n{}\n")
    with pytest.raises(ManifestError, match="line 3"):
        read_events(log.path)
    with pytest.raises(ValueError, match="unknown event kind"):
        log.emit("strat", 0)  # type: ignore[arg-type]


def test_jsonl_sink_writes_rows_and_refuses_unknown_names(tmp_path):
    sinks = open_sinks({"jsonl": {"path": tmp_path / "m.jsonl"}})
    with closing_sinks(sinks):
        sinks[0].log(3, {"headwater_train_loss": 1.5, "headwater_train_grad_norm": float("nan")})
        with pytest.raises(KeyError, match=r"headwater_train_los\b"):
            sinks[0].log(4, {"headwater_train_los": 1.5})
    row = json.loads((tmp_path / "m.jsonl").read_text())
    assert row["step"] == 3 and row["headwater_train_loss"] == 1.5 and row["headwater_train_grad_norm"] == "nan"
    with pytest.raises(ConfigError, match="no metric sink promtheus"):
        open_sinks({"promtheus": {}})
    with pytest.raises(ConfigError, match="no option pth"):
        open_sinks({"jsonl": {"pth": tmp_path / "m.jsonl"}})
    with pytest.raises(ConfigError, match="jsonl needs the option path"):
        open_sinks({"jsonl": {}})


def test_every_sink_is_closed_and_what_went_wrong_first_is_told():
    class Sink:
        def __init__(self, fails: bool) -> None:
            self.fails, self.closed = fails, False

        def log(self, step, values) -> None: ...

        def close(self) -> None:
            self.closed = True
            if self.fails:
                raise StorageError("no space for the rest")

    sinks = [Sink(True), Sink(False)]
    with pytest.raises(StorageError, match="no space for the rest"), closing_sinks(sinks):
        pass
    assert all(sink.closed for sink in sinks)
    with pytest.raises(ManifestError, match="what happened"), closing_sinks(sinks):
        raise ManifestError("what happened")


def test_a_folder_is_given_to_sinks_that_write_one_unless_they_are_told(tmp_path, monkeypatch):
    class Writing:
        def __init__(self, folder):
            self.folder = folder

        def close(self): ...

    class Point:
        name = "writing"

        def load(self):
            return Writing

    monkeypatch.setattr("headwater.core.sinks.entry_points", lambda group: [Point()])
    assert open_sinks({"writing": {}}, tmp_path)[0].folder == str(tmp_path / "writing")
    assert open_sinks({"writing": {"folder": "/else"}}, tmp_path)[0].folder == "/else"
    with pytest.raises(ConfigError, match="needs the option folder"):
        open_sinks({"writing": {}})


def test_only_rows_of_steps_are_kept(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"step": 1}\n{"step": 2, "text": "\xff"}\n[3]\n{"a": 1}\n{"step": 4}\n{"step": 5')
    assert [row["step"] for row in keep_rows(log)] == [1, 2, 4]
    assert keep_rows(log, 1) == [{"step": 1}] and log.read_text() == '{"step": 1}\n'


def test_metric_names_follow_the_rules():
    for name, metric in TABLE.items():
        assert name.startswith("headwater_")
        assert (metric.kind == "counter") == name.endswith("_total")
        assert (metric.kind == "histogram") == bool(metric.buckets)
        assert metric.help.endswith(".")
