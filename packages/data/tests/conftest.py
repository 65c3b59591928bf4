"""Rows, WARC files and tiny runs for the tests of headwater-data."""

import gzip
import hashlib
import importlib.util
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings

from headwater.core.documents import ITEMS
from headwater.core.manifest import ArtifactWriter
from headwater.data.rows import ROWS

settings.register_profile("compiled", deadline=None)  # the first example of all waits for the compiler
settings.load_profile("compiled")

PROSE = (
    "The river rises in the hills to the north of the town and runs for many miles through fields that have been "
    "worked with care since the first farms were built. Every spring the water comes up to the edge of the road, and "
    "the people who live there have learned to be patient with it. They move the animals to the high meadow, they "
    "carry the tools to the upper floor of the barn, and they wait. After a week or two the water goes down again. "
)


def prose(seed: int, sentences: int = 12) -> str:
    """English text that shares no five words in a row with that of another seed."""
    words = [word.strip(".,") for word in PROSE.split()]
    state = seed * 7919 + 13
    lines = []
    for _ in range(sentences):
        picked = []
        for _ in range(14):
            state = (state * 1103515245 + 12345) % 2**31
            picked.append(words[state // 65536 % len(words)])
        lines.append(" ".join(picked).capitalize() + ".")
    return "\n".join(lines)


def member(
    url: str, payload: bytes, content_type: str = "text/plain; charset=utf-8", status: int | None = None
) -> bytes:
    """One gzip member with one WARC record; a response when `status` is given."""
    if status is None:
        body, kind, media = payload, "resource", content_type
    else:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(payload)}\r\n\r\n"
        body, kind, media = head.encode() + payload, "response", "application/http; msgtype=response"
    number = hashlib.sha256(url.encode()).hexdigest()
    record = f"<urn:uuid:{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:32]}>"
    header = (
        f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: {record}\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return gzip.compress(header.encode() + body + b"\r\n\r\n", mtime=0)


def page(text: str) -> bytes:
    """A small HTML page."""
    paragraphs = "".join(f"<p>{line}</p>" for line in text.split("\n"))
    return f"<html><head><title>t</title></head><body><main>{paragraphs}</main></body></html>".encode()


@pytest.fixture
def rows():
    """Builds a batch of rows with texts, or with payloads."""

    def build(texts=None, *, payloads=None, content_type="text/plain", charset="", status=0, source="web"):
        count = len(texts if texts is not None else payloads)
        types = [content_type] * count if isinstance(content_type, str) else content_type
        table = [
            {
                "row": f"{source}/f:{i}:0", "id": f"{i:032x}", "source": source, "url": f"http://x/{i}", "warc_file": "f",  # noqa: E501
                "warc_offset": i, "payload_sha256": "", "content_type": types[i], "charset": charset,
                "http_status": status, "fault": "", "payload": payloads[i] if payloads else b"",
                "text": texts[i] if texts else "", "language": "", "language_score": 0.0, "verdicts": [],
            }
            for i in range(count)
        ]  # fmt: skip
        return pa.RecordBatch.from_pylist(table, schema=ROWS)

    return build


def raw_artifact(run: Path, source: str, files: dict[str, bytes]) -> Path:
    """RUN/raw/<source> with these WARC files."""
    folder = run / "raw" / source
    writer = ArtifactWriter(folder, kind="raw", name=source, producer="test 0", config={})
    writer.begin()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    writer.commit({})
    return folder


def items_artifact(run: Path, texts: list[str]) -> Path:
    """RUN/items with items of the task "quiz"."""
    folder = run / "items"
    writer = ArtifactWriter(folder, kind="items", name="items", producer="test 0", config={})
    writer.begin()
    table = [{"task": "quiz", "index": i, "text": text, "fields_json": "{}"} for i, text in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(table, schema=ITEMS), folder / "items.parquet")
    writer.commit({})
    return folder


ITEM = "which of the seven wooden bridges over the old canal was rebuilt by the guild of carpenters in that year"


RECIPE = """
name: test
seed: 1
documents:
  priority: [reference, web]
  validation_ratio: 0.2
  rows_per_file: 20
  sources:
    web: [extract, language, {gopher_quality: {min_words: 20}}, {gopher_repetition: {}}, pii]
    reference: [extract, pii]
  engine: {workers: 1}
tokenizer: {vocab_size: 400, sample_bytes: 100000}
tokens: {workers: 1}
"""


def tiny_in(folder: Path):
    """The function that `tiny` gives, for another folder."""

    def build(name: str = "run", extra: bytes = b"", web: list[bytes] | None = None) -> tuple[Path, Path]:
        run = folder / name
        if web is None:
            web = [member(f"http://w/{i}.html", page(prose(i)), "text/html; charset=utf-8", 200) for i in range(40)]
            near = prose(3).replace("patient", "calm", 1)
            web.append(member("http://w/near.html", page(near), "text/html", 200))
            web.append(member("http://w/copy.html", page(prose(5)), "text/html", 200))
            web.append(
                member(
                    "http://w/mail.html",
                    page(prose(90) + "\nWrite to jane.doe@mail.org for the rest."),
                    "text/html",
                    200,
                )
            )
            web.append(
                member("http://w/leak.html", page(prose(91) + f"\nHe asked {ITEM}, and nobody knew."), "text/html", 200)
            )
            web.append(member("http://w/menu.html", page("Home\nAbout"), "text/html", 200))
            few = page("The river rises in the hills to the north of the town.")
            web.append(member("http://w/few.html", few, "text/html", 200))
            web.append(member("http://w/gone.html", page(prose(92)), "text/html", 404))
        raw_artifact(run, "web", {"web-00000.warc.gz": b"".join(web) + extra})
        reference = [member(f"ref:{i}", prose(200 + i).encode()) for i in range(12)]
        reference.append(member("ref:copy", prose(5).encode()))
        raw_artifact(run, "reference", {"reference-00000.warc.gz": b"".join(reference)})
        items_artifact(run, [f"Q: {ITEM}?", "too short to be matched"])
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE)
        return run, recipe

    return build


@pytest.fixture
def tiny(tmp_path):
    """Builds a run folder with two sources, evaluation items and a recipe; returns (run, recipe)."""
    return tiny_in(tmp_path)


@pytest.fixture(scope="module")
def tiny_for_module(tmp_path_factory):
    """As `tiny`, in a folder that the tests of a module share."""
    return tiny_in(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def warc():
    """The functions that make WARC members and pages."""
    return member, page, prose, raw_artifact


@pytest.fixture(scope="session")
def spark_ready():
    """Skips a test where Spark cannot run."""
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("pyspark is not installed: pip install 'headwater-data[spark]'")
    if not shutil.which("java"):
        pytest.skip("Spark needs Java, and there is no java on PATH")


@pytest.fixture(scope="module")
def spark_session(spark_ready, tmp_path_factory):
    """One Spark session on two cores for a module; engines that are opened meanwhile use it."""
    from headwater.data.engines.spark.options import SparkConfig
    from headwater.data.engines.spark.session import open_session

    session, _ = open_session(SparkConfig(), 2, tmp_path_factory.mktemp("spark"))
    yield session
    session.stop()
