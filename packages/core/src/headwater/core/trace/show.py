"""Traces as text for people. Everything printed here is also in the JSON form."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

import click

from headwater.core.console import size, table
from headwater.core.sidecar import Place
from headwater.core.trace.documents import Document, Rejection
from headwater.core.trace.items import FLOOR_WORDS, ItemTrace, Overlap
from headwater.core.trace.steps import StepTrace
from headwater.core.trace.training import Reading, Training, ranges

_SHORT_ID = 12
_WIDTH = 110


def show_document(
    document: Document, place: Place | None, training: Training | None, readings: list[Reading], left_out: int
) -> None:
    """Prints where a document came from, what every operator said, where its tokens lie and which steps read it.

    `left_out` is how many samples with it a rollback excluded.
    """
    rejection = document.rejection
    click.echo(f"document {document.id}: " + ("kept" if rejection is None else f"rejected by {rejection.operator}"))
    _fields(
        [
            ("source", document.source),
            ("URL", document.url),
            ("file", f"raw/{document.source}/{document.warc_file}, record at {document.warc_offset:,}"),
            ("payload", f"SHA-256 {document.payload_sha256}"),
            ("language", f"{document.language or 'none'} ({document.language_score:.2f})"),
            ("text", f"{size(document.text_bytes)}, {document.split} split"),
        ]
    )
    rows: list[Sequence[str]] = [(v.operator, v.outcome, v.reason, _plain(v.detail)) for v in document.verdicts]
    if rejection is not None and not any(verdict.outcome == "reject" for verdict in document.verdicts):
        rows.append((rejection.operator, "reject", rejection.reason, _plain(rejection.detail)))
    click.echo()
    table(["operator", "outcome", "reason", "detail"], rows, title="What each operator said")
    if rejection is not None:
        click.echo(f"Rejected ({_why(rejection)}), so it has no tokens and no step reads it.")
        return
    if place is None:
        click.echo("Not tokenized yet, so no step reads it (run: headwater data tokenize).")
        return
    click.echo(
        f"Tokens: sequence {place.sequence:,} of tokens/{place.source}/{place.split}, tokens "
        f"{place.token_start:,} to {place.token_start + place.token_count - 1:,} ({place.token_count:,})."
    )
    click.echo(training_sentence(document.source, place, training))
    _show_readings(readings, training)
    if left_out:
        what = "sample with it was" if left_out == 1 else "samples with it were"
        click.echo(f"{left_out:,} {what} left out: the loss guard went back, and excluded a window of samples.")


def training_sentence(source: str, place: Place, training: Training | None) -> str:
    """Says in words whether and why a document is trained on."""
    if place.split != "train":
        return "Held out for validation: no step trains on it."
    if training is None:
        return "Not trained yet: there is no checkpoint, and no recipe.yaml to plan from."
    if source not in training.sources():
        return f"The mixture leaves out the source {source}: no step reads it."
    return (
        f"Training: {training.step:,} of {training.steps_planned:,} steps done (from {training.origin}); the steps "
        "below follow from the order of samples."
    )


def _show_readings(readings: list[Reading], training: Training | None) -> None:
    if training is None:
        return
    if not readings:
        click.echo(f"None of the {training.steps_planned:,} planned steps reads it.")
        return
    rows: list[Sequence[object]] = []
    for reading in readings:
        rows.append((reading.epoch + 1, ranges(reading.steps[: reading.done]), ranges(reading.steps[reading.done :])))
    table(["epoch", "trained at steps", "will be trained at steps"], rows)


def show_step(trace: StepTrace) -> None:
    """Prints the documents of each sample of a step."""
    state = "done" if trace.done else f"not done yet: {trace.steps_done:,} steps are"
    stages = f", stage {' and '.join(trace.stages)} of the mixture" if trace.stages else ""
    click.echo(f"step {trace.step:,} of {trace.steps_planned:,} ({state}){stages}")
    rows: list[Sequence[object]] = []
    for sample in trace.samples:
        for number, part in enumerate(sample.documents):
            first = number == 0
            rows.append(
                (
                    f"{sample.index:,}" if first else "", sample.source if first else "",
                    f"{sample.epoch + 1}" if first else "", part.tokens, part.id[:_SHORT_ID], part.url,
                )
            )  # fmt: skip
    table(["sample", "source", "epoch", "tokens", "document", "URL"], rows)
    documents = {part.id for sample in trace.samples for part in sample.documents}
    click.echo(
        f"{len(trace.samples):,} samples of {trace.sample_tokens:,} tokens ({trace.sample_tokens - 1:,} inputs and the "
        f"label of the last) from {len(documents):,} documents."
    )


def show_item(trace: ItemTrace) -> None:
    """Prints the documents that overlap an evaluation item, or the closest ones."""
    click.echo(f"item {trace.index} of {trace.task}: {trace.words:,} words")
    click.echo(textwrap.indent(_clip(trace.text, 300), "  │ "))
    if trace.answer is not None:
        right = {1.0: "right", 0.0: "wrong"}.get(trace.answer["correct"], f"scored {trace.answer['correct']}")
        click.echo(f"The model's answer was {right}: {_clip(str(trace.answer['prediction']), 200)}")
    click.echo(f"Searched {trace.searched_documents:,} documents, kept and rejected "
               f"({trace.searched_characters:,} characters).")  # fmt: skip
    if not trace.closest:
        one = trace.overlapping == 1
        enough = f"{'holds' if one else 'hold'} enough of it or " if trace.by_coverage else ""
        click.echo(
            f"{_count(trace.overlapping, 'document')} {enough}{'shares' if one else 'share'} at least "
            f"{trace.ngram} words in a row with it: {trace.overlapping_kept:,} kept, "
            f"{trace.overlapping - trace.overlapping_kept:,} rejected."
        )
        if trace.overlapping > len(trace.documents):
            click.echo(f"The {len(trace.documents)} with the longest overlap (--top shows more):")
    elif trace.documents:
        click.echo(f"No document shares {trace.ngram} words in a row with it. The closest ones are listed; runs this "
                   "short are usually common phrases, not the item:")  # fmt: skip
    else:
        fewer = f", nor even {FLOOR_WORDS}" if trace.ngram > FLOOR_WORDS else ""
        click.echo(f"No document shares {trace.ngram} words in a row with it{fewer}.")
    for number, overlap in enumerate(trace.documents, start=1):
        click.echo()
        _show_overlap(number, overlap, trace)


def _show_overlap(number: int, overlap: Overlap, trace: ItemTrace) -> None:
    rejection = overlap.rejection
    verdict = "kept" if rejection is None else f"rejected: {_why(rejection)}"
    click.echo(f"{number}. {overlap.url}")
    shared = f"longest shared run {overlap.longest} words"
    if not trace.closest:
        shared += f"; {overlap.shared_ngrams:,} of the item's {_count(trace.item_ngrams, f'{trace.ngram}-gram')}"
    if overlap.coverage is not None:
        shared += f"; {overlap.coverage:.0%} of the item, by weight"
    _fields(
        [
            ("document", f"{overlap.id[:_SHORT_ID]} of {overlap.source}, {verdict}"),
            ("overlap", shared),
            ("trained", _when(overlap, trace)),
        ]
    )
    for text in overlap.texts:
        click.echo(textwrap.indent(_clip(text.text, 400), "   │ "))


def _when(overlap: Overlap, trace: ItemTrace) -> str:
    if overlap.rejection is not None:
        return "never, it was rejected"
    if overlap.place is None:
        return "not tokenized yet"
    if overlap.place.split != "train":
        return "never, it is held out for validation"
    if trace.steps_planned is None:
        return "not trained yet"
    done = [step for reading in overlap.readings for step in reading.steps[: reading.done]]
    later = [step for reading in overlap.readings for step in reading.steps[reading.done :]]
    parts: list[str] = []
    if done:
        parts.append(f"at {_steps(done)}")
    if later:
        parts.append(f"will be at {_steps(later)}")
    return "; ".join(parts) or f"none of the {trace.steps_planned:,} planned steps reads it"


def _why(rejection: Rejection) -> str:
    detail = f", {_plain(rejection.detail)}" if rejection.detail else ""
    return f"{rejection.operator}, {rejection.reason}{detail}"


def _plain(detail: str) -> str:
    """A detail that is a JSON object as `name value, name value`, lists by their length; any other as it is."""
    try:
        value: dict[str, list[object] | float | str] = json.loads(detail)
        return ", ".join(f"{name} {len(part) if isinstance(part, list) else part}" for name, part in value.items())
    except (ValueError, AttributeError):
        return detail


def _steps(steps: list[int]) -> str:
    return f"step{'' if len(steps) == 1 else 's'} {ranges(steps)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _fields(pairs: Sequence[tuple[str, str]]) -> None:
    for name, value in pairs:
        click.echo(f"   {name:<9} {value}")


def _clip(text: str, limit: int) -> str:
    flat = " ".join(text.split())
    return "\n".join(textwrap.wrap(flat if len(flat) <= limit else flat[: limit - 1] + "…", _WIDTH))
