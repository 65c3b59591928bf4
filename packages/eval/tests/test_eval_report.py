"""`headwater eval report`: its figures, its files, and the page in a real browser."""

import base64
import gzip
import importlib
import json
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from chromium import TEXTS, chromium, in_browser
from click.testing import CliRunner

from headwater.core.errors import EvalError
from headwater.core.theme import contrast
from headwater.eval.cli import eval_group
from headwater.eval.compare import compare
from headwater.eval.harness.samples import MOST_CHARACTERS, shortened
from headwater.eval.report.build import build
from headwater.eval.report.charts import grid
from headwater.eval.report.items import PLAIN_BYTES, embed, pack
from headwater.eval.report.pairs import pairs
from headwater.eval.report.read import find, history
from headwater.eval.results import Results, Sample

sys.path.append(str(Path(__file__).parent))
sample = importlib.import_module("eval_report_sample")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that were evaluated on the same items, and after some steps."""
    folder = tmp_path_factory.mktemp("runs")
    sample.write_run(folder / "new", skill=0.45)
    sample.write_run(folder / "old", seed="b", skill=0.3)
    return folder


def read_samples(folder, task):
    lines = (folder / "samples" / f"{task}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def embedded(path):
    """The items of a page, read as its script does."""
    text = re.search(
        r'<script type="text/plain" id="items-data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S
    )
    content = text.group(1).strip()
    return json.loads(content if content[0] == "{" else gzip.decompress(base64.b64decode(content)))


def command(*words):
    return CliRunner().invoke(eval_group, ["report", *map(str, words)])


def test_the_page_holds_every_item_as_it_was_answered(runs, tmp_path):
    page = build(runs / "new", output=tmp_path / "page.html").page
    items = embedded(page)
    assert [task["name"] for task in items["tasks"]][-2:] == ["sums", "headwater_needle"]
    for place, task in enumerate(items["tasks"]):
        rows = [i for i, t in enumerate(items["task"]) if t == place]
        lines = read_samples(runs / "new" / "eval", task["name"])
        assert [items["index"][i] for i in rows] == [line["index"] for line in lines]
        assert [items["question"][i] for i in rows] == [line["question"] for line in lines]
        assert [items["target"][i] for i in rows] == [line["target"] for line in lines]
        answers = items["answers"][0]
        for name in ("correct", "prediction", "logprobs", "response"):
            assert [answers[name][i] for i in rows] == [line[name] for line in lines]
        sets = [items["choices"][i] for i in rows]
        assert [None if s is None else items["choice_sets"][s] for s in sets] == [line["choices"] for line in lines]
        assert [answers["marks"][i] for i in rows] == [line["truncated"] + 2 * line["cut_short"] for line in lines]


def test_the_same_evaluation_gives_the_same_bytes(runs, tmp_path):
    for name in ("a", "b"):
        build(runs / "new", against=runs / "old", output=tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_evaluation_is_found_by_its_folder_and_by_its_run(runs):
    own = find(runs / "new" / "eval")
    assert find(runs / "new").folder == own.folder
    assert (own.name, own.page, own.run.root) == ("new", runs / "new" / "eval.html", runs / "new")
    step = find(runs / "new" / "evals" / "step-00000300")
    assert (step.name, step.run.root, step.results.checkpoint.step) == ("new", runs / "new", 300)


def test_a_run_without_an_own_evaluation_shows_its_last_step(runs, tmp_path):
    shutil.copytree(runs / "new" / "evals", tmp_path / "run" / "evals")
    assert find(tmp_path / "run").results.checkpoint.step == 900


def test_what_holds_no_evaluation_is_refused(runs, tmp_path):
    with pytest.raises(EvalError, match="holds no evaluation") as error:
        find(tmp_path)
    assert "headwater eval run" in error.value.hint
    assert command().exit_code == 2
    assert command(runs / "new" / "eval", "--run", runs / "new").exit_code == 2


def test_a_line_that_cannot_be_read_is_named(runs, tmp_path):
    shutil.copytree(runs / "new" / "eval", tmp_path / "eval")
    path = tmp_path / "eval" / "samples" / "sums.jsonl"
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(EvalError, match=r"sums\.jsonl cannot be read, line 31"):
        build(tmp_path / "eval")
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    with pytest.raises(EvalError, match=r"sums\.jsonl cannot be read, line 1"):
        build(tmp_path / "eval")


@pytest.mark.parametrize(("field", "value"), [("filters", {"none": {"metrics": [1]}}),
                                              ("cell", {"length": float("nan"), "depth": 0.5})])  # fmt: skip
def test_a_sample_that_makes_no_sense_is_named(runs, tmp_path, field, value):
    shutil.copytree(runs / "new" / "eval", tmp_path / "eval")
    path = tmp_path / "eval" / "samples" / "sums.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps(json.loads(first) | {field: value}) + "\n" + "".join(others))
    with pytest.raises(EvalError, match=r"sums\.jsonl cannot be read, line 1"):
        build(tmp_path / "eval")


@pytest.mark.parametrize("settings", [{}, {"eval": []}, {"eval": {"tasks": "mmlu"}}, {"eval": {"tasks": [1]}}])
def test_results_that_do_not_say_what_was_asked_are_refused(runs, tmp_path, settings):
    shutil.copytree(runs / "new" / "eval", tmp_path / "eval")
    path = tmp_path / "eval" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": settings}))
    with pytest.raises(EvalError, match=r"results\.json cannot be read: (.|\n)*settings"):
        build(tmp_path / "eval")


def test_a_group_whose_tasks_lack_its_metric_is_drawn_without_them(runs, tmp_path):
    shutil.copytree(runs / "new" / "eval", tmp_path / "eval")
    path = tmp_path / "eval" / "results.json"
    results = json.loads(path.read_text())
    group = next(score for score in results["tasks"] if score["group"])
    group["metric"] = "other"
    path.write_text(json.dumps(results))
    assert "other" in build(tmp_path / "eval").page.read_text(encoding="utf-8")


def test_differences_are_those_of_the_paired_comparison(runs):
    this, other = find(runs / "new").evaluated, find(runs / "old").evaluated
    found = pairs(this, other)
    assert [pair.score.task for pair in found.units] == ["mmlu", "sums", "headwater_needle"]
    values = [[line["correct"] for line in read_samples(runs / run / "eval", "sums")] for run in ("old", "new")]
    assert found.units[1].found == compare(*values, level=0.025)
    members = ["mmlu_stem", "mmlu_humanities", "mmlu_other", *this.units()["mmlu"].members]
    assert [pair.score.task for pair in found.members["mmlu"]] == members
    assert found.left_out == {}


def test_groups_inside_a_group_come_before_its_tasks(runs, tmp_path):
    view = build(runs / "new", against=runs / "old", output=tmp_path / "p").view
    groups, tasks = view.groups
    assert [row.score.task for row in groups.rows] == ["mmlu_stem", "mmlu_humanities", "mmlu_other"]
    assert [row.group for row in tasks.rows] == ["stem"] * 3 + ["humanities"] * 2 + ["other"]
    assert all(row.pair.found.items == row.score.items for row in [*groups.rows, *tasks.rows])


def test_what_was_asked_in_another_way_is_left_out_with_the_reason(runs, tmp_path):
    shutil.copytree(runs / "old" / "eval", tmp_path / "eval")
    path = tmp_path / "eval" / "results.json"
    results = json.loads(path.read_text())
    for score in results["tasks"]:
        if score["task"] == "sums":
            score["few_shot"] = 3
    path.write_text(json.dumps(results))
    found = pairs(find(runs / "new").evaluated, find(tmp_path / "eval").evaluated)
    assert list(found.left_out) == ["sums"]
    assert found.left_out["sums"].endswith("0 here, 3 there")


def test_items_that_only_one_answered_are_counted_and_left_out(runs, tmp_path):
    shutil.copytree(runs / "old" / "eval", tmp_path / "eval")
    path = tmp_path / "eval" / "samples" / "sums.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[5:]))
    this, other = find(runs / "new").evaluated, find(tmp_path / "eval").evaluated
    (pair,) = [pair for pair in pairs(this, other).units if pair.score.task == "sums"]
    assert (pair.found.items, pair.only_one) == (25, 5)
    rows = pack(this, other)
    alone = [i for i, marks in enumerate(rows["answers"][1]["marks"]) if marks is None]
    assert [(rows["tasks"][rows["task"][i]]["name"], rows["index"][i]) for i in alone] == [
        ("sums", n) for n in range(5)
    ]


def test_scores_over_steps_come_from_the_evaluations_of_the_run(runs):
    found = {(each.task, each.metric): each for each in history(find(runs / "new"))}
    mmlu = found["mmlu", "acc"]
    assert mmlu.steps == [300, 600, 900]
    for step, value, ends in zip(mmlu.steps, mmlu.values, mmlu.intervals, strict=True):
        results = Results.model_validate_json((runs / f"new/evals/step-{step:08d}/results.json").read_bytes())
        assert (value, ends) == (
            results.tasks[0].value,
            (results.tasks[0].interval.low, results.tasks[0].interval.high),
        )
    assert found["held-out text", "bits per byte"].values == [1.9] * 3


def test_a_cell_of_the_heat_map_is_the_mean_of_its_items(runs):
    lines = read_samples(runs / "new" / "eval", "headwater_needle")
    found = grid(Sample.model_validate(line) for line in lines)
    assert found.lengths == [512, 1024, 2048, 4096, 8192] and found.depths == [0, 0.25, 0.5, 0.75, 1]
    for (length, depth), cell in found.cells.items():
        own = [line for line in lines if line["cell"] == {"length": length, "depth": depth}]
        assert (cell.items, cell.mean) == (len(own), sum(line["correct"] for line in own) / len(own))
    assert (found.items, found.truncated) == (100, 20)
    assert grid(Sample.model_validate(line) for line in read_samples(runs / "new" / "eval", "sums")) is None


def test_markdown_says_scores_differences_and_what_was_not_run(runs, tmp_path):
    build(runs / "new", against=runs / "old", output=tmp_path / "p", markdown=tmp_path / "m", junit=tmp_path / "j")
    text = (tmp_path / "m").read_text()
    assert text.startswith("### Evaluation of new, step 900\n\n| task | metric | score | 95% interval |")
    assert "#### Against old, step 900" in text and "| clean |" in text
    assert "- Not run: humaneval: no sandbox can be started here" in text
    suite = ElementTree.fromstring((tmp_path / "j").read_text())
    assert suite.attrib == {
        "name": "headwater eval report", "tests": "4", "failures": "0", "errors": "0", "skipped": "1",
    }  # fmt: skip
    names = [case.get("name") for case in suite]
    assert names == ["mmlu acc", "sums exact_match", "headwater_needle exact_match", "humaneval"]


def test_the_command_tells_where_the_page_is(runs, tmp_path):
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    done = command("--run", tmp_path / "new", "--against", tmp_path / "old" / "eval")
    assert done.exit_code == 0, done.output
    assert done.output == f"report: {tmp_path}/new/eval.html · new, step 900 · 274 items · against old, step 900\n"
    told = json.loads(command(tmp_path / "new" / "eval", "--output", tmp_path / "p.html", "--json").output)
    assert (told["page"], told["items"], told["against"]) == (str(tmp_path / "p.html"), 274, None)
    assert [row["task"] for row in told["tasks"]] == ["mmlu", "sums", "headwater_needle"]
    assert told["refused"] == [{"task": "humaneval", "reason": "no sandbox can be started here"}]


def test_an_evaluation_from_before_questions_were_kept_is_shown_and_says_so(runs, tmp_path):
    shutil.copytree(runs / "new" / "eval", tmp_path / "eval")
    path = tmp_path / "eval" / "results.json"
    results = json.loads(path.read_text()) | {"schema_version": 1}
    for score in results["tasks"]:
        del score["overlap"]
    path.write_text(json.dumps(results))
    for file in (tmp_path / "eval" / "samples").iterdir():
        lines = [json.loads(line) for line in file.read_text().split("\n") if line]
        for line in lines:
            for name in ("question", "choices", "overlap", "cell"):
                del line[name]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = build(tmp_path / "eval").page.read_text()
    assert "made before questions were kept" in page
    assert 'id="overlap"' not in page and 'id="needles"' not in page


@pytest.mark.parametrize("plain", [True, False])
def test_no_character_of_the_items_can_end_their_element(plain):
    value = {"a": [sample.HOSTILE, "<!--", "]]>", "&lt;", 1.5, float("nan"), float("-inf"), None, "\ud800"]}
    text = embed(value, plain=plain)
    assert not set("<>&") & set(text)
    read = json.loads(text)["a"]
    assert read[:5] == value["a"][:5] and read[5:] == [None, None, None, "?"]


def test_long_items_are_compressed_unless_told_otherwise():
    value = {"a": ["water flows down " * 40 for _ in range(1000)]}
    packed = embed(value)
    assert len(packed) < PLAIN_BYTES / 10
    assert json.loads(gzip.decompress(base64.b64decode(packed))) == value == json.loads(embed(value, plain=True))


def test_a_long_question_is_cut_in_the_middle_with_a_mark():
    text = "begin" + "x" * 200_000 + "What is the number?"
    found = shortened(text)
    assert len(found) < MOST_CHARACTERS + 60
    assert found.startswith("begin") and found.endswith("What is the number?")
    assert f"[… {len(text) - MOST_CHARACTERS:,} characters left out …]" in found
    assert shortened("short") == "short"


class TestInBrowser:
    pytestmark = in_browser()

    @pytest.fixture(scope="class")
    def page(self, tmp_path_factory):
        with chromium(tmp_path_factory.mktemp("profile")) as opened:
            yield opened

    @pytest.fixture(scope="class")
    def made(self, runs, tmp_path_factory):
        """The page alone and against another run."""
        folder = tmp_path_factory.mktemp("pages")
        build(runs / "new", output=folder / "one.html")
        build(runs / "new", against=runs / "old", output=folder / "two.html")
        return folder

    def show(self, page, path, **size):
        page.console(), page.requests()
        page.open(path, **size)
        ready = "return document.documentElement.classList.contains('items-ready')"
        page.wait(ready, 60)

    def choose(self, page, **filters):
        """Sets filters by their labels and returns what the list then says."""
        for name, wanted in filters.items():
            page.run(
                "const select = document.getElementById('f-' + arguments[0]);"
                "const found = [...select.options].find(o => o.textContent.startsWith(arguments[1]));"
                "select.value = found.value; select.dispatchEvent(new Event('change'))",
                name, wanted,
            )  # fmt: skip
        return page.run("return document.getElementById('items-status').textContent")

    @pytest.mark.parametrize("name", ["one", "two"])
    @pytest.mark.parametrize("width", [1280, 390])
    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    def test_it_loads_clean_fits_and_can_be_read(self, page, made, name, width, dark):
        path = made / f"{name}.html"
        self.show(page, path, width=width, dark=dark)
        page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.console() == []
        requests = [url for url in page.requests() if not url.startswith("data:")]
        assert requests == [path.resolve().as_uri()], "the page itself and nothing else"
        sections = page.run("return [...document.querySelectorAll('section')].map(s => s.id)")
        assert sections == ["scores", *(["against"] if name == "two" else []), "tasks", "overlap", "needles", "steps",
                            "items", "origin"]  # fmt: skip
        assert page.run("return document.documentElement.scrollWidth") <= width
        wide = page.run("""
            const out = [];
            for (const e of document.querySelectorAll('body *')) {
              if (e.closest('.scroll,.table,pre,.nav,svg,.skip')) continue;
              const box = e.getBoundingClientRect();
              if (box.width && (box.right > innerWidth + 1 || box.left < -1)) out.push(e.tagName + '.' + e.className);
            }
            return out;""")
        assert wide == [], "nothing sticks out of the page"
        texts = page.run(TEXTS)
        assert len(texts) > 300
        assert {(name, a, b) for name, a, b in texts if contrast(a, b) < 4.5} == set()

    def test_a_click_on_an_item_shows_what_was_asked_and_answered(self, page, made):
        self.show(page, made / "one.html")
        text = """
            const item = [...document.querySelectorAll('.item')]
              .find(e => e.querySelector('.which').textContent === arguments[0]);
            const before = item.children.length;
            item.querySelector('summary').click();
            return new Promise(r => setTimeout(() => r([before, item.lastChild.textContent]), 50));"""
        before, shown = page.run(text, "mmlu_anatomy 1")
        assert before == 1, "drawn when it is opened"
        assert "Item 1 of mmlu_anatomy" in shown and "log-prob." in shown and "chosen" in shown
        assert "headwater trace item mmlu_anatomy 1 --run" in shown
        self.choose(page, task="sums")
        shown = page.run(text, "sums 3")[1]
        assert "Question: what is 3 + 1?" in shown and "Because 3 + 1 is 4." in shown and "<i>a</i>" in shown
        assert "⟨30 line breaks⟩" in page.run(text, "sums 5")[1], "a model that stutters does not fill the page"

    def test_filters_leave_what_they_say(self, page, made, runs):
        self.show(page, made / "one.html")
        lines = read_samples(runs / "new" / "eval", "mmlu_law")
        wrong = [line for line in lines if line["correct"] == 0]
        assert self.choose(page, task="mmlu_law") == f"24 of 274 items, {24 - len(wrong)} right"
        assert self.choose(page, outcome="wrong").startswith(f"{len(wrong)} of 274 items")
        overlapping = [line for line in wrong if line["overlap"]]
        assert self.choose(page, overlap="overlapping").startswith(f"{len(overlapping)} of 274 items")
        page.run("document.getElementById('f-clear').click()")
        assert self.choose(page, cut="prompt cut").startswith("32 of 274 items")
        page.run("document.getElementById('f-clear').click()")
        page.run("document.getElementById('f-text').value = 'ITEM 7 of mmlu'")
        assert self.choose(page, outcome="any").startswith("6 of 274 items"), "each subject has one"

    def test_the_surest_mistakes_come_first(self, page, made, runs):
        self.show(page, made / "one.html")
        self.choose(page, task="mmlu_law", order="surest mistakes")
        shown = page.run("return [...document.querySelectorAll('.which')].map(e => e.textContent)")

        def sureness(line):
            return 1 / sum(2.718281828 ** (each - max(line["logprobs"])) for each in line["logprobs"])

        wrong = [line for line in read_samples(runs / "new" / "eval", "mmlu_law") if line["correct"] == 0]
        assert shown == [f"mmlu_law {line['index']}" for line in sorted(wrong, key=sureness, reverse=True)]

    def test_pages_of_items(self, page, made):
        self.show(page, made / "one.html")
        assert page.run("return document.querySelectorAll('.item').length") == 50
        page.run("document.getElementById('items-next').click()")
        assert page.run("return document.getElementById('items-page').textContent") == "page 2 of 6"
        assert page.run("return document.querySelector('.which').textContent") == "mmlu_physics 2"

    def test_a_table_is_sorted_by_the_column_that_is_clicked(self, page, made):
        self.show(page, made / "one.html")
        click = "const t = document.querySelectorAll('table.sortable')[1]; t.querySelectorAll('.sort')[2].click();"
        values = "return [...t.querySelectorAll('tbody tr')].map(r => +r.cells[2].dataset.value)"
        down = page.run(click + values)
        up = page.run(click + values)
        assert len(down) == 6 and down == sorted(down, reverse=True) and up == sorted(up)

    def test_a_task_leads_to_its_items(self, page, made):
        self.show(page, made / "one.html")
        page.run("document.querySelector('a.only[data-task=mmlu_marketing]').click()")
        assert page.run("return document.getElementById('items-status').textContent").startswith("24 of 274 items")

    def test_side_by_side_shows_both_answers(self, page, made, runs):
        self.show(page, made / "two.html")
        both = [[line["correct"] for line in read_samples(runs / run / "eval", "sums")] for run in ("new", "old")]
        gained = [i for i, (a, b) in enumerate(zip(*both, strict=True)) if a == 1 and b == 0]
        assert self.choose(page, task="sums", outcome="only this right").startswith(f"{len(gained)} of 274 items")
        shown = page.run("""
            document.querySelector('.item summary').click();
            return new Promise(r => setTimeout(() => r([...document.querySelectorAll('.item .side')]
              .map(e => [e.querySelector('h4').textContent, e.querySelector('.text').textContent])), 50));""")
        assert [name for name, _ in shown] == ["new, step 900", "old, step 900"]
        assert "<i>a</i>" in shown[0][1] and "<i>b</i>" in shown[1][1]

    @pytest.mark.parametrize("name", ["one", "two"])
    def test_hostile_text_stays_text(self, page, made, name):
        self.show(page, made / f"{name}.html")
        shown = page.run("""
            document.querySelector('.item summary').click();
            return new Promise(r => setTimeout(() => r(document.querySelector('.item .text').textContent), 50));""")
        assert "What is </script><img src=x onerror='window.owned=1'><b>bold</b>?⟨U+202E⟩" in shown
        assert page.run("return window.owned") is None
        assert page.run("return document.querySelectorAll('img, section#items b:not(#items-status b)').length") == 0
        assert page.console() == []

    def test_fourteen_thousand_items_stay_usable(self, page, tmp_path):
        names = [f"subject_{number}" for number in range(57)]
        sample.write_evaluation(tmp_path / "big", items=246, groups={"all": names}, needle=False, tasks=("mmlu",))
        path = build(tmp_path / "big").page
        assert path.stat().st_size < 2_000_000
        self.show(page, path)
        assert page.run("return document.getElementById('items-page').textContent") == "page 1 of 281"
        assert page.run("return document.querySelectorAll('*').length") < 6000, "only a page of items is drawn"
        assert self.choose(page, task="mmlu_subject_56").startswith("246 of 14,022 items")

    def test_without_decompression_it_says_what_to_do(self, page, tmp_path):
        sample.write_evaluation(tmp_path / "big", items=400, needle=False, tasks=("mmlu",))
        script = {"source": "delete window.DecompressionStream"}
        added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
        try:
            page.open(build(tmp_path / "big").page)
            page.wait("return document.getElementById('items-loading').textContent.includes('--plain')")
            self.show(page, build(tmp_path / "big", plain=True).page)
        finally:
            page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
