"""The table of metrics for people."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater.core.metrics import TABLE
from headwater.monitor.cli import monitor
from headwater.monitor.table import markdown

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"


@pytest.mark.skipif(not DOCS.parent.is_dir(), reason="the package is tested outside the repository")
def test_docs_metrics_md_is_up_to_date() -> None:
    command = "headwater monitor metrics --markdown > docs/metrics.md"
    assert DOCS.read_text(encoding="utf-8") == markdown(), f"out of date; run: {command}"


def test_the_markdown_names_every_metric_and_bucket() -> None:
    page = markdown()
    for metric in TABLE.values():
        labels = ", ".join(metric.labels)
        assert f"| `{metric.name}` | {metric.kind} | {labels} | {metric.unit} |" in page
        assert metric.help in page
        assert all(f"{bound:g}" in page for bound in metric.buckets)


def test_the_command_prints_the_page() -> None:
    done = CliRunner().invoke(monitor, ["metrics", "--markdown"])
    assert done.exit_code == 0
    assert done.output == markdown()


def test_the_plain_table_has_a_row_a_metric() -> None:
    done = CliRunner().invoke(monitor, ["metrics"])
    assert done.exit_code == 0
    assert all(name in done.output for name in TABLE)
