"""The gate on evaluations written by hand, and as a command on two real checkpoints."""

import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from headwater.core.errors import EvalError
from headwater.eval.ci_files import markdown_text
from headwater.eval.gate import Evaluated, decide
from headwater.eval.gate_cli import gate
from headwater.eval.gate_report import headline, junit, markdown
from headwater.eval.results import EvaluatedCheckpoint, Results, Sample, Score


def write(folder, tasks, *, refused=(), version="1", group=None, metric="acc", better=True, **settings):
    """An evaluation with a value for each item of each task."""
    (folder / "samples").mkdir(parents=True)
    common = {"metric": metric, "filter": "none", "stderr": None, "interval": None, "chance": None,
              "indistinguishable_from_chance": None, "higher_is_better": better, "few_shot": 0, "version": version,
              "truncated": 0}  # fmt: skip
    scores = []
    if group:
        every = [value for values in tasks.values() for value in values]
        scores.append(
            Score(task=group, group=True, value=np.mean(every), items=len(every), members=tuple(tasks), **common)
        )
    for task, values in tasks.items():
        scores.append(Score(task=task, value=np.mean(values), items=len(values), **common))
        lines = []
        for index, value in enumerate(values):
            sample = Sample(
                index=index, target=0, prediction=0, correct=value, logprobs=None, greedy=None, response=None,
                filters={"none": {"prediction": 0, "metrics": {metric: value}}}, truncated=False, cut_short=False,
                prompt_sha256="p", document_sha256=f"{task}-{index}",
            )  # fmt: skip
            lines.append(sample.model_dump_json())
        (folder / "samples" / f"{task}.jsonl").write_text("\n".join(lines) + "\n")
    results = Results(
        checkpoint=EvaluatedCheckpoint(weights_digest=str(folder), parameters=1, max_length=8), tasks=scores,
        refused=[{"task": name, "reason": "no sandbox"} for name in refused], bits_per_byte=None, notes=[],
        settings={"eval": {"tasks": [group] if group else [*tasks, *refused]} | settings}, software={},
    )  # fmt: skip
    (folder / "results.json").write_text(results.model_dump_json())
    return Evaluated(folder)


def answers(items, share, seed):
    return (np.random.default_rng(seed).random(items) < share).astype(float).tolist()


def changed(values, lost, gained=0):
    """The same answers but for the first so many right and the first so many wrong ones."""
    found = list(values)
    for place in [k for k, value in enumerate(values) if value][:lost]:
        found[place] = 0.0
    for place in [k for k, value in enumerate(values) if not value][:gained]:
        found[place] = 1.0
    return found


BASE = answers(1000, 0.5, 1)


@pytest.mark.parametrize(
    ("lost", "gained", "verdict"), [(60, 10, "NO-GO"), (3, 3, "GO"), (0, 40, "GO"), (24, 14, "INCONCLUSIVE")]
)
def test_the_verdict(tmp_path, lost, gained, verdict):
    decision = decide(write(tmp_path / "a", {"t": BASE}), write(tmp_path / "b", {"t": changed(BASE, lost, gained)}))
    (unit,) = decision.units
    assert decision.verdict == unit.verdict == verdict
    assert (unit.lost, unit.gained, unit.items) == (lost, gained, 1000)
    assert headline(decision).startswith(verdict)


def test_one_bad_task_among_many_is_found_and_named(tmp_path):
    tasks = {f"t{k}": answers(400, 0.6, k) for k in range(6)}
    worse = tasks | {"t3": changed(tasks["t3"], 60)}
    decision = decide(write(tmp_path / "a", tasks), write(tmp_path / "b", worse))
    assert decision.verdict == "NO-GO"
    assert [unit.task for unit in decision.units if unit.verdict == "NO-GO"] == ["t3"] == [decision.units[0].task]
    assert "t3 is worse by 15.00%" in headline(decision)


def test_two_alike_are_seldom_called_worse(tmp_path):
    false = 0
    rng = np.random.default_rng(8)
    for trial in range(60):
        truth = rng.random((4, 250))

        def drawn():
            return {f"t{k}": (rng.random(250) < truth[k]).astype(float).tolist() for k in range(4)}  # noqa: B023

        sides = [write(tmp_path / f"{trial}{side}", drawn()) for side in "ab"]
        false += decide(*sides, level=0.1).verdict == "NO-GO"
    assert false <= 12  # 6 at most are expected; 12 or more come in less than 2% of such tests


