"""The `sources` section of a recipe: what is collected, by name.

sources:
  web:       {kind: crawl, seeds: [https://docs.example.org/], max_pages: 5000}
  code:      {kind: tree, paths: {"https://git.example.org/me/project/": ../project}, include: ["*.py"]}
  reference: {kind: pydoc-topics}
  archive:   {kind: warc, files: ["crawl/*.warc.gz"]}
  captures:  {kind: common-crawl, crawl: CC-MAIN-2026-05, pattern: "docs.example.org/*"}
  corpus:    {kind: files, format: jsonl, uris: ["s3://bucket/corpus/*.jsonl.zst"]}
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, RootModel, model_validator

from headwater.core.config import Section, Whole
from headwater.data.collect.warc_writer import DEFAULT_MAX_BYTES

PYDOC_URL = "http://pydoc.localhost/"
"""The stable address of Python's own documentation server, whatever port it has."""

USER_AGENT = "headwater-crawler/0.1 (+https://pypi.org/project/headwater-data/)"
SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return value


def _connect_to(value: str) -> str:
    if not re.fullmatch(r"[^:\s]+:\d+:(\[[0-9a-fA-F:]+\]|[^:\s]+):\d+", value):
        raise ValueError("expected HOST:PORT:ADDRESS:PORT")
    return value


def _utc(value: datetime) -> datetime:
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


Date = Annotated[datetime, AfterValidator(_utc)]
"""A moment; one without a time zone is meant in UTC, wherever the machine is."""
Pattern = Annotated[str, AfterValidator(_pattern)]
ConnectToRule = Annotated[str, AfterValidator(_connect_to)]


class _Written(Section):
    """What every source has.

    Attributes:
        date: stamps every record (WARC-Date, and the HTTP Date header), which makes collecting reproducible: equal
            input gives equal bytes. Without it, the clock is used.
        max_file_bytes: a WARC file that has reached this size is closed and the next one begun.
    """

    date: Date | None = None
    max_file_bytes: Whole = Field(default=DEFAULT_MAX_BYTES, ge=1024)


class CrawlSource(_Written):
    """Pages fetched over HTTP, breadth first, politely.

    Attributes:
        seeds: where to start.
        serve: "pydoc" starts Python's own documentation server on loopback and crawls that; `seeds` then default
            to its index.
        hosts: hosts (with port, when not the default one) that may be visited; default: those of the seeds.
        include: regular expressions; when given, one must be found in a URL for it to be visited.
        exclude: regular expressions, none of which may be found in a URL.
        max_pages: pages to save, at most.
        max_depth: links to follow from a seed, at most.
        rate: requests a second to one host, at most; 0 means no limit (for your own machine only). A longer
            Crawl-delay in robots.txt is honoured.
        retries: how often a request that failed in a passing way is repeated.
        backoff_seconds: wait before the first repeat; doubled for each one after it.
        timeout_seconds: limit for connecting and for each read.
        max_page_bytes: a larger page is given up.
        content_types: media types that are saved.
        user_agent: sent with each request; its first word is what robots.txt is asked for.
        robots: honour robots.txt and nofollow. Switch it off only for a site of your own.
        connect_to: HOST:PORT:ADDRESS:PORT rules, as `curl --connect-to`; not part of what the pages are known by.
    """

    kind: Literal["crawl"] = "crawl"
    seeds: tuple[str, ...] = ()
    serve: Literal["pydoc"] | None = None
    hosts: tuple[str, ...] = ()
    include: tuple[Pattern, ...] = ()
    exclude: tuple[Pattern, ...] = ()
    max_pages: Whole = Field(default=1000, ge=1)
    max_depth: Whole = Field(default=10, ge=0)
    rate: float = Field(default=1.0, ge=0)
    retries: Whole = Field(default=3, ge=0)
    backoff_seconds: float = Field(default=1.0, ge=0)
    timeout_seconds: float = Field(default=30.0, gt=0)
    max_page_bytes: Whole = Field(default=5 * 1024 * 1024, ge=1)
    content_types: tuple[str, ...] = ("text/html", "application/xhtml+xml", "text/plain")
    user_agent: str = Field(default=USER_AGENT, min_length=1)
    robots: bool = True
    connect_to: tuple[ConnectToRule, ...] = ()

    @model_validator(mode="after")
    def _has_a_start(self) -> CrawlSource:
        if not self.seeds and self.serve is None:
            raise ValueError("a crawl needs `seeds` (or `serve: pydoc`)")
        return self


class TreeSource(_Written):
    """Files of folders, each as a `resource` record.

    Attributes:
        paths: URI under which a folder's files are known → the folder. "{stdlib}" and "{site-packages}" stand for
            the running Python's. Only the URI is written, so that the archive does not depend on where the folder is.
        include: glob patterns on the path below the folder ("*" also matches "/"); a file must match one.
        exclude: glob patterns, none of which a file may match.
        max_files: files to take, at most: the first in the order of a hash of their URI, which is a fair sample.
        max_bytes: bytes to take, at most, in that same order.
        max_file_size: larger files are passed over, in bytes.
    """

    kind: Literal["tree"] = "tree"
    paths: dict[str, str] = Field(min_length=1)
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    max_files: Whole | None = Field(default=None, ge=1)
    max_bytes: Whole | None = Field(default=None, ge=1)
    max_file_size: Whole = Field(default=1024 * 1024, ge=1)


