"""The Prometheus sink, seen as Prometheus sees it: over HTTP."""

from __future__ import annotations

import math
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headwater.core.errors import ConfigError, TrainError
from headwater.core.metrics import TABLE, TRAIN_PHASE_SECONDS
from headwater.core.sinks import closing_sinks, open_sinks, served
from headwater.monitor.exporter import PrometheusSink


@pytest.fixture
def sink() -> Iterator[PrometheusSink]:
    with PrometheusSink() as opened:
        yield opened


def test_metrics_leave_the_machine_only_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for host, expected in ((None, "127.0.0.1"), ("0.0.0.0", "0.0.0.0")):
        with served(0, None, **({} if host is None else {"host": host})) as log:
            log(1, {"headwater_eval_step": 1.0})
            url = capsys.readouterr().err.removeprefix("metrics: ").strip()
            address, port = url.removeprefix("http://").removesuffix("/metrics").split(":")
            assert address == expected
            # The address that the kernel listens on, of /proc/net/tcp (proc(5)): little-endian, in hexadecimal.
            wanted = f"{int(port):04X}"
            lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            listening = [line[1].split(":")[0] for line in lines if line[3] == "0A" and line[1].endswith(f":{wanted}")]
            assert listening == ["0100007F" if host is None else "00000000"]


