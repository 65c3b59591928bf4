"""The text that decided: for each kind of verdict, what to look at."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headwater.core.ngrams import words
from headwater.data.inspect import conversations, repeats
from headwater.data.inspect.passages import Evidence, Passage, Piece, excerpt, marked, visible
from headwater.data.inspect.select import Found, facts
from headwater.data.inspect.word_diff import word_diff

Matches = Mapping[str, Found]
_SHOWN = 5
_CUTS = ("host_boilerplate", "line_dedup", "substring_dedup", "lines_dropped")
_NGRAM = re.compile(r"(\d+)-gram")


def matched_id(document: Found) -> str | None:
    """The id of the document that stays in place of a duplicate."""
    kept = facts(document.detail).get("kept")
    return kept if isinstance(kept, str) else None


def evidence(document: Found, matches: Matches, most: int | None = 700) -> Evidence:
    """What to look at to understand a document's verdict.

    Args:
        document: With the verdict.
        matches: Documents that duplicates name, by id.
        most: Characters of a passage, about; none: all.
    """
    found = _evidence(document, matches, most)
    if not conversations.is_conversation(document):
        return found
    notes = (*map(visible, conversations.notes(document)), *found.notes)
    return replace(found, notes=notes, passages=tuple(map(conversations.spoken, found.passages)))


def _evidence(document: Found, matches: Matches, most: int | None) -> Evidence:
    if matched_id(document) is not None:
        return _duplicate(document, matches, most)
    special = {"item_overlap": _overlap, "redacted": _redacted}.get(document.reason)
    if special is not None:
        return special(document, most)
    notes, spans = _rule(document)
    title = "text" if document.text else ""
    pieces = excerpt(marked(document.text, spans), most)
    passages = (Passage(title, _clean(pieces)),) if title else ()
    if not title:
        notes.append("No text: the document was set aside before there was one.")
    return Evidence(tuple(visible(note) for note in notes), passages)


def _duplicate(document: Found, matches: Matches, most: int | None) -> Evidence:
    known = facts(document.detail)
    other = matches.get(known["kept"])
    notes = []
    if "jaccard" in known:
        notes.append(f"Jaccard similarity {known['jaccard']} to the document that stays, {known['kept']}")
    if known.get("cluster"):
        notes.append(f"cluster {known['cluster']}")
    if other is None:
        where = f"in the earlier index {known['earlier']}" if known.get("earlier") else "not in this run"
        notes.append(f"The document that stays is {where}, so its text cannot be shown.")
        text = excerpt(marked(document.text, ()), most)
        return Evidence(tuple(map(visible, notes)), (Passage("removed", _clean(text)),))
    if not other.kept:
        notes.append(f"That document was later set aside itself, by {other.operator} ({other.reason}).")
    gone, stays = word_diff(document.text, other.text)
    if document.text == other.text:
        notes.append("Both texts are the same.")
    elif not any(piece.mark for piece in (*gone, *stays)):
        notes.append("Both texts have the same words; only the space between them differs.")
    passages = (
        Passage(f"removed  {visible(document.url)}", _clean(excerpt(gone, most))),
        Passage(f"stays  {visible(other.url)}", _clean(excerpt(stays, most))),
    )
    return Evidence(tuple(map(visible, notes)), passages, side_by_side=True)


def _overlap(document: Found, most: int | None) -> Evidence:
    hits: list[dict[str, Any]] = facts(document.detail).get("hits", [])
    spans = [(hit["start"], hit["start"] + hit["length"]) for hit in hits]
    notes = []
    for hit, (start, stop) in zip(hits[:_SHOWN], spans, strict=False):
        text = document.text[start:stop]
        notes.append(f"{hit['task']} {hit['index']}: {len(words(text))} words in common: “{_short(text, 200)}”")
    if len(hits) > _SHOWN:
        notes.append(f"and {len(hits) - _SHOWN:,} more hits, all in the verdict")
    pieces = excerpt(marked(document.text, spans), most)
    return Evidence(tuple(map(visible, notes)), (Passage("text", _clean(pieces)),))


def _redacted(document: Found, most: int | None) -> Evidence:
    """Before and after; what was redacted is recorded nowhere, only where it was and how long."""
    known = facts(document.detail)
    spans: list[tuple[str, int, int, int, int]] = [tuple(each) for each in known.get("spans", ())]
    kinds = ", ".join(f"{kind} {count}" for kind, count in known.items() if kind != "spans") or document.detail
    notes = [f"redacted: {kinds}"]
    if sum(count for kind, count in known.items() if kind != "spans") > len(spans):
        notes.append(f"The places of the first {len(spans)} are recorded.")
    changed_later = [verdict["operator"] for verdict in _after(document, "pii") if verdict["outcome"] == "change"]
    if changed_later:
        notes.append(f"The text was changed again by {', '.join(changed_later)}: places are not shown.")
        spans = []
    before: list[Piece] = []
    place = 0
    for kind, _, length, start, size in spans:
        before += [Piece("", document.text[place:start]), Piece("removed", f"[{length} characters: {kind}]")]
        place = start + size
    before.append(Piece("", document.text[place:]))
    after = marked(document.text, [(start, start + size) for _, _, _, start, size in spans], "added")
    if not spans:
        return Evidence(tuple(map(visible, notes)), (Passage("after", _clean(excerpt(after, most))),))
    pair = (Passage("before", _clean(excerpt(before, most))), Passage("after", _clean(excerpt(after, most))))
    return Evidence(tuple(map(visible, notes)), pair, side_by_side=True)


def _after(document: Found, operator: str) -> list[dict[str, str]]:
    names = [verdict["operator"] for verdict in document.verdicts]
    return list(document.verdicts[names.index(operator) + 1 :]) if operator in names else []


def _rule(document: Found) -> tuple[list[str], list[repeats.Span]]:
    """What repeats, or which lines or words a rule counts, as far as that is cheap to see again."""
    text, reason = document.text, document.reason
    if reason in ("duplicate_lines", "duplicate_line_characters"):
        return _repeating("lines", *repeats.repeated_lines(text))
    if reason in ("duplicate_paragraphs", "duplicate_paragraph_characters"):
        return _repeating("paragraphs", *repeats.repeated_paragraphs(text))
    if reason in ("top_ngram", "duplicate_ngrams") and (found := _NGRAM.search(document.detail)):
        n = int(found.group(1))
        look = repeats.top_ngram if reason == "top_ngram" else repeats.repeated_ngrams
        often, spans = look(text, n)
        return _repeating(f"{n}-grams", often, spans)
    if found := conversations.spans(document):
        return [], found
    if reason in _CUTS and document.detail:
        return ["What was cut is recorded nowhere: this is the text that is left."], []
    tests = _TESTS.get(reason)
    return ([], []) if tests is None else ([tests[0]], tests[1](text))


def _repeating(what: str, often: list[tuple[str, int]], spans: list[repeats.Span]) -> tuple[list[str], list[Any]]:
    notes = [f"{count} × “{_short(unit)}”" for unit, count in often[:_SHOWN]]
    if len(often) > _SHOWN:
        notes.append(f"and {len(often) - _SHOWN:,} more {what} that repeat")
    return notes, spans


def _short(text: str, most: int = 100) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _clean(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    return tuple(Piece(piece.mark, visible(piece.text)) for piece in pieces)


def _lines(test: Callable[[str], bool]) -> Callable[[str], list[repeats.Span]]:
    return lambda text: repeats.lines_where(text, test)


def _words(test: Callable[[str], bool]) -> Callable[[str], list[repeats.Span]]:
    return lambda text: repeats.words_where(text, test)


def _find(pattern: str) -> Callable[[str], list[repeats.Span]]:
    return lambda text: [match.span() for match in re.finditer(pattern, text, re.IGNORECASE)]


_TESTS: dict[str, tuple[str, Callable[[str], list[repeats.Span]]]] = {
    "bullet_lines": ("marked: lines that begin with a bullet", _lines(lambda line: line[:1] in "•‣▶◀◦■□▪▫–-*")),
    "ellipsis_lines": ("marked: lines that end in an ellipsis", _lines(lambda line: line.endswith(("...", "…")))),
    "short_lines": ("marked: lines of at most 30 characters", _lines(lambda line: len(line) <= 30)),
    "terminal_lines": ("marked: lines that end a sentence", _lines(lambda line: line.endswith((".", "!", "?", "。")))),
    "alpha_words": ("marked: words without a letter", _words(lambda word: not any(map(str.isalpha, word)))),
    "long_words": ("marked: words of more than 15 characters", _words(lambda word: len(word) > 15)),
    "hash_ratio": ("marked: hash signs", _find("#")),
    "ellipsis_ratio": ("marked: ellipses", _find(r"\.\.\.|…")),
    "curly_bracket": ("marked: curly brackets", _find(r"\{")),
    "lorem_ipsum": ("marked: “lorem ipsum”", _find("lorem ipsum")),
}
"""Reason → (what is marked, where it is). The figures are the filters'; these show where to look."""
