import gzip
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.data.operators.extractors.by_type import LatexConfig, Unusable, text_of

pytest.importorskip("pylatexenc")

MAIN = r"""\documentclass{article}
\title{On the \emph{river}}
\begin{document}
\maketitle
\section{Introduction} % not this
We show $x^2 \in R$, see \cite{a}.
\input{parts/method}
\begin{figure}\caption{gone}\end{figure}
\include{missing}
\end{document}
after the end
"""
METHOD = 'The method is na\\"ive.\n\\input{parts/deep.tex} \\input{main}\n'


def archive(files, mode="w:gz"):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode, format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def text(payload, **options):
    found = text_of("latex", payload, LatexConfig(**options))
    return [line for line in found.split("\n") if line]


PROJECT = {"main.tex": MAIN.encode(), "parts/method.tex": METHOD.encode(), "parts/deep.tex": b"Deep.", "a.png": b"\0",
           "notes.tex": b"never read"}  # fmt: skip


@pytest.mark.parametrize("mode", ["w:", "w:gz"])
def test_a_project_is_put_together(mode):
    assert text(archive(PROJECT, mode)) == [
        "On the river", "Introduction", "We show $x^2 \\in R$, see .", "The method is naïve.", "Deep."
    ]  # fmt: skip


def test_one_file_plain_and_gzipped():
    assert (
        text(MAIN.encode())
        == text(gzip.compress(MAIN.encode()))
        == ["On the river", "Introduction", "We show $x^2 \\in R$, see ."]
    )
    assert text(MAIN.encode(), math="remove")[2] == "We show , see ."
    assert text(b"Only a \\textbf{fragment}.") == ["Only a fragment."]


# Files that read others twice, and those others, and so on.
GROWING = {f"{name}.tex": b"\\input{%c}" % (ord(name) + 1) * 40 for name in "bcdef"}
BAD = {
    "pdf": (gzip.compress(b"%PDF-1.4"), "no_main_file"),
    "two fragments": (archive({"a.tex": b"a", "b.tex": b"b"}), "no_main_file"),
    "no tex": (archive({"a.txt": b"a"}), "no_main_file"),
    "truncated": (gzip.compress(b"x" * 1000)[:-10], "parse_error"),
    "no gzip": (b"\x1f\x8bjunk", "parse_error"),
    "binary": (b"\0\1\2" * 100, "parse_error"),
    "bomb": (gzip.compress(b"x" * 40_000_000), "too_large"),
    "growing": (archive({"main.tex": b"\\documentclass{a}\\input{b}", **GROWING, "g.tex": b"x" * 1000}), "too_large"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_told(name):
    payload, reason = BAD[name]
    with pytest.raises(Unusable) as caught:
        text_of("latex", payload, LatexConfig())
    assert caught.value.reason == reason


def test_the_size_of_the_source_is_bounded_without_its_comments():
    with pytest.raises(Unusable, match="1,000,001 bytes of TeX, at most 1,000,000") as caught:
        text_of("latex", b"x" * 1_000_001, LatexConfig())
    assert caught.value.reason == "too_large"
    assert text(b"Text.\n" + b"% no\n" * 300_000) == ["Text."]


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60), place=st.integers(0, 10**6))
def test_damage_gives_a_text_or_a_reason(data, place):
    for good in (MAIN.encode(), archive(PROJECT), archive(PROJECT, "w:")):
        for payload in (data, good[: place % len(good)], good[: place % len(good)] + data + good[place % len(good) :]):
            try:
                text_of("latex", payload, LatexConfig()).encode()
            except Unusable as error:
                assert error.reason in {"parse_error", "no_main_file", "too_large"}


TOKENS = [
    "{", "}", "\\", "$", "$$", "\\begin{a}", "\\end{a}", "\\[", "\\]", "%", "&", "_", "^", "a ", "\\frac", "\\item",
    "\n\n", "\\verb|", "\\section", "\\begin{document}",
]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=40))
def test_any_source_gives_a_text_or_a_reason(parts):
    try:
        text_of("latex", ("x" + "".join(parts)).encode(), LatexConfig())
    except Unusable as error:
        assert error.reason == "parse_error"


def test_nesting_beyond_the_stack_is_a_reason():
    with pytest.raises(Unusable, match="nested too deeply"):
        text_of("latex", b"{" * 20_000 + b"}" * 20_000, LatexConfig())


def test_a_folder_of_projects(run, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(archive(PROJECT))
    (tmp_path / "b.tex").write_bytes(MAIN.encode())
    (tmp_path / "c.gz").write_bytes(b"\x1f\x8boh")
    run.collect(format="latex", uris=[f"{tmp_path}/*"])
    _, kept, rejected = run.documents([{"extract": {"latex": {}}}])
    assert sorted(row["warc_file"] for row in kept) == ["a.tar.gz", "b.tex"]
    assert [(row["warc_file"], row["reason"]) for row in rejected] == [("c.gz", "parse_error")]