class TopicsSource(_Written):
    """The language reference that ships inside Python (`pydoc_data.topics`), one record a topic."""

    kind: Literal["pydoc-topics"] = "pydoc-topics"


class WarcSource(Section):
    """Existing WARC files, copied in unchanged.

    Attributes:
        files: paths or glob patterns, relative to the folder the command runs in.
    """

    kind: Literal["warc"] = "warc"
    files: tuple[str, ...] = Field(min_length=1)


class CommonCrawlSource(Section):
    """Captures of Common Crawl: the index says where the records are, and only those bytes are fetched.

    Attributes:
        crawl: name of the crawl; `headwater data fetch common-crawl --list` lists them.
        pattern: a URL, `https://example.org/docs/*` or `*.example.org`.
        limit: captures, at most: the first in the order of the index.
        filters: index filters, for example "=languages:eng" or "~mime:text/.*".
        rate: requests a second to one host, at most; 0 means no limit.
        retries: how often a request that failed in a passing way is repeated.
        timeout_seconds: limit for connecting and for each read.
        index_url: where the index is.
        data_url: where the WARC files are.
    """

    kind: Literal["common-crawl"] = "common-crawl"
    crawl: str = Field(min_length=1)
    pattern: str = Field(min_length=1)
    limit: Whole = Field(default=1000, ge=1)
    filters: tuple[str, ...] = ("=status:200",)
    rate: float = Field(default=1.0, ge=0)
    retries: Whole = Field(default=5, ge=0)
    timeout_seconds: float = Field(default=60.0, gt=0)
    index_url: str = "https://index.commoncrawl.org"
    data_url: str = "https://data.commoncrawl.org"


Format = Literal["warc", "wet", "html", "text", "code", "pdf", "jsonl", "json", "parquet", "hf", "mediawiki",
                 "latex"]  # fmt: skip
"""What the files of a source hold; see docs/data-sources.md."""


class FilesSource(Section):
    """Files that are read where they are: on a disk, or in a store (`s3://`, `gs://`, `hf://`, `https://`).

    Attributes:
        format: what the files hold.
        uris: paths, URIs or glob patterns ("**" is any depth), relative to `root` where it is given.
        lists: text files (plain or .gz) with one such URI a line, as Common Crawl's `wet.paths.gz`.
        root: folder or URI that the files' names are relative to; default: what all `uris` begin with. The names,
            not the root, are part of what documents are known by.
        max_files: files to take, at most: the first in the order of a hash of their name, which is a fair sample.
        checksum: "sha256" reads every file once; "etag" believes the store.
        anonymous: ask the store without credentials, as for a public bucket.
        text: column (jsonl, json, parquet, hf) of the text; "a.b" is field b of a.
        url: column of the document's URL.
        id: column of the document's own id, which stands for the URL where there is none.
        metadata: columns that are kept with the document, as the detail of its first verdict.
        content_type: media type of what is in `text`, for example text/html or text/markdown.
        record: whether each record (jsonl, json, parquet, hf) goes on whole, with all its columns, as JSON: for
            instruction data, which the operator `conversation` reads.
        base_url: what the URL of a file, or of a wiki page, begins with.
        tail: share of each file (text), from its end, that is a document of its own, with `#tail` after its URL: for
            corpora of one text whose last part is the test set; see `documents.validation_urls`.
    """

    kind: Literal["files"] = "files"
    format: Format
    uris: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    root: str = ""
    max_files: Whole | None = Field(default=None, ge=1)
    checksum: Literal["sha256", "etag"] = "sha256"
    anonymous: bool = False
    text: str = Field(default="text", min_length=1)
    url: str = ""
    id: str = ""
    metadata: tuple[str, ...] = ()
    content_type: str = Field(default="text/plain", pattern=r"^[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*$")
    base_url: str = ""
    record: bool = False
    tail: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _text_has_a_tail(self) -> FilesSource:
        if self.tail and self.format != "text":
            raise ValueError(f"tail is of format text, and the format is {self.format}")
        return self

    @model_validator(mode="after")
    def _has_records(self) -> FilesSource:
        if self.record and self.format not in ("jsonl", "json", "parquet", "hf"):
            raise ValueError(f"files of format {self.format} have no records, those of jsonl, json, parquet and hf do")
        return self

    @model_validator(mode="after")
    def _names_files(self) -> FilesSource:
        if not self.uris and not self.lists:
            raise ValueError("a source of files needs `uris` (or `lists`)")
        return self

    def content(self) -> dict[str, Any]:
        """What decides the documents, besides the files' content: how they are read, and not where they are."""
        return self.model_dump(mode="json", exclude={"uris", "lists", "root", "max_files", "anonymous"})


Source = Annotated[
    CrawlSource | TreeSource | TopicsSource | WarcSource | CommonCrawlSource | FilesSource, Field(discriminator="kind")
]


class SourcesConfig(RootModel[dict[str, Source]]):
    """Source name → how it is collected. The names are those of `mixture.weights` and of the folders under raw/."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _names(self) -> SourcesConfig:
        for name in self.root:
            if not SOURCE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no source name: lower-case letters, digits, '_', '.', '-'")
        return self