def test_a_group_counts_once_with_all_items(tmp_path):
    tasks = {f"s{k}": answers(100, 0.5, k) for k in range(5)}
    worse = {name: changed(values, 12) for name, values in tasks.items()}
    decision = decide(write(tmp_path / "a", tasks, group="all"), write(tmp_path / "b", worse, group="all"))
    (unit,) = decision.units
    assert (unit.task, unit.items, unit.lost, decision.verdict) == ("all", 500, 60, "NO-GO")


def test_a_metric_that_should_fall_is_worse_when_it_rises(tmp_path):
    base = np.random.default_rng(1).normal(1.0, 0.1, 300)
    a = write(tmp_path / "a", {"t": base.tolist()}, metric="gold_bits_per_byte", better=False)
    b = write(tmp_path / "b", {"t": (base + 0.05).tolist()}, metric="gold_bits_per_byte", better=False)
    assert decide(a, b).verdict == "NO-GO"
    assert decide(b, a).verdict == "GO"


@pytest.mark.parametrize("after", [[3.0], [2.5], [2.0]])
def test_one_item_decides_nothing(tmp_path, after):
    a = write(tmp_path / "a", {"t": [2.5]}, metric="gold_bits_per_byte", better=False)
    b = write(tmp_path / "b", {"t": after}, metric="gold_bits_per_byte", better=False)
    decision = decide(a, b)
    assert decision.verdict == "INCONCLUSIVE" and decision.units[0].low is None
    assert "1 item is too few" in markdown(decision) and "1 item is too few" in junit(decision)
    assert json.loads(decision.model_dump_json())["units"][0]["low"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_finite_number_is_refused(tmp_path, value):
    values = np.linspace(1, 2, 50).tolist()
    a = write(tmp_path / "a", {"t": values}, metric="gold_bits_per_byte", better=False)
    (tmp_path / "b").mkdir()
    b = write(tmp_path / "b" / "c", {"t": values}, metric="gold_bits_per_byte", better=False)
    path = b.folder / "samples" / "t.jsonl"
    wrong = path.read_text().replace('"gold_bits_per_byte":1.0}', f'"gold_bits_per_byte":{json.dumps(value)}}}', 1)
    path.write_text(wrong)
    with pytest.raises(EvalError, match="has no gold_bits_per_byte for item 0"):
        decide(a, b)


def test_what_has_no_items_is_refused(tmp_path):
    a, b = write(tmp_path / "a", {"t": BASE}), write(tmp_path / "b", {"t": BASE})
    for side in "ab":
        (tmp_path / side / "samples" / "t.jsonl").write_text("")
    with pytest.raises(EvalError, match="no items"):
        decide(a, b)


def test_a_name_that_xml_cannot_hold_makes_no_broken_file(tmp_path):
    sides = [write(tmp_path / side, {"t": BASE}, refused=["\x1b[31mred\x00"]) for side in "ab"]
    suite = ElementTree.fromstring(junit(decide(*sides, tasks=["t", "\x1b[31mred\x00"])).encode())
    assert [case.get("name") for case in suite] == ["t acc", "\ufffd[31mred\ufffd"]


def test_what_is_missing_forbids_a_go(tmp_path):
    a, b = write(tmp_path / "a", {"t": BASE, "u": BASE}), write(tmp_path / "b", {"t": BASE}, refused=["u"])
    decision = decide(a, b)
    assert (decision.verdict, decision.missing) == ("INCONCLUSIVE", ["u"])
    assert decide(a, b, tasks=["t"]).verdict == "GO"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"tasks": {"t": BASE[:-1]}}, "did not answer the same items"),
        ({"tasks": {"t": BASE}, "version": "2"}, "not asked in the same way"),
        ({"tasks": {"v": BASE}}, "no task in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, other, message):
    with pytest.raises(EvalError, match=message):
        decide(write(tmp_path / "a", {"t": BASE}), write(tmp_path / "b", **other), tasks=None)


def test_reports_hold_the_verdict(tmp_path):
    tasks = {"bad": BASE, "good": BASE, "open": BASE}
    worse = {"bad": changed(BASE, 80), "good": BASE, "open": changed(BASE, 20, 10)}
    decision = decide(
        write(tmp_path / "a", tasks), write(tmp_path / "b", worse, refused=["gone"]), tasks=[*tasks, "gone"]
    )
    suite = ElementTree.fromstring(junit(decision).encode())
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped")} == {
        "tests": "4", "failures": "1", "skipped": "2",
    }  # fmt: skip
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["bad acc"]
    text = markdown(decision)
    assert text.startswith("### NO-GO: bad is worse by 8.00%") and text.count("\n| ") == 4