def test_it_can_be_found_until_the_last_values_were_scraped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sink waits for that when it closes: whoever finds it by the note has to find it then."""
    note, there = tmp_path / "serving" / "data.json", []
    close = PrometheusSink.close

    def closing(self: PrometheusSink) -> None:
        there.append(note.is_file())
        close(self)

    monkeypatch.setattr(PrometheusSink, "close", closing)
    with served(0, note):
        assert note.is_file()
    assert there == [True] and not note.exists()


def scrape(sink: PrometheusSink) -> str:
    with urllib.request.urlopen(sink.url, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return answer.read().decode()


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + (f"|{sample.labels['le']}" if "le" in sample.labels else ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def everything(value: float = 2.5) -> dict[str, float]:
    return {metric.series(**dict.fromkeys(metric.labels, "some")): value for metric in TABLE.values()}


def test_every_metric_of_the_table_is_exported_with_its_type_and_help(sink: PrometheusSink) -> None:
    sink.log(1, everything())
    families = {family.name: family for family in text_string_to_metric_families(scrape(sink))}
    for metric in TABLE.values():
        family = families[metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name]
        assert family.type == metric.kind
        assert family.documentation == metric.help
    assert len(families) == len(TABLE), "only the table's metrics are exported"


def test_the_names_on_the_wire_are_the_names_of_the_table(sink: PrometheusSink) -> None:
    sink.log(1, everything())
    found = samples(scrape(sink))
    for metric in TABLE.values():
        assert (f"{metric.name}_count" if metric.kind == "histogram" else metric.name) in found


def test_gauges_keep_the_last_value_and_counters_the_running_total(sink: PrometheusSink) -> None:
    for step, loss in enumerate((9.0, 8.0, 7.5), start=1):
        sink.log(step, {"headwater_train_loss": loss, "headwater_train_tokens_total": 2048 * step})
    found = samples(scrape(sink))
    assert found["headwater_train_loss"] == 7.5
    assert found["headwater_train_tokens_total"] == 6144


def test_a_resumed_run_starts_its_counters_where_it_stopped(sink: PrometheusSink) -> None:
    sink.log(101, {"headwater_train_samples_total": 808})
    assert samples(scrape(sink))["headwater_train_samples_total"] == 808


def test_a_run_that_goes_back_lowers_its_counters(sink: PrometheusSink) -> None:
    sink.log(10, {"headwater_train_samples_total": 80})
    sink.log(5, {"headwater_train_samples_total": 40})
    assert samples(scrape(sink))["headwater_train_samples_total"] == 40
    sink.log(6, {"headwater_train_samples_total": 48})
    assert samples(scrape(sink))["headwater_train_samples_total"] == 48


def test_histograms_have_the_buckets_of_the_table(sink: PrometheusSink) -> None:
    for seconds in (0.015, 0.3, 0.3, 100.0):
        sink.log(1, {"headwater_train_step_seconds": seconds})
    found = samples(scrape(sink))
    assert found["headwater_train_step_seconds_count"] == 4
    assert found["headwater_train_step_seconds_bucket|0.02"] == 1
    assert found["headwater_train_step_seconds_bucket|0.5"] == 3
    assert found["headwater_train_step_seconds_bucket|+Inf"] == 4
    assert found["headwater_train_step_seconds_sum"] == pytest.approx(100.615)
    bounds = {float(name.partition("|")[2]) for name in found if "step_seconds_bucket|" in name}
    assert bounds == {*TABLE["headwater_train_step_seconds"].buckets, math.inf}


def test_an_observation_on_a_bound_is_in_its_bucket(sink: PrometheusSink) -> None:
    sink.log(1, {"headwater_train_step_seconds": 0.02})
    found = samples(scrape(sink))
    assert found["headwater_train_step_seconds_bucket|0.01"] == 0
    assert found["headwater_train_step_seconds_bucket|0.02"] == 1


def test_a_value_that_is_not_finite_is_exported_as_it_is(sink: PrometheusSink) -> None:
    sink.log(1, {"headwater_train_loss": float("nan"), "headwater_train_grad_norm": float("inf")})
    found = samples(scrape(sink))
    assert math.isnan(found["headwater_train_loss"])
    assert math.isinf(found["headwater_train_grad_norm"])


def test_a_gauge_that_nobody_set_is_absent(sink: PrometheusSink) -> None:
    sink.log(1, {"headwater_train_loss": 3.0})
    gauges = {metric.name for metric in TABLE.values() if metric.kind == "gauge"}
    assert set(samples(scrape(sink))) & gauges == {"headwater_train_loss"}


def test_the_first_increase_of_a_counter_can_be_seen(sink: PrometheusSink) -> None:
    assert samples(scrape(sink)) == {}, "before the first step a resumed total is not known"
    sink.log(101, {"headwater_train_samples_total": 808})
    assert samples(scrape(sink))["headwater_train_nonfinite_steps_total"] == 0
    sink.log(102, {"headwater_train_nonfinite_steps_total": 1})
    assert samples(scrape(sink))["headwater_train_nonfinite_steps_total"] == 1


def test_unknown_names_are_refused_and_nothing_is_taken(sink: PrometheusSink) -> None:
    with pytest.raises(KeyError, match="headwater_train_lose"):
        sink.log(1, {"headwater_train_loss": 3.0, "headwater_train_lose": 3.0})
    assert samples(scrape(sink)) == {}


def test_each_set_of_labels_is_a_series_of_its_own(sink: PrometheusSink) -> None:
    series = {phase: TRAIN_PHASE_SECONDS.series(phase=phase) for phase in ("loader", 'odd "\\\n')}
    sink.log(1, {series["loader"]: 1.5, series['odd "\\\n']: 2.5})
    sink.log(2, {series["loader"]: 2.0})
    families = {family.name: family for family in text_string_to_metric_families(scrape(sink))}
    found = {sample.labels["phase"]: sample.value for sample in families["headwater_train_phase_seconds"].samples}
    assert found == {"loader": 2.0, 'odd "\\\n': 2.5}
    with pytest.raises(KeyError, match="phase_seconds"):
        sink.log(3, {"headwater_train_phase_seconds_total": 1.0})
    with pytest.raises(ValueError, match="has the labels"):
        TRAIN_PHASE_SECONDS.series(part="loader")


def test_two_sinks_in_one_process_do_not_mix() -> None:
    with PrometheusSink() as one, PrometheusSink() as two:
        assert one.port != two.port
        one.log(1, {"headwater_train_loss": 1.0})
        two.log(1, {"headwater_train_loss": 2.0})
        assert samples(scrape(one))["headwater_train_loss"] == 1.0
        assert samples(scrape(two))["headwater_train_loss"] == 2.0


def test_it_listens_on_loopback_only(sink: PrometheusSink) -> None:
    assert sink.url == f"http://127.0.0.1:{sink.port}/metrics"


def test_a_taken_port_is_named_in_the_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrainError, match=f"127.0.0.1:{port}"):
            PrometheusSink(port=port)


@pytest.mark.parametrize("options", [{"port": 70000}, {"port": "9464"}, {"port": True}, {"host": ""}, {"host": 1}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="of the metrics is not valid"):
        PrometheusSink(**options)


def test_close_frees_the_port_and_may_be_called_twice() -> None:
    sink = PrometheusSink()
    sink.close()
    sink.close()
    with pytest.raises(urllib.error.URLError):
        scrape(sink)
    PrometheusSink(port=sink.port).close()


def test_a_scrape_counts_when_its_answer_is_written(sink: PrometheusSink) -> None:
    """The process may end after that, and would cut off an answer that is still being written."""
    scrape(sink), scrape(sink)
    sink.log(1, {"headwater_train_loss": 2.0})
    app = sink._server.get_app()
    assert app is not None
    answer: Any = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics"}, lambda status, headers: lambda body: None)
    assert b"headwater_train_loss 2.0" in b"".join(answer)
    assert not sink._values.wait_for_scrape(0.0)
    answer.close()
    assert sink._values.wait_for_scrape(0.0)


@pytest.mark.parametrize(("error", "told"), [(BrokenPipeError(), ""), (ValueError("wrong"), "wrong")])
def test_a_scraper_that_goes_away_is_no_fault(
    sink: PrometheusSink, capsys: pytest.CaptureFixture[str], error: Exception, told: str
) -> None:
    try:
        raise error
    except Exception:
        sink._server.handle_error(object(), ("127.0.0.1", 1))  # as socketserver does it
    found = capsys.readouterr().err
    assert told in found and "Traceback" not in found and bool(found) == bool(told)


def test_it_is_found_by_name() -> None:
    sinks = open_sinks({"prometheus": {"port": 0}})
    with closing_sinks(sinks):
        assert [type(sink) for sink in sinks] == [PrometheusSink]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt install prometheus)")
def test_promtool_accepts_the_page(sink: PrometheusSink) -> None:
    sink.log(1, everything())
    done = subprocess.run(["promtool", "check", "metrics"], input=scrape(sink), capture_output=True, text=True)
    # promtool would have bits counted in bytes; bits per byte is a ratio, and the field's own name for it.
    names = ("headwater_eval_bits_per_byte", "headwater_train_validation_bits_per_byte")
    expected = [f'{name} use base unit "bytes" instead of "bits"' for name in names]
    assert sorted((done.stdout + done.stderr).splitlines()) == expected
