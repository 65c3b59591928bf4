"""The report: self-contained, safe with hostile text, and there for a run in any state."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from monitor_sample_run import COLLECTED, STEPS, make_run, write_recipe

from headwater.core.errors import ConfigError, StorageError
from headwater.core.layout import RunLayout
from headwater.core.lock import exclusive
from headwater.core.manifest import read_manifest, read_volatile
from headwater.monitor.cli import report
from headwater.monitor.report.build import build_report

SECTIONS = ["funnel", "mixture", "loss", "optimizer", "throughput", "evaluation", "lineage", "recipe", "reproduce"]
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>javascript:alert(3)"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, text by section, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.sections: dict[str, str] = {}
        self.current = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.current = attributes["id"]
            self.sections[self.current] = ""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "section":
            self.current = ""

    def handle_data(self, data: str) -> None:
        if self.current:
            self.sections[self.current] += data


def build(folder: Path, **options: str) -> str:
    recipe = write_recipe(folder)
    run = make_run(folder / "run", **options)
    return build_report(str(recipe), run).path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(tmp_path_factory.mktemp("whole"))


def test_the_sections_are_there_in_their_order(whole: str) -> None:
    page = Page(whole)
    assert list(page.sections) == SECTIONS
    assert not page.open, "every tag is closed"
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for tag, a in page.elements if tag == "a"}
    assert targets <= set(ids)


def test_the_page_loads_nothing(whole: str) -> None:
    page = Page(whole)
    loading = [
        (tag, name, value)
        for tag, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "srcset", "href", "xlink:href", "action", "data", "poster", "background")
        and not value.startswith(("#", "data:,"))
    ]
    assert loading == []
    assert not re.search(r"@import|url\((?!#)", whole)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|importScripts|sendBeacon)\b", whole)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "unsafe-inline' 'sha" not in policy
    assert "script-src 'sha256-" in policy


def test_no_address_is_a_resource(whole: str) -> None:
    values = [value for _, attributes in Page(whole).elements for value in attributes.values()]
    assert not [value for value in values if re.match(r"(?i)\s*(https?:)?//", value)]


def test_the_headline_says_what_came_out(whole: str) -> None:
    for words in ("4,683", "66.8% of 7,009 collected", "4.74M", "1.632", "unigram model 3.574", "0 of 3", "1 resume"):
        assert words in whole


def test_a_tiny_model_is_said_to_score_at_chance(whole: str) -> None:
    words = Page(whole).sections["evaluation"]
    assert "This model scores at chance." in words
    assert "What it learned shows in the bits per byte" in words
    assert "has not yet learned" not in words
    assert words.count("at chance") >= 4
    assert "17.0% – 39.0%" in words
    assert "headwater_mini_gsm8k (3 of 40)" in words


def test_a_model_worse_than_a_unigram_is_said_to_be(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    run = make_run(tmp_path / "run")
    results = json.loads((run.eval / "results.json").read_text())
    results["bits_per_byte"]["model"] = 4.8
    (run.eval / "results.json").write_text(json.dumps(results))
    text = build_report(str(recipe), run).path.read_text()
    assert "has not yet learned more than how often each token occurs" in text
    assert "What it learned shows" not in text
    assert "34.3% more bits" in text


def test_the_mixture_is_counted_from_the_order(whole: str) -> None:
    words = Page(whole).sections["mixture"]
    assert "3,200 samples" in words
    assert "1,920" in words
    assert "491,520" in words


def test_stages_are_shown_with_what_was_drawn_in_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = run.checkpoint(STEPS) / "run.json"
    info = json.loads(path.read_text())
    info["stages"] = [
        {"name": "main", "samples": 2400, "weights": {"web": 1.0, "code": 1.0}},
        {"name": "cooldown", "samples": 1600, "weights": {"reference": 1.0}},
    ]
    path.write_text(json.dumps(info))
    words = Page(build_report(str(write_recipe(tmp_path)), run).path.read_text()).sections["mixture"]
    assert "main1300100.0%code 50.00% · web 50.00%" in words and "cooldown30150050.0%reference 100.00%" in words
    assert "web37.50%37.50%1,200" in words and "reference25.00%25.00%800" in words
    assert "Weights over steps" in words


def test_a_re_weighted_run_shows_its_latest_stages_and_every_weight_in_a_chart(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = run.checkpoint(STEPS) / "run.json"
    info = json.loads(path.read_text())
    info["stages"] = [
        {"name": f"after step {10 * n}", "samples": 80, "weights": {"web": 60 + n, "code": 50 - n, "reference": 9}}
        for n in range(40)
    ]
    path.write_text(json.dumps(info))
    reweigh = {"kind": "reweigh", "step": 10, "after": {"code": 0.49, "web": 0.51}}
    with open(run.train / "events.jsonl", "a", encoding="utf-8") as stream:
        stream.write(json.dumps(reweigh) + "\n")
    content = build_report(str(write_recipe(tmp_path)), run).path.read_text()
    words = Page(content).sections["mixture"]
    assert "after step 390" in words and "after step 150" not in words and "The last 24 of 40 stages" in words
    assert "weights web 51.0%, code 49.0%" in content


def test_the_lineage_names_every_artifact_by_its_digest(whole: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    words = Page(whole).sections["lineage"]
    for folder in [run.items, run.documents, run.tokenizer, run.train, run.eval, *(run.raw(s) for s in COLLECTED)]:
        assert read_manifest(folder).digest in words
    assert read_manifest(run.checkpoint(STEPS)).digest in words
    assert read_manifest(run.checkpoint(300)).digest not in words, "only the checkpoint that something was made from"


def test_the_commands_reproduce_the_run(whole: str) -> None:
    words = Page(whole).sections["reproduce"]
    assert re.search(r"headwater line run \S+demo.yaml --run \S+run-again", words)
    for command in (
        "eval items",
        "data collect",
        "data run",
        "data tokenizer",
        "data tokenize",
        "train run",
        "eval run",
    ):
        assert re.search(rf"headwater {command} --recipe \S+demo.yaml --run \S+run\n", words)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    text = build(tmp_path, hostile=HOSTILE)
    page = Page(text)
    assert [tag for tag, _ in page.elements if tag == "script"] == ["script"], "the page's own script and no other"
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    shown = "".join(page.sections.values())
    assert HOSTILE in shown, "it is shown as it was found"
    for place in ("funnel", "loss", "evaluation"):
        assert "alert(1)" in page.sections[place]


def test_a_hostile_recipe_stays_text(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, report={"title": "</title><script>alert(1)</script>"}, name="</pre><script>x")
    run = make_run(tmp_path / "run", until="raw")
    page = Page(build_report(str(recipe), run).path.read_text())
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 1


@pytest.mark.parametrize("until", ["raw", "documents", "tokens", "train", "eval"])
def test_stages_that_did_not_run_are_shown_with_their_command(tmp_path: Path, until: str) -> None:
    page = Page(build(tmp_path, until=until))
    assert list(page.sections) == SECTIONS
    order = ["raw", "documents", "tokens", "train", "eval"]
    missing = {
        "documents": ("funnel", "data run"), "tokens": ("mixture", "data tokenize"), "train": ("loss", "train run"),
        "eval": ("evaluation", "eval run"),
    }  # fmt: skip
    for stage, (section, command) in missing.items():
        absent = order.index(stage) > order.index(until)
        assert ("Not run." in page.sections[section]) == absent
        if absent:
            assert f"headwater {command} --recipe" in page.sections[section]


def test_a_run_of_which_only_the_recipe_is_there_has_a_report(tmp_path: Path) -> None:
    run = RunLayout(tmp_path / "run")
    run.root.mkdir()
    run.recipe.write_text(write_recipe(tmp_path).read_text())
    built = build_report(str(run.recipe), run)
    assert built.view.problems == ()
    assert Page(built.path.read_text()).sections["lineage"].count("Not run.") == 1


@pytest.mark.parametrize(
    ("inside", "found"), [(None, "no such folder"), ([], "an empty folder"), (["notes", "report"], "notes, report")]
)
def test_a_folder_without_a_run_is_refused_and_left_as_it_was(
    tmp_path: Path, inside: list[str] | None, found: str
) -> None:
    recipe, folder = write_recipe(tmp_path), tmp_path / "elsewhere"
    for name in [] if inside is None else ["", *inside]:
        (folder / name).mkdir()
    result = CliRunner().invoke(report, ["--recipe", str(recipe), "--run", str(folder)])
    error = result.exception
    assert isinstance(error, ConfigError) and error.exit_code == 2
    assert found in str(error.found) and f"headwater line run RECIPE --run {folder}" in str(error.hint)
    assert sorted(p.name for p in folder.rglob("*")) == (inside or []) and folder.exists() == (inside is not None)


def test_a_misspelt_run_folder_is_answered_with_the_nearest(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    run = make_run(tmp_path / "run-one", until="raw")
    with pytest.raises(ConfigError, match=f"did you mean {re.escape(str(run.root))}\\?"):
        build_report(str(recipe), RunLayout(tmp_path / "run-onr"))


def test_a_run_in_progress_is_shown_so_far(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    run = make_run(tmp_path / "run", until="tokens")
    run.train.mkdir()
    rows = "".join(json.dumps({"step": s, "loss": 9 - s, "grad_norm": 1.0, "tokens": s * 64}) + "\n" for s in (1, 2))
    (run.train / "losses.jsonl").write_text(rows + '{"step": 3, "lo')
    text = build_report(str(recipe), run).path.read_text()
    assert "train · in progress" in text
    assert "from 8.000 to 7.000" in re.sub("<[^>]*>", "", text)


def test_steps_done_again_after_a_resume_are_drawn_once(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    run = make_run(tmp_path / "run", until="tokens")
    run.train.mkdir()
    steps = [(1, 9.0), (2, 8.0), (3, 7.0), (2, 8.5), (3, 7.5)]
    (run.train / "losses.jsonl").write_text("".join(json.dumps({"step": s, "loss": v}) + "\n" for s, v in steps))
    training = build_report(str(recipe), run).view.training
    assert training is not None
    assert (training.loss.x, training.loss.y) == ([1.0, 2.0, 3.0], [9.0, 8.5, 7.5])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("documents/funnel.json", "{"), ("documents/funnel.json", "[1]"), ("eval/results.json", "\xff\x00"),
        ("train/losses.jsonl", "{]\n" * 3), ("documents/manifest.json", "{}"), ("eval/results.json", '{"tasks": 4}'),
        ("train/checkpoints/step-00000400/run.json", "no"), ("documents/funnel.json", '{"operators": [4]}'),
    ],
)  # fmt: skip
def test_a_damaged_file_does_not_stop_the_report(tmp_path: Path, name: str, content: str) -> None:
    recipe = write_recipe(tmp_path)
    run = make_run(tmp_path / "run")
    (run.root / name).write_text(content, encoding="latin-1")
    built = build_report(str(recipe), run)
    assert list(Page(built.path.read_text()).sections) == SECTIONS
    if content[0] != "{" or content == "{" or "tasks" in content:
        named = [problem for problem in built.view.problems if name in problem]
        assert named or "run.json" in name
        assert all(html.escape(problem) in built.path.read_text() for problem in named)


def test_the_same_again_is_up_to_date_and_a_change_is_drawn(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    run = make_run(tmp_path / "run")
    assert build_report(str(recipe), run).fresh
    assert not build_report(str(recipe), run).fresh
    with (run.train / "events.jsonl").open("a") as stream:
        stream.write(json.dumps({"kind": "stop", "step": 400, "reason": "asked to"}) + "\n")
    changed = build_report(str(recipe), run)
    assert changed.fresh
    assert "asked to" in changed.path.read_text()


def test_a_second_report_in_the_folder_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    run = make_run(tmp_path / "run", until="raw")
    with exclusive(run.report), pytest.raises(StorageError, match="another process is writing"):
        build_report(str(recipe), run)
    assert not list(run.report.iterdir())


def test_the_artifact_has_parents_and_a_volatile_page(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    manifests = []
    for name in ("one", "two"):
        run = make_run(tmp_path / name)
        build_report(str(recipe), run)
        manifests.append((run.report / "manifest.json").read_bytes())
        manifest = read_manifest(run.report)
        roles = {parent.role: (run.report / parent.path).resolve() for parent in manifest.parents}
        assert roles == {
            "documents": run.documents, "training": run.train, "eval": run.eval, "checkpoint": run.checkpoint(STEPS),
            **{f"tokens/{source}": run.tokens(source) for source in COLLECTED},
        }  # fmt: skip
        assert manifest.files == []
        assert [entry.path for entry in read_volatile(run.report).files] == ["report.html"]
    assert manifests[0] == manifests[1], "the page is no part of the identity"


def test_options_are_read_and_checked(tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path))
    run = make_run(tmp_path / "run", until="raw")
    built = build_report(recipe, run, ["report.theme=dark", "report.title=A & B"])
    text = built.path.read_text()
    assert '<html lang="en" data-theme="dark">' in text
    assert "<h1>A &amp; B</h1>" in text
    assert '<html lang="en">' in build_report(recipe, run).path.read_text()
    with pytest.raises(ConfigError, match=r"report\.them"):
        build_report(recipe, run, ["report.them=dark"])


def test_the_resolved_recipe_of_the_run_is_shown(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    run = make_run(tmp_path / "run", until="raw")
    run.recipe.write_text("name: demo\nseed: 17\n# as it was run\n")
    assert "# as it was run" in Page(build_report(str(recipe), run).path.read_text()).sections["recipe"]


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    run = make_run(tmp_path / "run", until="tokens")
    options = ["--recipe", str(recipe), "--run", str(run.root)]
    done = CliRunner().invoke(report, options)
    assert done.exit_code == 0, done.output
    assert "5 of 7 stages" in done.output
    assert str(run.report / "report.html") in done.output
    again = CliRunner().invoke(report, [*options, "--json"])
    result = json.loads(again.stdout)
    assert result["fresh"] is False
    assert result["stages"] == ["items", "collect", "documents", "tokenizer", "tokens"]


def test_the_commands_are_exact(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    run = make_run(tmp_path / "run", until="raw")
    words = Page(build_report(str(recipe), run, ["seed=3"]).path.read_text()).sections["reproduce"]
    assert f"headwater line run {recipe} --run {run.root}-again seed=3" in words
    run.recipe.write_text(recipe.read_text())
    words = Page(build_report(str(recipe), run).path.read_text()).sections["reproduce"]
    assert f"headwater line run {run.recipe} --run {run.root}-again\n" in words
    page = Page(build_report(str(recipe), run, ["seed=3"]).path.read_text())
    assert f"headwater line run {recipe} --run {run.root}-again seed=3" in page.sections["reproduce"]
    assert "seed: 3" in page.sections["recipe"]


def test_a_run_that_stopped_says_so(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    run = make_run(tmp_path / "run", until="tokens")
    run.train.mkdir()
    (run.train / "losses.jsonl").write_text('{"step": 1, "loss": 9.0}\n')
    documents = [{"id": str(n), "url": f"http://pydoc.localhost/{n}"} for n in range(9)]
    event = {"kind": "nonfinite", "step": 2, "loss": "nan", "grad_norm": "inf", "documents": documents}
    events = [event, {"kind": "halt", "step": 2, "detector": "nonfinite", "response": "halt", "documents": documents}]
    (run.train / "events.jsonl").write_text("".join(json.dumps(one) + "\n" for one in events))
    text = build_report(str(recipe), run).path.read_text()
    assert "train · stopped" in text
    assert "1 step had a loss or gradient that was not finite" in text
    assert "step 2: nonfinite · loss nan · grad norm inf\n9 documents:\nhttp://pydoc.localhost/0\n" in text
    assert "http://pydoc.localhost/4\nand 4 more" in text


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'jinja2', 'numpy', 'pydantic', 'prometheus_client', 'yaml', 'headwater.core.config'}"
    code = f"import sys, headwater.monitor.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scores_over_steps_are_drawn_with_guessing_beside_them(tmp_path: Path) -> None:
    built = build_report(str(write_recipe(tmp_path)), make_run(tmp_path / "run"))
    found = {(history.task, history.metric): history for history in built.view.history}
    accuracy = found["headwater_mini_mmlu", "acc"]
    assert accuracy.share and accuracy.chance == 0.25 and list(accuracy.curve.x)[:2] == [100.0, 200.0]
    bits = found["headwater_mini_mmlu", "gold_bits_per_byte"]
    assert not bits.share and bits.chance is None and bits.curve.y[0] == 0.98
    assert ("held-out text", "bits per byte") in found
    words = Page(built.path.read_text()).sections["evaluation"]
    assert "Over training steps" in words and "The scores of 4 checkpoints" in words and "98.0%" not in words
