"""What `headwater line` refuses before the first stage starts, and how it ends."""

import os
import select as polling
import signal
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from headwater.core import line
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.line import check_sources, select
from headwater.core.line_cli import run_line
from headwater.core.lock import exclusive
from headwater.core.manifest import ArtifactWriter


def recipe(sources: str, documents: str, mixture: str) -> dict[str, Any]:
    return {
        "sources": {name: {} for name in sources.split()},
        "documents": {"sources": {name: [] for name in documents.split()}},
        "mixture": {"weights": dict.fromkeys(mixture.split(), 1.0)},
    }


def test_sections_that_agree_are_silent(tmp_path, capsys):
    check_sources(recipe("web code", "web code", "code web"), RunLayout(tmp_path))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (recipe("web code", "web cod", "web"), "documents.sources names cod, which is not in sources"),
        (recipe("web code", "web code", "webb code"), "mixture.weights names webb, which is not in documents.sources"),
    ],
)
def test_a_source_that_no_earlier_section_has_is_refused(tmp_path, given, message):
    with pytest.raises(ConfigError, match=message) as error:
        check_sources(given, RunLayout(tmp_path))
    assert error.value.hint in ("did you mean code?", "did you mean web?")


def test_the_sources_of_stages_are_checked_unless_a_temperature_takes_all(tmp_path, capsys):
    given = recipe("web code", "web code", "")
    main, cool = {"name": "main", "weights": {"web": 1}}, {"name": "cool", "weights": {"web": 1, "code": 1}}
    check_sources({**given, "mixture": {"stages": [main, cool]}}, RunLayout(tmp_path))
    check_sources({**given, "mixture": {"stages": [main, {"name": "cool", "alpha": 0.5}]}}, RunLayout(tmp_path))
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigError, match=r"mixture\.stages names cod, which is not in documents\.sources"):
        check_sources({**given, "mixture": {"stages": [main, {"name": "cool", "weights": {"cod": 1}}]}},
                      RunLayout(tmp_path))  # fmt: skip


def test_the_tokenizer_samples_only_sources_that_have_documents(tmp_path):
    given = recipe("web code", "web code", "web code")
    check_sources({**given, "tokenizer": {"sample_bytes": 4000}}, RunLayout(tmp_path))
    check_sources({**given, "tokenizer": {"sample_bytes": {"web": 4000}}}, RunLayout(tmp_path))
    with pytest.raises(ConfigError, match=r"tokenizer\.sample_bytes names cod, .*(?s:.)*did you mean code"):
        check_sources({**given, "tokenizer": {"sample_bytes": {"web": 1, "cod": 1}}}, RunLayout(tmp_path))


def test_a_source_that_lies_in_the_run_folder_is_known(tmp_path):
    layout = RunLayout(tmp_path)
    writer = ArtifactWriter(layout.raw("mine"), kind="raw", name="mine", producer="test 1", config={})
    writer.begin()
    writer.commit({})
    check_sources(recipe("web", "web mine", "web mine"), layout)


def test_a_source_that_is_left_out_is_a_warning(tmp_path, capsys):
    check_sources(recipe("web code extra", "web code", "web"), RunLayout(tmp_path))
    shown = capsys.readouterr().err
    assert "extra of sources is not in documents.sources" in shown
    assert "code of documents.sources is not in mixture.weights" in shown


def test_only_and_until_together_are_refused():
    with pytest.raises(ConfigError, match="contradict"):
        select("items", "items")


@pytest.mark.parametrize(("options", "shown"), [(["--until", "eval"], False), (["--only", "report"], True), ([], True)])
def test_the_report_is_named_only_when_it_was_drawn_now(tmp_path, monkeypatch, options, shown):
    (tmp_path / "r.yaml").write_text("name: x\n")
    layout = RunLayout(tmp_path / "run")
    layout.report.mkdir(parents=True)
    (layout.report / "report.html").write_text("of another day")
    monkeypatch.setattr(line, "run_stage", lambda stage, layout: line.StageResult(stage.name, 0, "done", 1.0))
    result = CliRunner().invoke(run_line, [str(tmp_path / "r.yaml"), "--run", str(layout.root), *options])
    assert result.exit_code == 0, result.output
    assert ("report.html" in result.output) == shown


def test_a_second_line_in_one_run_folder_is_refused(tmp_path):
    (tmp_path / "r.yaml").write_text("name: x\n")
    command = [sys.executable, "-m", "headwater.core.cli", "line", "run", str(tmp_path / "r.yaml")]
    with exclusive(tmp_path / "run"):
        result = subprocess.run([*command, "--run", str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "another process is writing" in result.stderr
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_a_stage_does_not_outlive_a_line_that_is_killed(tmp_path):
    stage = tmp_path / "stage"
    stage.write_text("#!/bin/sh\necho $$\nexec sleep 60\n")
    stage.chmod(0o755)
    program = (
        "import sys; from headwater.core import layout, line; sys.executable = sys.argv[1]; "
        "line.run_stage(line.STAGES[0], layout.RunLayout('x'))"
    )
    command = [sys.executable, "-c", program, str(stage)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as line:
        assert line.stdout is not None
        child = os.pidfd_open(int(line.stdout.readline()))
        line.send_signal(signal.SIGKILL)
    ended, _, _ = polling.select([child], [], [], 30)
    os.close(child)
    assert ended
