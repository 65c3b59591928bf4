import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from headwater.core.config import load_section
from headwater.core.documents import DOCUMENTS, REJECTED
from headwater.core.errors import ConfigError, DataError, StorageError
from headwater.core.layout import RunLayout
from headwater.data.config import DocumentsConfig
from headwater.data.documents import make_documents
from headwater.data.engines.processes import Workers
from headwater.data.index import make_index

pytestmark = pytest.mark.slow


def make(run, recipe, *overrides):
    return make_documents(RunLayout(run), load_section("documents", DocumentsConfig, recipe, overrides))


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def kept(run):
    return [
        row for path in sorted((run / "documents").glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def rejected(run):
    folder = run / "documents" / "rejected"
    return [row for path in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]


def by_url(rows):
    return {row["url"]: row for row in rows}


def test_every_document_is_kept_or_set_aside_with_its_reason(tiny):
    run, recipe = tiny()
    outcome = make(run, recipe)
    good, bad = by_url(kept(run)), by_url(rejected(run))
    assert len(good) + len(bad) == 47 + 13 == outcome.result["total"]["documents_in"]
    assert not set(good) & set(bad)
    why = {url: (row["operator"], row["reason"]) for url, row in bad.items()}
    assert why["http://w/menu.html"] == ("language", "low_score")
    assert why["http://w/few.html"] == ("gopher_quality", "too_few_words")
    assert why["http://w/gone.html"] == ("extract", "http_status")
    assert why["http://w/leak.html"] == ("decontaminate", "item_overlap")
    assert "<EMAIL>" in good["http://w/mail.html"]["text"] and "jane.doe" not in good["http://w/mail.html"]["text"]
    assert all(row["text_bytes"] == len(row["text"].encode()) for row in [*kept(run), *rejected(run)])
    assert pq.read_schema(run / "documents" / "part-00000.parquet").equals(DOCUMENTS)
    assert pq.read_schema(run / "documents" / "rejected" / "part-00000.parquet").equals(REJECTED)


def test_duplicates_name_the_document_that_stays_by_priority(tiny):
    run, recipe = tiny()
    make(run, recipe)
    good, bad = by_url(kept(run)), by_url(rejected(run))
    # Three copies: two in web and one in reference, which the recipe prefers.
    assert "ref:copy" in good
    for url in ("http://w/5.html", "http://w/copy.html"):
        assert bad[url]["operator"] == "exact_dedup"
        assert json.loads(bad[url]["detail"]) == {"kept": good["ref:copy"]["id"], "jaccard": 1.0}
    pair = {"http://w/3.html", "http://w/near.html"}
    gone = (pair & set(bad)).pop()
    stays = (pair - {gone}).pop()
    detail = json.loads(bad[gone]["detail"])
    assert bad[gone]["operator"] == "minhash_dedup" and detail["kept"] == good[stays]["id"] < bad[gone]["id"]
    assert 0.7 <= detail["jaccard"] < 1


def test_a_source_that_loses_too_much_as_duplicates_raises_an_alarm(tiny, capsys):
    run, recipe = tiny()
    limit = "documents.max_duplicate_ratio={web: 0.01}"
    with pytest.raises(DataError, match="more documents than expected") as caught:
        make(run, recipe, limit, "documents.on_duplicate_alarm=stop")
    assert "web lost" in caught.value.found and "exact_dedup" in caught.value.found
    assert not (run / "documents" / "manifest.json").exists()
    outcome = make(run, recipe, limit)
    (alarm,) = outcome.result["duplicate_alarms"]
    gone = [row for row in rejected(run) if row["source"] == "web" and row["operator"].endswith("_dedup")]
    assert (alarm["source"], alarm["removed"]) == ("web", len(gone))
    assert alarm["of"] == len(gone) + sum(
        row["source"] == "web" and row["operator"] in ("", "decontaminate") for row in [*rejected(run)]
    ) + sum(row["source"] == "web" for row in kept(run))
    assert make(tiny("b")[0], recipe).result["duplicate_alarms"] == []


def test_verdicts_tell_the_whole_way(tiny):
    run, recipe = tiny()
    make(run, recipe)
    row = by_url(kept(run))["http://w/mail.html"]
    assert [v["operator"] for v in row["verdicts"]] == [
        "read", "extract", "language", "gopher_quality", "gopher_repetition", "pii", "exact_dedup", "minhash_dedup", "decontaminate"  # noqa: E501
    ]  # fmt: skip
    redacted = row["verdicts"][5]
    assert (redacted["operator"], redacted["outcome"], redacted["reason"]) == ("pii", "change", "redacted")
    assert json.loads(redacted["detail"])["email"] == 1
    leak = by_url(rejected(run))["http://w/leak.html"]
    assert leak["verdicts"][-1]["outcome"] == "reject" and leak["verdicts"][-1]["reason"] == leak["reason"]


def test_the_funnel_adds_up(tiny):
    run, recipe = tiny()
    make(run, recipe)
    funnel = json.loads((run / "documents" / "funnel.json").read_text())
    for content in funnel["sources"].values():
        rows = content["operators"]
        for before, after in pairwise(rows):
            assert before["documents_out"] == after["documents_in"] and before["bytes_out"] == after["bytes_in"]
        for row in rows:
            assert row["documents_in"] - row["documents_out"] == sum(row["rejected"].values())
    assert funnel["total"]["documents_out"] == len(kept(run))
    assert funnel["total"]["bytes_out"] == sum(row["text_bytes"] for row in kept(run))


@pytest.mark.parametrize(
    "options",
    [
        ("workers=1", "partition_bytes=1000"),
        ("workers=2", "partition_bytes=1000"),
        ("workers=2", "partition_bytes=7000"),
    ],
)
def test_workers_and_partitions_change_no_byte(tiny, options):
    run, recipe = tiny("a")
    make(run, recipe)
    other, _ = tiny("b")
    make(other, recipe, *(f"documents.engine.{option}" for option in options))
    assert digests(run / "documents") == digests(other / "documents")


@pytest.mark.parametrize("action", ["reject", "mark"])
def test_the_documents_that_hold_items_are_listed(tiny, action):
    run, recipe = tiny("a")
    option = f"documents.decontaminate={{action: {action}}}"
    outcome = make(run, recipe, option)
    (row,) = pq.read_table(run / "documents" / "item_overlaps.parquet").to_pylist()
    (leak,) = [each for each in (*kept(run), *rejected(run)) if each["url"] == "http://w/leak.html"]
    assert row.pop("coverage") > 0.9
    assert row == {"task": "quiz", "index": 0, "id": leak["id"], "source": "web", "url": leak["url"],
                   "split": leak["split"], "kept": action == "mark", "longest": 20}  # fmt: skip
    assert (leak["url"] in {each["url"] for each in kept(run)}) == (action == "mark")
    assert leak["verdicts"][-1]["operator"] == "decontaminate" and '"index": 0' in leak["verdicts"][-1]["detail"]
    assert len(kept(run)) + len(rejected(run)) == outcome.result["total"]["documents_in"]
    other, _ = tiny("b")
    make(other, recipe, option, "documents.engine.workers=2", "documents.engine.partition_bytes=1000")
    assert digests(run / "documents") == digests(other / "documents")


def test_a_second_run_is_up_to_date_and_a_changed_recipe_is_not(tiny):
    run, recipe = tiny()
    first = make(run, recipe)
    again = make(run, recipe, "documents.engine.workers=2")
    assert first.fresh and not again.fresh and again.manifest.digest == first.manifest.digest
    changed = make(run, recipe, "documents.sources.web.2.gopher_quality.min_words=25")
    assert changed.fresh and changed.manifest.digest != first.manifest.digest
    assert not (run / "documents" / "_work").exists()


def test_every_global_step_together_changes_no_byte_by_partitions(tiny):
    steps = ("documents.url_dedup={}", "documents.host_boilerplate={min_documents: 5, min_share: 0.1}",
             "documents.line_dedup={unit: line, min_words: 5, min_characters: 20}",
             "documents.substring_dedup={min_tokens: 12, min_characters: 20}")  # fmt: skip
    run, recipe = tiny("a")
    outcome = make(run, recipe, *steps)
    other, _ = tiny("b")
    make(other, recipe, *steps, "documents.engine.workers=2", "documents.engine.partition_bytes=1000")
    assert digests(run / "documents") == digests(other / "documents")
    names = [row["operator"] for row in outcome.result["sources"]["web"]["operators"]][-7:]
    assert names == ["url_dedup", "exact_dedup", "host_boilerplate", "line_dedup", "substring_dedup", "minhash_dedup",
                     "decontaminate"]  # fmt: skip
    assert len(kept(run)) + len(rejected(run)) == outcome.result["total"]["documents_in"]


def test_parts_left_by_a_larger_result_do_not_stay(tiny):
    run, recipe = tiny()
    make(run, recipe, "documents.rows_per_file=2")
    (run / "documents" / "manifest.json").unlink()
    for folder in (run / "documents", run / "documents" / "rejected"):
        (folder / ".part-00000.parquet.5b1c.tmp").write_bytes(b"of a writer that was killed")
    make(run, recipe, "documents.rows_per_file=1000")
    assert not list((run / "documents").rglob("*.tmp"))
    # One file a source now, in the order of the sources.
    names = sorted(path.name for path in (run / "documents").glob("part-*"))
    assert names == ["part-00000.parquet", "part-00001.parquet"]
    read = [set(pq.read_table(run / "documents" / name).column("source").to_pylist()) for name in names]
    assert read == [{"reference"}, {"web"}]


def test_a_truncated_warc_is_set_aside_with_its_place(tiny, warc):
    member, page, prose, _ = warc
    torn = member("http://w/torn.html", page(prose(300)), "text/html", 200)[:-200]
    run, recipe = tiny(extra=torn)
    outcome = make(run, recipe)
    bad = [row for row in rejected(run) if row["operator"] == "read"]
    size = (run / "raw" / "web" / "web-00000.warc.gz").stat().st_size
    assert [(row["reason"], row["warc_file"], row["warc_offset"]) for row in bad] == [
        ("bad_record", "web-00000.warc.gz", size - len(torn))
    ]
    assert "truncated" in bad[0]["detail"]
    read = outcome.result["sources"]["web"]["operators"][0]
    assert read["rejected"] == {"bad_record": 1}


@pytest.mark.parametrize("partition_bytes", [1000, 10_000_000])
def test_a_corrupt_member_costs_only_itself(tiny, warc, partition_bytes):
    member, page, prose, _ = warc
    members = [member(f"http://w/{i}.html", page(prose(i)), "text/html", 200) for i in range(12)]
    broken = bytearray(members[4])
    broken[40:60] = b"\xff" * 20
    run, recipe = tiny(web=[*members[:4], bytes(broken), *members[5:]])
    make(run, recipe, f"documents.engine.partition_bytes={partition_bytes}")
    bad = [row for row in rejected(run) if row["operator"] == "read"]
    assert [row["warc_offset"] for row in bad] == [sum(map(len, members[:4]))]
    assert {f"http://w/{i}.html" for i in range(12) if i not in (4, 5)} <= set(by_url(kept(run)))


def test_a_page_in_another_encoding_is_read_and_noise_is_set_aside(tiny, warc):
    member, page, prose, _ = warc
    text = prose(400).replace("river", "Fluß")
    latin = page(text).decode().encode("latin-1")
    web = [member("http://w/latin.html", latin, "text/html; charset=iso-8859-1", 200),
           member("http://w/noise.html", bytes(range(256)) * 20, "text/html", 200),
           *(member(f"http://w/{i}.html", page(prose(i)), "text/html", 200) for i in range(8))]  # fmt: skip
    run, recipe = tiny(web=web)
    make(run, recipe, "documents.sources.web.1={language: {allowed: {en: 0.1}}}")
    assert "Fluß" in by_url(kept(run))["http://w/latin.html"]["text"]
    assert by_url(rejected(run))["http://w/noise.html"]["reason"] == "undecodable"


def test_an_empty_corpus_names_the_operator_and_leaves_nothing(tiny):
    run, recipe = tiny()
    with pytest.raises(DataError) as caught:
        make(run, recipe, "documents.sources.web.2.gopher_quality.min_words=90000")
    message = str(caught.value)
    assert "gopher_quality removed" in message and "too_few_words" in message and "source web" in message
    assert not list((run / "documents").rglob("*.parquet")) and not (run / "documents" / "manifest.json").exists()
    assert not (run / "documents" / "_work").exists()
    allowed = make(
        run, recipe, "documents.sources.web.2.gopher_quality.min_words=90000", "documents.allow_empty_sources=true"
    )
    assert allowed.result["sources"]["web"]["documents_out"] == 0


def test_a_source_without_warc_files_is_refused(tiny, warc):
    run, recipe = tiny()
    warc[3](run, "empty", {})
    with pytest.raises(DataError, match=r"no WARC file"):
        make(run, recipe, "documents.sources.empty=[extract]")


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("documents.sources.web.2.gopher_quality.min_wrods=3", "min_words"),
        ("documents.sources.web.0=pii", "begin with extract"),
        ("documents.sources.web.1={language: {}, pii: {}}", "exactly one operator"),
        ("documents.priority=[nowhere]", "nowhere"),
        ("documents.validation_ratio=1.5", "validation_ratio"),
        ("documents.sources.web.3=gopher", "gopher"),
    ],
)
def test_mistakes_in_the_recipe_are_refused_before_anything_starts(tiny, override, match):
    run, recipe = tiny()
    with pytest.raises(ConfigError, match=match):
        make(run, recipe, override)
    assert not (run / "documents").exists()


