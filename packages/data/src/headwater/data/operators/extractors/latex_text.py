"""LaTeX to text, by pylatexenc; the files of a project are put together first, as their inputs say."""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
import zlib
from functools import lru_cache
from typing import Any

from headwater.data.operators.charset import decode
from headwater.data.operators.extractors.by_type import LatexConfig, Unusable

_INPUT = re.compile(r"\\(?:input|include|subfile)\s*\{([^{}]{1,200})\}")
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%.*?$\n?[ \t]*", re.MULTILINE)
_MAIN_NAMES = ("main", "ms", "paper", "article", "arxiv")
_TITLE = re.compile(r"\\title\s*(?:\[[^\]]{0,300}\])?\s*\{")
_DEPTH = 10
_DROPPED = ("figure", "figure*", "table", "table*", "tikzpicture", "thebibliography", "pspicture", "picture",
            "filecontents", "filecontents*", "CCSXML")  # fmt: skip

# What stands for something elsewhere leaves no mark in the text.
_DROPPED_MACROS = ("maketitle", "includegraphics", "bibliography", "bibliographystyle", "cite", "citep", "citet", "ref",
                   "eqref", "pageref", "label", "thanks", "footnotemark")  # fmt: skip
_HEADINGS = ("part", "chapter", "section", "subsection", "subsubsection", "paragraph", "subparagraph")


def extract(payload: bytes, config: LatexConfig) -> str:
    """The title and the body of a document.

    Raises:
        Unusable: too_large, no_main_file, parse_error.
    """
    files = _files(payload, config.max_bytes)
    name = _main(files)
    source = _put_together(name, files, config.max_source_bytes, ())
    if (size := len(source.encode())) > config.max_source_bytes:
        raise Unusable("too_large", f"{size:,} bytes of TeX, at most {config.max_source_bytes:,}")
    title = _braces(source, found.end()) if (found := _TITLE.search(source)) else ""
    start, end = source.find(r"\begin{document}"), source.rfind(r"\end{document}")
    if start >= 0:
        source = source[start + len(r"\begin{document}") : end if end > start else None]
    text = _converter(config.math).latex_to_text(f"{title}\n\n{source}" if title else source)
    return "\n".join(line.strip() for line in text.split("\n"))


def _files(payload: bytes, max_bytes: int) -> dict[str, str]:
    """The TeX files of a payload by their path: of one file, of an archive, either gzipped or not."""
    if payload[:2] == b"\x1f\x8b":
        inflater = zlib.decompressobj(wbits=31)
        payload = inflater.decompress(payload, max_bytes + 1)
        if len(payload) > max_bytes:
            raise Unusable("too_large", f"more than {max_bytes:,} bytes when inflated")
        if not inflater.eof:
            raise Unusable("parse_error", "gzip: the file ends inside it")
    if payload[:5] == b"%PDF-":
        raise Unusable("no_main_file", "a PDF file: its LaTeX was not kept")
    if payload[257:262] != b"ustar":
        return {"main.tex": _text(payload)}
    files: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(payload), mode="r:") as archive:
        for member in archive:
            if member.isfile() and member.name.lower().endswith((".tex", ".ltx", ".latex")):
                content = archive.extractfile(member)
                files[posixpath.normpath(member.name)] = _text(content.read()) if content else ""
    if not files:
        raise Unusable("no_main_file", "no TeX file in the archive")
    return files


def _text(payload: bytes) -> str:
    found = decode(payload, "", html=False, max_replaced=0.01)
    if found is None or "\0" in found.text[:1000]:
        raise Unusable("parse_error", "bytes that are no text")
    return found.text.replace("\r\n", "\n").replace("\r", "\n")


def _main(files: dict[str, str]) -> str:
    """The file that the document begins in."""
    begin = [name for name in sorted(files) if r"\documentclass" in files[name] or r"\documentstyle" in files[name]]
    whole = [name for name in begin if r"\begin{document}" in files[name]] or begin
    if not whole:
        if len(files) == 1:
            return next(iter(files))
        raise Unusable("no_main_file", f"none of {len(files):,} TeX files has a \\documentclass")
    return min(whole, key=lambda name: (name.count("/"), _stem(name) not in _MAIN_NAMES, -len(files[name]), name))


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0].lower()


def _put_together(name: str, files: dict[str, str], max_bytes: int, above: tuple[str, ...]) -> str:
    """A file with those that it reads in their places; one that is missing, or reads itself, is left out."""
    folder = posixpath.dirname(above[0] if above else name)
    pieces: list[str] = []
    total = position = 0
    source = _COMMENT.sub(r"\1", files[name])
    for found in _INPUT.finditer(source):
        asked = posixpath.normpath(posixpath.join(folder, found[1].strip()))
        target = next((each for each in (asked, f"{asked}.tex") if each in files), None)
        pieces.append(source[position : found.start()])
        position = found.end()
        if target is not None and target not in (*above, name) and len(above) < _DEPTH:
            pieces.append(_put_together(target, files, max_bytes, (*above, name)))
        total += len(pieces[-1])
        if total > max_bytes:  # files that read others twice grow exponentially
            raise Unusable("too_large", f"more than {max_bytes:,} bytes when put together")
    return "".join([*pieces, source[position:]])


def _braces(source: str, start: int) -> str:
    """What is inside the braces that open before `start`."""
    depth = 1
    for place in range(start, min(start + 2000, len(source))):
        depth += {"{": 1, "}": -1}.get(source[place], 0)
        if not depth:
            return source[start:place].replace(r"\\", " ")
    return ""


@lru_cache(maxsize=4)
def _converter(math: str) -> Any:
    from pylatexenc import latex2text

    def heading(node: Any, l2tobj: Any) -> str:  # pylatexenc gives what the names of the parameters ask for
        return f"\n\n{l2tobj.node_arg_to_text(node, 2)}\n\n"

    context: Any = latex2text.get_default_latex_context_db()
    context.add_context_category(
        "headwater",
        prepend=True,
        environments=[latex2text.EnvironmentTextSpec(name, discard=True) for name in _DROPPED],
        macros=[
            *(latex2text.MacroTextSpec(name, discard=True) for name in _DROPPED_MACROS),
            *(latex2text.MacroTextSpec(name, simplify_repl=heading) for name in _HEADINGS),
        ],
    )
    return latex2text.LatexNodes2Text(latex_context=context, math_mode=math, keep_comments=False)
