"""`headwater data report`: its figures, and the page in a real browser."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chromium import TEXTS, chromium, in_browser
from click.testing import CliRunner

from headwater.core.documents import DOCUMENTS, REJECTED, document_id
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter
from headwater.core.theme import contrast
from headwater.data.cli import data
from headwater.data.inspect.select import Documents
from headwater.data.report.build import build
from headwater.data.report.gather import Share, gather
from headwater.data.report.render import histogram, percent, top

HOSTILE = "\"'></pre></style><script>window.owned=1</script><img src=x onerror='window.owned=2'>\u202e{{ 7 * 7 }}"
SECTIONS = ["funnel", "reasons", "duplicates", "languages", "lengths", "hosts", "samples"]


@pytest.fixture(scope="module")
def run(tiny_for_module):
    folder, recipe = tiny_for_module()
    made = CliRunner().invoke(data, ["run", "--recipe", str(recipe), "--run", str(folder)])
    assert made.exit_code == 0, made.output
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def funnel_of(reasons, changed, kept, alarms):
    gone = sum(sum(by.values()) for by in reasons.values())
    left, rows = kept + gone, []
    for operator in dict.fromkeys([*reasons, *changed]):
        before, left = left, left - sum(reasons.get(operator, {}).values())
        rows.append({"operator": operator, "documents_in": before, "documents_out": left, "bytes_in": 10 * before,
                     "bytes_out": 10 * left, "rejected": reasons.get(operator, {}),
                     "changed": changed.get(operator, {}), "counters": {}})  # fmt: skip
    total = {"documents_in": kept + gone, "documents_out": kept, "bytes_in": 10 * (kept + gone), "bytes_out": 10 * kept}
    return {"sources": {"web": {"operators": rows, **total}}, "total": total, "duplicate_alarms": alarms}


def documents_artifact(folder, kept, rejected, alarms=(), changed=None):
    """RUN/documents of rows that name only what matters."""
    layout = RunLayout(folder)
    writer = ArtifactWriter(layout.documents, kind="documents", name="documents", producer="test 0", config={})
    writer.begin()
    (layout.documents / "rejected").mkdir()
    reasons = {}
    for number, row in enumerate([*kept, *rejected]):
        why = (
            {"operator": row["operator"], "reason": row["reason"], "detail": row["detail"]} if "operator" in row else {}
        )
        row.setdefault("url", f"http://h/{number}")
        row.setdefault("id", document_id("web", row["url"], str(number)))
        row.setdefault("verdicts", [{"operator": "read", "outcome": "keep", "reason": "", "detail": ""},
                                    *([{**why, "outcome": "reject"}] if why else [])])  # fmt: skip
        defaults = {"source": "web", "warc_file": "f", "warc_offset": number, "payload_sha256": "", "language": "en",
                    "language_score": 1.0, "text_bytes": len(row["text"].encode()), "split": "train"}  # fmt: skip
        row.update({**defaults, **row})
        if why:
            by = reasons.setdefault(row["operator"], {})
            by[row["reason"]] = by.get(row["reason"], 0) + 1
    for rows, schema, place in ((kept, DOCUMENTS, "part-00000"), (rejected, REJECTED, "rejected/part-00000")):
        rows.sort(key=lambda row: row["id"])
        pq.write_table(pa.Table.from_pylist(rows, schema), layout.documents / f"{place}.parquet", row_group_size=3)
    funnel = funnel_of(reasons, changed or {}, len(kept), list(alarms))
    (layout.documents / "funnel.json").write_text(json.dumps(funnel))
    writer.commit({})
    return layout


def duplicate(kept, cluster, text="copy"):
    detail = json.dumps({"kept": kept, "jaccard": 0.9, "cluster": cluster})
    return {"text": text, "operator": "minhash_dedup", "reason": "near_duplicate", "detail": detail}


def test_clusters_count_what_stays_and_what_goes(tmp_path):
    a, b, elsewhere = "a" * 32, "b" * 32, "c" * 32
    kept = [{"text": "one", "id": a, "url": "http://h/a"}, {"text": "two", "id": b}]
    rejected = [duplicate(a, a), duplicate(a, a), duplicate(b, a), duplicate(elsewhere, elsewhere)]
    layout = documents_artifact(tmp_path, kept, rejected)
    clusters = gather(layout, Documents(layout)).clusters
    assert clusters.sizes == {("minhash_dedup", 2, 2): (1, 1), ("minhash_dedup", 5, 8): (1, 3)}
    first, second = clusters.largest
    assert (first.size, first.removed, first.stays.url, len(first.examples)) == (5, 3, "http://h/a", 3)
    assert (second.size, second.stays, second.stays_id) == (2, None, elsewhere)


def test_hosts_languages_and_lengths_are_counted(tmp_path):
    kept = [
        {"text": "x" * 10, "url": "http://A.org/1"},
        {"text": "x" * 100, "url": "http://a.org:80/2", "language": "de"},
    ]
    rejected = [{"text": "", "url": "urn:x", "operator": "extract", "reason": "too_short", "detail": "0"}]
    layout = documents_artifact(tmp_path, kept, rejected)
    figures = gather(layout, Documents(layout))
    assert figures.hosts == {"a.org": Share(2, 0, 110), "": Share(0, 1, 0)}
    assert figures.languages == {"en": Share(1, 1, 10), "de": Share(1, 0, 100)}
    assert figures.histogram == {5: Share(1), 10: Share(1)} and figures.without_text == 1
    assert figures.lengths["web"].median == 55 and figures.lengths["web"].largest == 100
    columns = histogram(figures.histogram)
    assert [column["share"].kept for column in columns] == [1, 0, 0, 0, 0, 1]
    assert [column["tick"] for column in columns] == ["10 bytes", "", "", "", "", "100 bytes"]


def test_figures_for_people():
    assert [percent(share) for share in (0, 0.0001, 0.5, 0.9999, 1)] == ["0.0%", "<0.1%", "50.0%", ">99.9%", "100.0%"]
    rows = top({"a": Share(1), "b": Share(3), "c": Share(0, 2), "d": Share(1, 0, 7)}, 2)
    assert rows == [("b", Share(3)), ("c", Share(0, 2)), ("2 others", Share(2, 0, 7))]


def test_the_command_writes_the_page_and_the_same_one_again(run):
    def reported(*options):
        return CliRunner().invoke(data, ["report", "--run", str(run), *options], catch_exceptions=False)

    first = reported()
    assert first.exit_code == 0 and first.stdout.startswith(f"report: {run / 'documents.html'} · ")
    page = (run / "documents.html").read_bytes()
    assert json.loads(reported("--json").stdout)["bytes"] == len(page)
    assert page == (run / "documents.html").read_bytes()
    assert reported("--out", str(run / "other.html")).exit_code == 0 and (run / "other.html").read_bytes() == page
    text = page.decode()
    for said in ("gopher_quality", "near_duplicate", "http://w/leak.html", "redacted", "item_overlap"):
        assert said in text
    assert "jane.doe" not in text


def test_an_alarm_stands_at_the_top_and_is_said(tmp_path):
    alarm = {"source": "web", "removed": 9, "of": 10, "ratio": 0.9, "expected": 0.3, "steps": {"minhash_dedup": 9}}
    layout = documents_artifact(tmp_path, [{"text": "x", "id": "a" * 32}], [duplicate("a" * 32, "a" * 32)], [alarm])
    found = CliRunner().invoke(data, ["report", "--run", str(tmp_path)], catch_exceptions=False)
    text = layout.documents_page.read_text()
    sentence = "web lost 9 of 10 documents as duplicates (90%, expected at most 30%; minhash_dedup 9)"
    assert sentence in found.stderr and text.index(sentence) < text.index('id="funnel"')
    assert "at most 30.0%" in text and "--operator minhash_dedup --rejected" in text


def test_an_empty_side_makes_a_page_too(tmp_path):
    layout = documents_artifact(tmp_path, [{"text": "x"}], [])
    text = build(layout, layout.documents_page).path.read_text()
    assert "No document was set aside." in text and "No step of this run looked for duplicates." in text


class TestInBrowser:
    pytestmark = in_browser()

    @pytest.mark.parametrize("width", [1280, 390])
    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    def test_it_loads_clean_fits_and_can_be_read(self, page, run, width, dark):
        path = build(RunLayout(run), run / "documents.html").path
        page.console(), page.requests()
        page.open(path, width=width, dark=dark)
        page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.console() == []
        assert [url for url in page.requests() if not url.startswith("data:")] == [path.resolve().as_uri()]
        assert page.run("return [...document.querySelectorAll('section')].map(s => s.id)") == SECTIONS
        assert page.run("return document.documentElement.scrollWidth") <= width
        wide = page.run("""
            const out = [];
            for (const e of document.querySelectorAll('body *')) {
              if (e.closest('.table,.nav,.skip,.ticks')) continue;
              const box = e.getBoundingClientRect();
              if (box.width && (box.right > innerWidth + 1 || box.left < -1)) out.push(e.tagName + '.' + e.className);
            }
            return out;""")
        assert wide == [], "nothing sticks out of the page"
        texts = page.run(TEXTS.replace("'h1,h2", "'mark,del,ins,dd,dt,figcaption,h1,h2"))
        assert len(texts) > 200
        assert {(name, a, b) for name, a, b in texts if contrast(a, b) < 4.5} == set()

    def test_light_and_dark_follow_the_system(self, page, run):
        path = build(RunLayout(run), run / "documents.html").path
        colours = set()
        for dark in (False, True):
            page.open(path, dark=dark)
            colours.add(page.run("return getComputedStyle(document.body).backgroundColor"))
        assert len(colours) == 2

    def test_the_numbers_need_no_script(self, page, run):
        path = build(RunLayout(run), run / "documents.html").path
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        try:
            page.open(path)
            tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        finally:
            page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        names = {node.get("name", {}).get("value") for node in tree}
        assert {"Documents in", "60", "Funnel", "Histogram of text lengths; the table below has the numbers"} <= names

    def test_hostile_text_stays_text(self, page, tmp_path):
        a = "a" * 32
        pii = json.dumps({"email": 1, "spans": [["email", 0, 3, 0, 3]]})
        change = {"operator": "pii", "outcome": "change", "reason": "redacted", "detail": pii}
        kept = [
            {"text": HOSTILE, "id": a, "url": f"http://h/{HOSTILE}", "language": HOSTILE},
            {"text": HOSTILE, "url": f"http://{HOSTILE.replace('/', '')}/", "verdicts": [change]},
        ]
        overlap = json.dumps({"hits": [{"task": HOSTILE, "index": 1, "start": 0, "length": 40}], "shared": []})
        rejected = [
            duplicate(a, a, HOSTILE + " more"),
            {"text": HOSTILE, "operator": "decontaminate", "reason": "item_overlap", "detail": overlap},
            {"text": HOSTILE, "operator": "x", "reason": "y", "detail": HOSTILE, "source": HOSTILE},
        ]
        layout = documents_artifact(tmp_path, kept, rejected, changed={"pii": {"redacted": 1}})
        path = build(layout, layout.documents_page).path
        page.console(), page.requests()
        page.open(path)
        assert page.run("return window.owned") is None
        assert page.run("return document.querySelectorAll('img,script,a:not([href^=\"#\"])').length") == 0
        assert page.console() == []
        assert [url for url in page.requests() if not url.startswith("data:")] == [path.resolve().as_uri()]
        shown = page.run("return document.body.textContent")
        assert "<script>window.owned=1</script>" in shown and "{{ 7 * 7 }}" in shown and "\u202e" not in shown
