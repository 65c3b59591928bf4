"""Host templates and repeated lines: found by a global step, cut out of the texts."""

import re
from dataclasses import dataclass

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.data.cuts import cuts_of
from headwater.data.earlier import Earlier
from headwater.data.engines.local import LocalEngine
from headwater.data.operators import host_boilerplate as hb
from headwater.data.operators.apply_cuts import ApplyCuts
from headwater.data.operators.line_dedup import LineDedupConfig, spans_of_lines
from headwater.data.repeated_lines import repeated_lines
from headwater.data.row_keys import row_keys
from headwater.data.rows import ALIVE, ROWS
from headwater.data.templates import host_templates

CONFIG = hb.HostBoilerplateConfig(min_documents=3, min_share=0.5, min_characters=20)
LINES = LineDedupConfig(unit="line", min_words=3, min_characters=5)


@dataclass(frozen=True)
class Given:
    batch: pa.RecordBatch
    schema: pa.Schema
    size: int = 1_000_000

    def __call__(self):
        yield self.batch.select(self.schema.names)


@pytest.fixture
def pages(rows):
    def build(pairs, content_type="text/html"):
        batch = rows([text for _, text in pairs], content_type=content_type)
        urls = pa.array([f"https://{host}/{i}" if host else "no-host" for i, (host, _) in enumerate(pairs)])
        keys = row_keys(0, batch.column("id").to_pylist(), [str(i).encode() for i in range(len(pairs))])
        for name, column in (("url", urls), ("row", keys)):
            place = batch.schema.get_field_index(name)
            batch = batch.set_column(place, batch.schema.field(place), column)
        return batch

    return build


def run(folder, batches, find, name, config, shuffle_bytes=10**9):
    """The verdicts of each batch."""
    with LocalEngine(folder, shuffle_bytes=shuffle_bytes) as engine:
        more = (Earlier(),) if find is repeated_lines else ()
        cuts = find(engine, engine.read([Given(batch, ALIVE) for batch in batches], ALIVE), config, *more)
        joined = engine.join(engine.read([Given(b, ROWS) for b in batches], ROWS), cuts, left_on="row", right_on="row")
        return [ApplyCuts(name, config, cuts_of(b)).process(b.select(ROWS.names)) for p in joined.parts for b in p()]


def templates(folder, batches, config=CONFIG, **options):
    return run(folder, batches, host_templates, hb.NAME, config, **options)


def body(number):
    return f"What page {chr(97 + number)} alone has to say is this sentence of its own {chr(97 + number) * 9}."


def site(host, count):
    return [(host, f"Home | About | Contact\n\n{body(i)}\nPage {i + 1} of 99\n© The  Company") for i in range(count)]


@pytest.mark.parametrize("shuffle_bytes", [10**9, 300_000])
def test_lines_that_recur_on_a_host_go(tmp_path, pages, shuffle_bytes):
    other = [("other.net", f"Home | About | Contact\n{body(9)}")]
    (verdicts,) = templates(tmp_path, [pages(site("a.org", 4) + other)], shuffle_bytes=shuffle_bytes)
    texts = verdicts.batch.column("text").to_pylist()
    assert texts[:4] == [body(i) for i in range(4)]  # numbers, case and white space do not make a line another
    assert texts[4] == other[0][1]  # what recurs on one host is content on another
    assert verdicts.reasons == ["host_boilerplate"] * 4 + [""]
    removed = len(site("a.org", 1)[0][1]) - len(body(0))
    assert verdicts.details[0] == f"2 spans, {removed} characters removed"
    assert verdicts.counters["characters_removed"] == 4 * removed


@pytest.mark.parametrize(("with_line", "without", "found"), [(3, 0, True), (3, 3, True), (2, 0, False), (3, 4, False)])
def test_a_line_is_a_template_from_the_least_count_and_share_on(tmp_path, pages, with_line, without, found):
    pairs = [("h", f"the template\n{body(i)}") for i in range(with_line)]
    (verdicts,) = templates(tmp_path, [pages(pairs + [("h", body(10 + i)) for i in range(without)])])
    assert ("change" in verdicts.outcomes) == found


def test_a_line_counts_once_a_document(tmp_path, pages):
    (verdicts,) = templates(tmp_path, [pages([("h", "again\nagain\nagain\nagain"), ("h", body(1))])])
    assert verdicts.outcomes == ["keep"] * 2


def test_what_is_left_too_short_is_set_aside_as_it_was(tmp_path, pages):
    pairs = [*site("h", 4), ("h", "home | about | contact\nok")]
    (verdicts,) = templates(tmp_path, [pages(pairs)])
    assert verdicts.outcomes[4] == "reject" and verdicts.reasons[4] == "too_short"
    assert verdicts.details[4].startswith("2 characters left < 20; 1 spans, 23 characters")
    assert verdicts.batch.column("text")[4].as_py() == pairs[4][1]


