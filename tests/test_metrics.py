"""Every metric of the table is set by some stage; and what code, rules, dashboards and docs name is in the table."""

import re
import subprocess
from pathlib import Path

from headwater.core import metrics

ROOT = Path(__file__).resolve().parent.parent
CONSTANTS = {name: value for name, value in vars(metrics).items() if isinstance(value, metrics.Metric)}
NAMED = re.compile(r"\bheadwater_(?:train|eval|data)_[a-z_]*[a-z]\b(?!\.|/|\()")
RECORDED = re.compile(r"\bheadwater:[a-z_0-9:]+")


def test_the_table_holds_every_metric_that_is_defined():
    assert {metric.name for metric in CONSTANTS.values()} == set(metrics.TABLE)


def setters(constant: str, name: str) -> re.Pattern[str]:
    """A metric as the key of a value: `CONSTANT.name: …`, `CONSTANT.series(…)`, `"name": …`."""
    return re.compile(rf"\b{constant}\.name(?:: |\] = )|\b{constant}\.series\(|[\"']{name}[\"']: ")


def test_every_metric_is_set_by_its_stage():
    for constant, metric in CONSTANTS.items():
        files = (ROOT / "packages" / metric.stage / "src").rglob("*.py")
        source = "\n".join(path.read_text(encoding="utf-8") for path in files)
        assert setters(constant, metric.name).search(source), f"{metric.name} is set by nobody"


def known_names() -> set[str]:
    """The table's, and what Prometheus makes of a histogram."""
    parts = {f"{m.name}_{part}" for m in metrics.TABLE.values() if m.buckets for part in ("bucket", "sum", "count")}
    return set(metrics.TABLE) | parts


def unknown_in(text: str) -> set[str]:
    """Names of metrics and of recorded series that there are none of."""
    from headwater.monitor.rules import RECORDINGS

    recorded = {rule.record for rule in RECORDINGS}
    return set(NAMED.findall(text)) - known_names() | set(RECORDED.findall(text)) - recorded


def test_what_is_named_anywhere_is_in_the_table():
    """In the repository but its tests, which name what there is not, too."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    kinds = (".py", ".md", ".yaml", ".yml", ".json", ".js", ".mjs", ".ts", ".j2", ".html")
    files = [ROOT / path for path in listed.splitlines() if path.endswith(kinds) and "tests/" not in path]
    wrong = {
        str(path.relative_to(ROOT)): found for path in files
        if path.is_file() and (found := unknown_in(path.read_text(encoding="utf-8", errors="replace")))
    }  # fmt: skip
    assert not wrong


def test_what_is_generated_names_only_what_is_in_the_table():
    from headwater.monitor.dashboards import BOARDS
    from headwater.monitor.rules import as_yaml

    texts = [as_yaml(), *(query.expr for board in BOARDS for panel in board.panels for query in panel.queries)]
    assert {name for text in texts for name in unknown_in(text)} == set()
    assert NAMED.findall(texts[0]) and RECORDED.findall(texts[0])


def test_a_wrong_name_is_found():
    assert unknown_in("rate(headwater_train_lose[5m])") == {"headwater_train_lose"}
    assert unknown_in("headwater:train_lose:avg > `headwater_train_step_seconds_bucket`") == {
        "headwater:train_lose:avg"
    }
    assert not setters("TRAIN_LOSS", "headwater_train_loss").search("return TRAIN_LOSS.name  # headwater_train_loss")
