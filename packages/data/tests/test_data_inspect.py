"""`headwater data inspect`: which documents it draws, and what it shows of them."""

import io
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.documents import DOCUMENTS, REJECTED, document_id
from headwater.core.errors import DataError, ManifestError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter
from headwater.data.cli import data
from headwater.data.inspect import repeats
from headwater.data.inspect.evidence import evidence
from headwater.data.inspect.passages import excerpt, marked, visible
from headwater.data.inspect.select import Documents, Found, Wanted
from headwater.data.inspect.show import show
from headwater.data.inspect.word_diff import MOST_WORDS, word_diff

KEPT = {"operator": "read", "outcome": "keep", "reason": "", "detail": ""}


@pytest.fixture(scope="module")
def run(tiny_for_module):
    folder, recipe = tiny_for_module()
    made = CliRunner().invoke(data, ["run", "--recipe", str(recipe), "--run", str(folder)])
    assert made.exit_code == 0, made.output
    return folder


def inspected(run, *options):
    found = CliRunner().invoke(data, ["inspect", "--run", str(run), *options], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def found(text="", reason="", detail="", operator="x", verdicts=(), kept=False, **more):
    values = {"id": "1", "source": "web", "url": "http://x/", "language": "en", "text_bytes": len(text)} | more
    return Found(**values, text=text, kept=kept, verdicts=verdicts, operator=operator, reason=reason, detail=detail)


def test_a_near_duplicate_is_shown_beside_the_document_that_stays(run):
    (one,) = json.loads(inspected(run, "--operator", "minhash_dedup", "--rejected", "--json"))["rejected"]
    assert one["reason"] == "near_duplicate" and json.loads(one["detail"])["jaccard"] > 0.7
    removed, stays = one["passages"]
    assert removed["title"].startswith("removed") and stays["title"].startswith("stays")
    words = {(piece["mark"], piece["text"].strip()) for part in (removed, stays) for piece in part["pieces"]}
    assert {("removed", "patient"), ("added", "calm")} <= words or {("removed", "calm"), ("added", "patient")} <= words


def test_a_leak_is_highlighted_in_its_context(run):
    shown = inspected(run, "--reason", "item_overlap")
    assert "set aside by decontaminate (item_overlap)" in shown and "quiz 0: " in shown
    assert "[[which of the seven wooden bridges" in shown and "and nobody knew" in shown


def test_of_many_leaks_some_are_told_and_all_are_marked():
    text = "one two three | four five six | seven"
    hits = [{"task": "quiz", "index": k, "start": 16 * (k % 2), "length": 13} for k in range(9)]
    shown = evidence(found(text, "item_overlap", json.dumps({"hits": hits, "shared": []})), {})
    assert shown.notes[0] == "quiz 0: 3 words in common: “one two three”" and "4 more hits" in shown.notes[-1]
    assert [piece.text for piece in shown.passages[0].pieces if piece.mark] == ["one two three", "four five six"]


def test_redaction_is_shown_before_and_after_without_the_secret(run):
    shown = inspected(run, "--operator", "pii", "--changed")
    assert "[-[17 characters: email]-]" in shown and "jane.doe" not in shown and "http://w/mail.html" in shown


def test_options_narrow_the_sample(run):
    everything = json.loads(inspected(run, "--json", "-n", "1000"))
    assert list(everything) == ["rejected", "kept"]
    assert len(everything["rejected"]) + len(everything["kept"]) == 60
    assert {one["operator"] for one in everything["kept"]} == {""}
    reference = json.loads(inspected(run, "--json", "--kept", "--source", "reference", "-n", "99"))["kept"]
    assert {one["source"] for one in reference} == {"reference"} and len(reference) == 13
    host = json.loads(inspected(run, "--json", "--kept", "--host", "W", "-n", "99"))["kept"]
    assert host and all(one["url"].startswith("http://w/") for one in host)
    passed = json.loads(inspected(run, "--json", "--kept", "--operator", "language", "-n", "99"))["kept"]
    assert {one["id"] for one in passed} == {one["id"] for one in everything["kept"] if one["source"] == "web"}
    english = json.loads(inspected(run, "--json", "--kept", "--language", "en", "-n", "99"))["kept"]
    assert {one["language"] for one in english} == {"en"}


def test_the_same_seed_draws_the_same_and_another_draws_others(run):
    first, again, other = (inspected(run, "--kept", "-n", "5", "--json", "--seed", seed) for seed in "778")
    assert first == again != other


def test_whole_texts_on_request(run):
    short, full = (
        json.loads(inspected(run, "--kept", "--json", "-n", "1", *more))["kept"][0] for more in ([], ["--full"])
    )
    assert short["text"] is None and full["text"] == "".join(piece["text"] for piece in full["passages"][0]["pieces"])


@pytest.mark.parametrize(
    "options, said",
    [
        (["--operator", "minhash"], "expected: .*minhash_dedup"),
        (["--reason", "too_long"], "expected: .*near_duplicate"),
        (["--source", "wep"], "expected: reference, web"),
        (["--host", "nowhere.org"], "no document fits"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_what_is(run, options, said):
    with pytest.raises(DataError, match=said):
        inspected(run, *options)


def test_without_documents_there_is_an_error(tmp_path):
    with pytest.raises(ManifestError):
        inspected(tmp_path)


def large(folder, rows, row_group_size):
    """RUN/documents with many documents, most of them small."""
    layout = RunLayout(folder)
    writer = ArtifactWriter(layout.documents, kind="documents", name="documents", producer="test 0", config={})
    writer.begin()
    table = [
        {
            "id": document_id("web", str(i), ""), "source": "web", "url": f"http://h{i % 7}/{i}", "warc_file": "f",
            "warc_offset": i, "payload_sha256": "", "text": f"text {i}", "language": "en", "language_score": 1.0,
            "text_bytes": 6, "split": "train", "verdicts": [KEPT],
        }
        for i in range(rows)
    ]  # fmt: skip
    table.sort(key=lambda row: row["id"])
    rare = [
        {**row, "operator": "x", "reason": "rare" if k == 5 else "often", "detail": ""} for k, row in enumerate(table)
    ]
    (layout.documents / "rejected").mkdir()
    options = {"row_group_size": row_group_size}
    pq.write_table(pa.Table.from_pylist(table, DOCUMENTS), layout.documents / "part-00000.parquet", **options)
    pq.write_table(pa.Table.from_pylist(rare, REJECTED), layout.documents / "rejected/part-00000.parquet", **options)
    writer.commit({})
    return layout


def test_of_many_row_groups_only_some_are_read_and_a_rare_reason_is_found(tmp_path, monkeypatch):
    layout = large(tmp_path, 2000, 10)
    read = []
    original = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *a, **k: read.append(a[1]) or original(*a, **k))
    documents = Documents(layout)
    sample = documents.sample(Wanted("kept"), 10)
    assert len({one.id for one in sample}) == 10 and len(read) <= 32 + 10
    assert sample == Documents(layout).sample(Wanted("kept"), 10)
    read.clear()
    (rare,) = documents.sample(Wanted("rejected", reason="rare"), 10)
    assert rare.reason == "rare" and len(read) == 2, "statistics rule the other groups out"
    read.clear()
    assert documents.by_id([rare.id])[rare.id].kept and len(read) == 2


def test_samples_are_even(tmp_path):
    documents = Documents(large(tmp_path, 700, 10))
    drawn = [one.url for seed in range(40) for one in documents.sample(Wanted("kept"), 10, seed)]
    counts = [sum(url.startswith(f"http://h{host}/") for url in drawn) for host in range(7)]
    assert sum(counts) == 400 and min(counts) > 30 and max(counts) < 90, "57 each, give or take"


words = st.lists(st.sampled_from(["a", "b", "c", "d\n"]), max_size=30).map(" ".join)


@given(words, words)
def test_a_diff_gives_both_texts_back_and_marks_no_common_word(old, new):
    left, right = word_diff(old, new)
    assert "".join(piece.text for piece in left) == old and "".join(piece.text for piece in right) == new
    same = [" ".join(" ".join(p.text for p in side if not p.mark).split()) for side in (left, right)]
    assert same[0] == same[1]


def test_a_diff_of_long_texts_is_bounded():
    old, new = " ".join(f"a{i}" for i in range(100_000)), " ".join(f"b{i}" for i in range(100_000))
    left, right = word_diff("x " + old + " z", "x " + new + " z")
    assert [piece.mark for piece in left] == ["", "removed", ""] and right[-1].text == " z"
    assert len(old.split()) > MOST_WORDS


@pytest.mark.parametrize(
    "reason, detail, text, hits",
    [
        ("duplicate_lines", "0.5", "one\ntwo\none\none", ["one", "one"]),
        ("duplicate_paragraphs", "0.5", "a\nb\n\nc\n\na\nb", ["a\nb"]),
        ("top_ngram", "0.9 of characters in the top 2-gram > 0.2", "a b c a b", ["a b", "a b"]),
        ("top_ngram", "0.9 of characters in the top 2-gram > 0.2", "ab abc d", ["ab abc"]),
        ("duplicate_ngrams", "0.2 of characters in repeated 3-grams", "a b c x a b c", ["a b c", "a b c"]),
        ("curly_bracket", "", "if (x) { y }", ["{"]),
        ("alpha_words", "0.4", "one 2 3", ["2", "3"]),
        ("short_lines", "0.7", "short\n" + "long " * 9, ["short"]),
        ("too_few_words", "1 words < 50", "one", []),
    ],
)
def test_what_a_rule_counts_is_marked(reason, detail, text, hits):
    (passage,) = evidence(found(text, reason, detail), {}).passages
    assert [piece.text for piece in passage.pieces if piece.mark == "hit"] == hits
    assert "".join(piece.text for piece in passage.pieces) == text


def test_repeats_are_counted():
    assert repeats.repeated_lines("b\na\na\nb\na")[0] == [("a", 3), ("b", 2)]
    often = evidence(found("\n".join(["x"] * 3 + ["y"] * 2), "duplicate_lines", "0.5"), {}).notes
    assert often == ("3 × “x”", "2 × “y”")


def test_a_duplicate_of_an_earlier_run_says_where_the_other_is():
    one = found("text", "near_duplicate", json.dumps({"kept": "f" * 32, "jaccard": 0.9, "earlier": "spring"}))
    shown = evidence(one, {})
    assert any("earlier index spring" in note for note in shown.notes) and len(shown.passages) == 1


def test_places_of_redactions_are_not_shown_when_the_text_was_cut_later():
    detail = json.dumps({"email": 1, "spans": [["email", 0, 9, 0, 7]]})
    verdicts = (
        {"operator": "pii", "outcome": "change", "reason": "redacted", "detail": detail},
        {"operator": "line_dedup", "outcome": "change", "reason": "line_dedup", "detail": "1 spans"},
    )
    shown = evidence(found("<EMAIL> x", "redacted", detail, "pii", verdicts), {})
    assert any("changed again by line_dedup" in note for note in shown.notes) and len(shown.passages) == 1
    assert len(evidence(found("<EMAIL> x", "redacted", detail, "pii", verdicts[:1]), {}).passages) == 2


def test_a_detail_that_cannot_be_read_is_shown_as_it_is():
    for reason, detail in (("redacted", "email=3"), ("item_overlap", "?"), ("near_duplicate", "{broken")):
        assert evidence(found("text", reason, detail), {}).passages


def test_excerpts_keep_what_is_marked():
    pieces = marked("x" * 5000 + "HIT" + "y" * 5000, [(5000, 5003)])
    short = excerpt(pieces, 400)
    assert ("hit", "HIT") in short and sum(len(piece.text) for piece in short) < 700
    assert excerpt(pieces, None) == tuple(pieces)


def test_nothing_that_commands_a_terminal_gets_through():
    hostile = "a\x1b]0;owned\x07\x1b[2Jb\u202ec\x9b1md\re\ttab\nline"
    shown = visible(hostile)
    assert not set(shown) & set("\x1b\x07\u202e\x9b\r") and "\ttab\nline" in shown
    (passage,) = evidence(found(hostile, "too_few_words"), {}).passages
    assert "\x1b" not in "".join(piece.text for piece in passage.pieces)
    duplicate = found("x", "near_duplicate", '{"kept": "2"}', url="http://x/\x1b[2J")
    shown = evidence(duplicate, {"2": found("y", kept=True, id="2", url="\x1b[2J")})
    assert not any("\x1b" in passage.title for passage in shown.passages)


def test_of_cuts_the_text_that_is_left_is_shown():
    shown = evidence(found("left", "line_dedup", "3 spans, 90 characters removed", "line_dedup", kept=True), {})
    assert shown.passages[0].pieces == (("", "left"),) and "recorded nowhere" in shown.notes[0]


def test_a_terminal_shows_versions_side_by_side_in_colour_and_one_below_the_other_when_narrow(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stays = found("the same calm words", kept=True, id="2", url="http://x/stays")
    gone = found("the same patient words", "near_duplicate", '{"kept": "2"}', "minhash_dedup", url="http://x/gone")
    screens = {}
    for columns in ("140", "80"):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setattr(sys, "stdout", Terminal())
        show("rejected", [gone], {"2": stays}, None)
        screens[columns] = sys.stdout.getvalue().splitlines()
    both = [[line for line in lines if "calm" in line and "patient" in line] for lines in screens.values()]
    assert len(both[0]) == 1 and not both[1]
    assert "\x1b[37;41mpatient" in both[0][0] and "\x1b[30;42mcalm" in both[0][0]