def test_documents_without_a_host_and_programs_are_left_alone(tmp_path, pages):
    for number, batch in enumerate((pages(site("", 5)), pages(site("h", 5), content_type="text/x-python"))):
        (verdicts,) = templates(tmp_path / str(number), [batch])
        assert verdicts.outcomes == ["keep"] * 5
        assert verdicts.batch.equals(batch)


def test_short_lines_always_stay(tmp_path, pages):
    (verdicts,) = templates(tmp_path, [pages([("h", f"}} \n{body(i)}") for i in range(4)])])
    assert verdicts.outcomes == ["keep"] * 4


def test_host_names_are_compared_without_case_port_and_user(rows):
    urls = ["http://A.org/x", "https://me:pw@a.ORG:8443?q", "http://[::1]:80/", "file:///x", "ref:1", "HTTP://b#@c/"]
    batch = rows(["x"] * len(urls), content_type="text/html")
    place = batch.schema.get_field_index("url")
    batch = batch.set_column(place, batch.schema.field(place), pa.array(urls))
    assert hb.hosts_of(batch, CONFIG) == ["a.org", "a.org", "[::1]", None, None, "b"]


PIECE = st.sampled_from(
    ["menu", "Menu ", "a b", "foot 12", "foot 7", "", " ", "x1y", "é", "only here", "}", "12", "7 7"]
)
TEXT = st.lists(PIECE, max_size=6).map("\n".join)
PAGES = st.lists(st.tuples(st.sampled_from(["h", "g", ""]), TEXT), min_size=1, max_size=14)


def plain(pairs, config):
    """Which lines are left by the same rule, with one Python string a line."""

    def key(line):
        folded = "".join(re.sub("[0-9]+", "0", line).lower().split())
        return folded if len(folded.encode()) >= config.min_line_bytes else None

    counts, totals = {}, {}
    for host, text in pairs:
        totals[host] = totals.get(host, 0) + bool(host)
        for line in {key(line) for line in text.split("\n")} - {None}:
            counts[host, line] = counts.get((host, line), 0) + bool(host)
    good = {
        pair
        for pair, n in counts.items()
        if n >= config.min_documents and n >= config.min_share * totals[pair[0]]
    }  # fmt: skip
    return [
        [line for line in text.split("\n") if (host, key(line)) not in good and line.strip()] for host, text in pairs
    ]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PAGES, st.integers(1, 13))
def test_the_rule_is_that_of_a_plain_loop_whatever_the_batches(tmp_path_factory, pages, pairs, place):
    config = hb.HostBoilerplateConfig(min_documents=2, min_share=0.4, min_line_bytes=2, min_characters=0)
    whole = pages(pairs)
    parts = [part for part in (whole.slice(0, place), whole.slice(place)) if part.num_rows]
    texts = {}
    for order in (parts, parts[::-1]):
        for verdicts in templates(tmp_path_factory.mktemp("w"), order, config):
            for row, text in zip(*(verdicts.batch.column(n).to_pylist() for n in ("row", "text")), strict=True):
                assert texts.setdefault(row, text) == text
    left = [[line for line in texts[row].split("\n") if line.strip()] for row in whole.column("row").to_pylist()]
    assert left == plain(pairs, config)


def test_of_repeated_lines_the_preferred_document_keeps_them(tmp_path, pages):
    shared = "a sentence that both documents have"
    pairs = [
        ("a", f"first words of the one\n{shared}\nend"),
        ("b", f"{shared}\nwhat only the other has"),
        ("c", shared),
    ]
    verdicts = run(tmp_path, [pages(pairs)], repeated_lines, "line_dedup", LINES)[0]
    assert verdicts.batch.column("text").to_pylist() == [pairs[0][1], "what only the other has", shared]
    assert verdicts.outcomes == ["keep", "change", "reject"]
    assert verdicts.reasons == ["", "line_dedup", "too_short"]


def test_a_line_repeated_within_a_document_is_kept_once(tmp_path, pages):
    pairs = [("a", "one two three\nfour five six\nOne  two three\ntail")]
    verdicts = run(tmp_path, [pages(pairs)], repeated_lines, "line_dedup", LINES)[0]
    assert verdicts.batch.column("text").to_pylist() == ["one two three\nfour five six\ntail"]


@given(st.text(alphabet="ab é\n\t漢😀", max_size=60), st.sampled_from(["line", "paragraph"]))
def test_spans_are_bytes_of_their_units(text, unit):
    config = LineDedupConfig(unit=unit, min_words=1, min_characters=0)
    data = text.encode()
    found = list(spans_of_lines(text, config))
    assert [words for words, _, _ in found] == [" ".join(data[a:b].decode().lower().split()) for _, a, b in found]
    pieces = text.split("\n") if unit == "line" else re.split(r"\n(?:[^\S\n]*\n)+", text)
    assert [words for words, _, _ in found] == [" ".join(p.lower().split()) for p in pieces if p.split()]
    assert all(stop <= len(data) for _, _, stop in found)