def test_what_makes_a_comparison_doubtful_is_said(tmp_path):
    a = write(tmp_path / "a", {"t": BASE})
    b = write(tmp_path / "b", {"t": BASE}, precision="bfloat16")
    assert decide(a, a).warnings == [
        "baseline and candidate have the same weights: is one of the folders the wrong one?"
    ]
    assert decide(a, b).warnings == ["the baseline was computed in float32, the candidate in bfloat16"]
    assert "\n\n**Beware:** the baseline was computed in float32" in markdown(decide(a, b))


def test_markdown_shows_names_and_reasons_as_they_are(tmp_path):
    hostile = "![x](http://x/y.png) <script>alert(1)</script> **a** | b\n# head `code` [l](javascript:x) &lt; _i_ a_b"
    shown = markdown_text(hostile)
    assert "\n" not in shown and shown.count("\\|") == 1
    # Without what is escaped, no character is left that could begin markup.
    bare = re.sub(r"\\[^a-z0-9\s]", "", shown)
    assert not re.search(r"[\\`*\[\]<>#|!&]", bare) and "a_b" in bare
    assert re.sub(r"\\([^a-z0-9\s])", r"\1", shown) == " ".join(hostile.split())
    sides = [write(tmp_path / f"side `{k}` ``", {"t": BASE}, refused=["<b>u</b>"]) for k in "ab"]
    text = markdown(decide(*sides, tasks=["t", "<b>u</b>"]))
    assert "\\<b\\>u" in text.splitlines()[0] and "<b>" not in text
    assert f"Baseline ``` {sides[0].folder} ```, candidate" in text


def test_the_command_writes_files_and_ends_with_the_verdict(tmp_path):
    write(tmp_path / "a", {"t": BASE})
    write(tmp_path / "b", {"t": changed(BASE, 80)})
    out = [str(tmp_path / name) for name in ("gate.xml", "gate.md")]
    arguments = ["--baseline", str(tmp_path / "a"), "--candidate", str(tmp_path / "b")]
    result = CliRunner().invoke(gate, [*arguments, "--junit", out[0], "--markdown", out[1], "--json"])
    assert result.exit_code == 3 and json.loads(result.stdout)["verdict"] == "NO-GO"
    assert all((tmp_path / name).is_file() for name in ("gate.xml", "gate.md"))
    same = CliRunner().invoke(gate, ["--baseline", str(tmp_path / "a"), "--candidate", str(tmp_path / "a")])
    assert same.exit_code == 0 and "GO: 1 task" in same.stdout
    assert "have the same weights" in same.stderr and "have the same weights" not in result.stderr
    bare = CliRunner().invoke(gate, ["--baseline", str(tmp_path), "--candidate", str(tmp_path / "a")])
    assert isinstance(bare.exception, EvalError) and "holds no evaluation" in str(bare.exception)


@pytest.mark.slow
def test_two_checkpoints_are_evaluated_and_compared(finished_run, tmp_path):
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        "description: ours\ntasks:\n  headwater_mini_mmlu: {items: 10, metric: gold_bits_per_byte}\n"
        "  headwater_mini_gsm8k: {items: 4, max_gen_tokens: 4}\n"
    )
    sides = [str(finished_run.checkpoint(step)) for step in (10, 30)]
    arguments = [
        "--baseline",
        sides[0],
        "--candidate",
        sides[1],
        "--suite",
        str(suite),
        "--output",
        str(tmp_path / "gate"),
    ]
    result = CliRunner().invoke(gate, [*arguments, "--json"])
    assert result.exit_code in (0, 3, 4), result.output
    decision = json.loads(result.stdout)
    found = {unit["task"]: (unit["metric"], unit["items"], unit["test"]) for unit in decision["units"]}
    assert found["headwater_mini_mmlu"] == ("gold_bits_per_byte", 10, "permutation")
    assert found["headwater_mini_gsm8k"][1] == 4
    again = CliRunner().invoke(gate, [*arguments, "--json"])
    assert json.loads(again.stdout) == decision
