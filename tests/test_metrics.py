"""Every metric of the table is set by some stage, and the stages set nothing else."""

import re
from pathlib import Path

from headwater.core import metrics

ROOT = Path(__file__).resolve().parent.parent
CONSTANTS = {name: value for name, value in vars(metrics).items() if isinstance(value, metrics.Metric)}


def test_the_table_holds_every_metric_that_is_defined():
    assert {metric.name for metric in CONSTANTS.values()} == set(metrics.TABLE)


def test_every_metric_is_set_by_its_stage():
    for constant, metric in CONSTANTS.items():
        files = (ROOT / "packages" / metric.stage / "src").rglob("*.py")
        source = "\n".join(path.read_text(encoding="utf-8") for path in files)
        assert re.search(rf"\b{constant}\b|{metric.name}\b", source), f"{metric.name} is set by nobody"


def test_no_stage_names_a_metric_that_is_not_in_the_table():
    for path in (ROOT / "packages").glob("*/src/**/*.py"):
        for name in re.findall(r"[\"'](headwater_(?:train|eval|data)_[a-z_]+)[\"']", path.read_text(encoding="utf-8")):
            assert name in metrics.TABLE, f"{path} names {name}"
