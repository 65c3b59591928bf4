import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.data.operators import host_boilerplate as hb

CONFIG = hb.HostBoilerplateConfig(min_documents=3, min_share=0.5, min_characters=20)


@pytest.fixture
def pages(rows):
    def build(pairs, content_type="text/html"):
        batch = rows([text for _, text in pairs], content_type=content_type)
        place = batch.schema.get_field_index("url")
        urls = pa.array([f"https://{host}/{i}" if host else "no-host" for i, (host, _) in enumerate(pairs)])
        return batch.set_column(place, batch.schema.field(place), urls)

    return build


def body(number):
    return f"What page {chr(97 + number)} alone has to say is this sentence of its own {chr(97 + number) * 9}."


def site(host, count):
    return [(host, f"Home | About | Contact\n\n{body(i)}\nPage {i + 1} of 99\n© The  Company") for i in range(count)]


def run(batches, config=CONFIG):
    """All steps, as an engine would run them over these batches."""
    lines = pa.concat_tables([hb.host_lines(batch, config) for batch in batches])
    hosts = pa.concat_tables([hb.host_rows(batch, config) for batch in batches])
    of_host = hb.count_documents(hosts, ("host",)).rename_columns(["host", "host_documents"])
    counted = hb.count_documents(lines, ("host", "line"))
    joined = counted.join(of_host, "host").sort_by([("host", "ascending"), ("line", "ascending")])
    templates = hb.templates_of(hb.recurring(joined, config))
    operator = hb.HostBoilerplate(config, templates)
    return templates, [operator.process(batch) for batch in batches]


def test_lines_that_recur_on_a_host_go_with_the_blank_lines_after_them(pages):
    other = [("other.net", f"Home | About | Contact\n{body(9)}")]
    _, (verdicts,) = run([pages(site("a.org", 4) + other)])
    texts = verdicts.batch.column("text").to_pylist()
    assert texts[:4] == [body(i) for i in range(4)]  # numbers, case and white space do not make a line another
    assert texts[4] == other[0][1]  # what recurs on one host is content on another
    assert verdicts.reasons == ["host_boilerplate"] * 4 + [""]
    removed = len(site("a.org", 1)[0][1]) - len(body(0))
    assert verdicts.details[0] == f"3 lines, {removed} characters removed"
    assert verdicts.counters["lines_removed"] == 12 and verdicts.counters["characters_removed"] == 4 * removed


def test_a_line_is_a_template_from_the_least_count_and_share_on(pages):
    def found(with_line, without):
        pairs = [("h", f"the template\n{body(i)}") for i in range(with_line)]
        return bool(run([pages(pairs + [("h", body(10 + i)) for i in range(without)])])[0])

    assert found(3, 0) and found(3, 3)
    assert not found(2, 0)  # too few documents
    assert not found(3, 4)  # too small a share


def test_a_line_counts_once_a_document(pages):
    assert run([pages([("h", "again\nagain\nagain\nagain"), ("h", body(1))])])[0] == {}


def test_what_is_left_too_short_is_set_aside_as_it_was(pages):
    pairs = [*site("h", 4), ("h", "home | about | contact\nok")]
    _, (verdicts,) = run([pages(pairs)])
    assert verdicts.outcomes[4] == "reject" and verdicts.reasons[4] == "too_short"
    assert verdicts.details[4].startswith("2 characters left < 20; 1 lines, 23 characters")
    assert verdicts.batch.column("text")[4].as_py() == pairs[4][1]


def test_documents_without_a_host_and_programs_are_left_alone(pages):
    for batch in (pages(site("", 5)), pages(site("h", 5), content_type="text/x-python")):
        templates, (verdicts,) = run([batch])
        assert templates == {} and verdicts.outcomes == ["keep"] * 5
        assert verdicts.batch.equals(batch)


def test_short_lines_always_stay(pages):
    _, (verdicts,) = run([pages([("h", f"}} \n{body(i)}") for i in range(4)])])
    assert verdicts.outcomes == ["keep"] * 4


def test_host_names_are_compared_without_case_port_and_user(rows):
    urls = ["http://A.org/x", "https://me:pw@a.ORG:8443?q", "http://[::1]:80/", "file:///x", "ref:1", "HTTP://b#@c/"]
    batch = rows(["x"] * len(urls))
    place = batch.schema.get_field_index("url")
    batch = batch.set_column(place, batch.schema.field(place), pa.array(urls))
    assert hb.host_rows(batch, CONFIG).column("host").to_pylist() == ["a.org", "a.org", "[::1]", "b"]


PIECE = st.sampled_from(
    ["menu", "Menu ", "a b", "foot 12", "foot 7", "", " ", "x1y", "é", "only here", "}", "12", "7 7"]
)
TEXT = st.lists(PIECE, max_size=6).map("\n".join)
PAGES = st.lists(st.tuples(st.sampled_from(["h", "g", ""]), TEXT), min_size=1, max_size=14)


def plain(pairs, config):
    """The same rule with one Python string a line."""

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
    texts = []
    for host, text in pairs:
        kept, after_removed = [], False
        for line in text.split("\n"):
            if line.strip():
                after_removed = (host, key(line)) in good
            if not after_removed:
                kept.append(line)
        texts.append("\n".join(kept))
    return texts


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # a pure function
@given(PAGES, st.integers(1, 13))
def test_the_rule_is_that_of_a_plain_loop_whatever_the_batches(pages, pairs, cut):
    config = hb.HostBoilerplateConfig(min_documents=2, min_share=0.4, min_line_bytes=2, min_characters=0)
    whole = pages(pairs)
    parts = [part for part in (whole.slice(0, cut), whole.slice(cut)) if part.num_rows]
    templates, verdicts = run(parts, config)
    backwards, _ = run(parts[::-1], config)
    assert templates.keys() == backwards.keys()
    assert all(np.array_equal(templates[host], backwards[host]) for host in templates)
    texts = [text for each in verdicts for text in each.batch.column("text").to_pylist()]
    assert texts == plain(pairs, config)
    changed = [outcome == "change" for each in verdicts for outcome in each.outcomes]
    assert changed == [text != old for text, (_, old) in zip(texts, pairs, strict=True)]