def test_the_recorded_config_is_a_recipe(tiny):
    run, recipe = tiny()
    manifest = make(run, recipe).manifest
    again = DocumentsConfig.model_validate(manifest.config)
    assert again.content() == manifest.config


def test_a_full_disk_leaves_no_artifact_and_the_same_command_goes_on(tiny, monkeypatch):
    run, recipe = tiny()
    reference, _ = tiny("reference")
    make(reference, recipe)
    real, calls = pq.write_table, []

    def full(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(StorageError, match="No space left"):
        make(run, recipe)
    assert not (run / "documents" / "manifest.json").exists()
    monkeypatch.setattr(pq, "write_table", real)
    assert make(run, recipe).fresh
    assert digests(run / "documents") == digests(reference / "documents")


@pytest.mark.parametrize("after", [1, 3])
def test_kill_9_in_the_middle_then_the_same_command(tiny, after):
    reference, recipe = tiny("reference")
    make(reference, recipe)
    run, _ = tiny("killed")
    arguments = [sys.executable, "-m", "headwater.core.cli", "data", "run", "--recipe", str(recipe), "--run", str(run),
                 "documents.engine.partition_bytes=2000"]  # fmt: skip
    arguments[1:3] = ["-c", "from headwater.core.cli import main; main()"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if len(list((run / "documents").glob("_work/*/filter/completions/*"))) >= after:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "documents" / "manifest.json").exists()
    marks = {path: path.stat().st_mtime_ns for path in (run / "documents").glob("_work/*/filter/*.arrow")}
    assert marks
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert digests(run / "documents") == digests(reference / "documents")


def test_finished_partitions_are_not_done_again(tiny, monkeypatch):
    from headwater.data import steps

    run, recipe = tiny()
    seen: list[int] = []
    real = steps.run_chain

    def failing(operators, batch):
        seen.append(batch.num_rows)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(operators, batch)

    monkeypatch.setattr(steps, "run_chain", failing)
    small = "documents.engine.partition_bytes=1000"
    with pytest.raises(KeyboardInterrupt):
        make(run, recipe, small)
    finished = len(list((run / "documents").glob("_work/*/filter/completions/*")))
    assert finished >= 1
    before = sum(seen[:finished])
    seen.clear()
    seen.extend([0] * 10)
    make(run, recipe, small)
    filtered = sum(seen[10:])
    assert before > 0 and filtered <= 60 - before + 60  # the rest of filter, and finish on what was kept


@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_lost_worker_is_reported_and_the_command_goes_on(tiny, moment):
    run, recipe = tiny()
    program = f"""
import os, signal, sys
from headwater.core.cli import main
from headwater.data.engines import processes
sys.argv = ["headwater", "data", "run", "--recipe", {str(recipe)!r}, "--run", {str(run)!r},
            "documents.engine.workers=2", "documents.engine.partition_bytes=2000"]
real_start, real_send, sent = processes.Workers.start, processes.Workers._send, []
def start(self):
    made = real_start(self)
    if {moment!r} == "before" and not sent:
        victim = list(made.values())[0]
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
    return made
def send(self, pipe, call, label):
    real_send(self, pipe, call, label)
    sent.append(call)
    if {moment!r} == "during" and len(sent) == 3:
        os.kill(self._started[pipe].pid, signal.SIGKILL)
processes.Workers.start, processes.Workers._send = start, send
main()
"""
    failed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert failed.returncode == 1 and "worker process" in failed.stderr, failed.stderr
    assert "Traceback" not in failed.stderr and not (run / "documents" / "manifest.json").exists()
    assert make(run, recipe, "documents.engine.partition_bytes=2000").fresh


def test_an_error_in_a_worker_reaches_the_caller_whole(tmp_path):
    with pytest.raises(StorageError, match="No such file") as caught, Workers(2, "x") as workers:
        workers.run("read", _read, [(str(tmp_path / "none"),)] * 4)
    assert caught.value.hint


def _read(path):
    from headwater.core.storage import storage_errors

    with storage_errors("read", path):
        open(path).close()


def test_a_file_that_no_manifest_lists_is_not_read(tiny):
    run, recipe = tiny()
    before = make(run, recipe).manifest
    (run / "documents" / "manifest.json").unlink()
    listed = next((run / "raw" / "web").glob("*.warc.gz"))
    (run / "raw" / "web" / "stray.warc.gz").write_bytes(listed.read_bytes())
    assert make(run, recipe).manifest == before


def test_of_an_earlier_document_the_copy_and_the_near_copy_go_and_name_it(tiny, tmp_path, warc):
    member, page, prose, _ = warc
    first, recipe = tiny("first", web=[member(f"http://w/{i}", page(prose(i)), "text/html", 200) for i in range(6)])
    make(first, recipe)
    shutil.rmtree(first / "raw")  # the index needs nothing but the documents
    index = tmp_path / "index"
    config = load_section("documents", DocumentsConfig, recipe, ())
    assert make_index(RunLayout(first), config, index).result["documents"] == len(kept(first))
    assert not make_index(RunLayout(first), config, index).fresh
    old = by_url(kept(first))

    pages = {"http://new/copy": prose(1), "http://new/near": prose(2) + " with one more line at its end",
             "http://new/other": prose(40), "http://new/copy2": prose(1)}  # fmt: skip
    second, _ = tiny("second", web=[member(url, page(text), "text/html", 200) for url, text in pages.items()])
    options = (f"documents.earlier={{old: {tmp_path / 'index'}}}", "documents.allow_empty_sources=true")
    outcome = make(second, recipe, *options)
    bad = by_url(rejected(second))
    assert "http://new/other" in by_url(kept(second))
    for url in ("http://new/copy", "http://new/copy2"):
        detail = json.loads(bad[url]["detail"])
        assert (bad[url]["operator"], detail["kept"], detail["earlier"]) == (
            "exact_dedup",
            old["http://w/1"]["id"],
            "old",
        )
    detail = json.loads(bad["http://new/near"]["detail"])
    assert bad["http://new/near"]["operator"] == "minhash_dedup" and detail["jaccard"] > 0.9
    assert (detail["kept"], detail["earlier"]) == (old["http://w/2"]["id"], "old")
    # Where the index lies is no part of the result; what is in it is.
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "index", moved)
    third, _ = tiny("third", web=[member(url, page(text), "text/html", 200) for url, text in pages.items()])
    other = make(third, recipe, f"documents.earlier={{old: {moved}}}", options[1], "documents.engine.workers=2")
    assert other.manifest.digest == outcome.manifest.digest


def test_an_index_made_with_other_options_is_refused(tiny, tmp_path):
    run, recipe = tiny()
    make(run, recipe)
    make_index(RunLayout(run), load_section("documents", DocumentsConfig, recipe, ()), tmp_path / "index")
    other, _ = tiny("other")
    with pytest.raises(ConfigError, match=r"documents\.earlier\.old .*minhash_dedup"):
        make(other, recipe, f"documents.earlier={{old: {tmp_path / 'index'}}}", "documents.minhash_dedup.ngram=7")
    with pytest.raises(ConfigError, match="is no index"):
        make(other, recipe, f"documents.earlier={{old: {run / 'documents'}}}")
