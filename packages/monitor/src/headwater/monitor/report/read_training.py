"""Training: curves and events of `RUN/train`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from headwater.core.errors import ManifestError
from headwater.core.layout import RunLayout
from headwater.core.page import format as fmt
from headwater.core.page.line import Curve, Event
from headwater.core.run import RunInfo, read_run

from .files import Row, RunFiles, number, whole
from .view import Training

#: Fields of an event that say what happened, in the order in which a tooltip shows them.
_SHOWN = (
    "reason", "detector", "response", "onset", "to_step", "learning_rate_factor",
    "path", "loss", "grad_norm", "bits_per_byte", "validation_loss", "seconds", "device", "world_size",
    "parameters", "url",
)  # fmt: skip
#: Documents of an event that are named; the event holds them all.
_DOCUMENTS = 5
#: Weights of a change that are named, the largest first; the event holds them all.
_WEIGHTS = 8


def read_training(files: RunFiles, run: RunLayout) -> Training | None:
    """The training run, or `None` when no step was logged."""
    losses = by_step(files.lines(run.train / "losses.jsonl"))
    metrics = by_step(files.lines(run.train / "metrics.jsonl"))
    raw_events = files.lines(run.train / "events.jsonl")
    if not losses and not metrics and not raw_events:
        return None
    manifest = files.json(run.train / "manifest.json")
    info = latest_run(run)
    last = losses[-1] if losses else metrics[-1] if metrics else {}
    steps = int(number(last, "step") or 0)
    samples = info.samples if info else whole(metrics[-1], "headwater_train_samples_total") if metrics else None
    tokens = whole(last, "tokens", "headwater_train_tokens_total")
    validated = by_step([*metrics, *_validations(raw_events)])
    return Training(
        steps=steps,
        samples=samples,
        tokens_seen=tokens if tokens is not None else info.samples * info.seq_len if info else None,
        state=_state(raw_events, manifest is not None),
        loss=curve("train", losses or metrics, "loss", "headwater_train_loss"),
        validation=curve("validation", validated, "validation_loss", "headwater_train_validation_loss"),
        validation_bits=curve(
            "validation", validated, "validation_bits_per_byte", "headwater_train_validation_bits_per_byte"
        ),
        grad_norm=curve("gradient norm", losses or metrics, "grad_norm", "headwater_train_grad_norm"),
        learning_rate=curve("learning rate", losses or metrics, "learning_rate", "headwater_train_learning_rate"),
        throughput=curve("tokens a second", metrics, "tokens_per_second", "headwater_train_tokens_per_second"),
        step_seconds=curve("seconds a step", metrics, "step_seconds", "headwater_train_step_seconds"),
        events=[event(row) for row in raw_events],
        model=describe_model(info, raw_events) if info else "",
        unigram_bits=number((manifest or {}).get("counters") or {}, "unigram_bits_per_byte"),
    )


def latest_run(run: RunLayout) -> RunInfo | None:
    """`run.json` of the newest checkpoint that can be read."""
    for folder in sorted(run.checkpoints.glob("step-*"), reverse=True):
        try:
            return read_run(folder)
        except ManifestError:
            continue
    return None


def describe_model(info: RunInfo, events: Sequence[Row]) -> str:
    """For example `llama3 · 4 layers × 128 · 1.32M parameters`."""
    words = f"{info.model.family} · {info.model.n_layers} layers × {info.model.dim}"
    parameters = next((row["parameters"] for row in events if isinstance(row.get("parameters"), int)), None)
    return words + (f" · {fmt.short(parameters)} parameters" if parameters else "")


def by_step(rows: Iterable[Row]) -> list[Row]:
    """Rows in order of their step, merged; a step that was done again after a resume keeps its last values."""
    merged: dict[int, Row] = {}
    for row in rows:
        step = whole(row, "step", "headwater_train_step")
        if step is not None:
            merged.setdefault(step, {"step": step}).update(row)
    return [merged[step] for step in sorted(merged)]


def curve(name: str, rows: Sequence[Row], *fields: str) -> Curve:
    """The points of the rows that have one of the fields."""
    points = [(float(row["step"]), value) for row in rows if (value := number(row, *fields)) is not None]
    return Curve(name, [x for x, _ in points], [y for _, y in points])


def event(row: Row) -> Event:
    """An event with the words of its tooltip: the decision, and the documents it is about."""
    words = [f"{name.replace('_', ' ')} {_value(row[name])}" for name in _SHOWN if row.get(name) is not None]
    if isinstance(after := row.get("after"), dict):
        shares = sorted(after.items(), key=lambda item: -item[1])[:_WEIGHTS]
        words.append("weights " + ", ".join(f"{source} {fmt.percent(share)}" for source, share in shares))
    samples = row.get("samples")
    if isinstance(samples, list) and len(samples) == 2 and all(isinstance(one, int) for one in samples):
        words.append(f"samples {samples[0]:,} to {samples[1] - 1:,}")
    listed = row.get("documents")
    # A document is in several samples, but is one document.
    named = (
        [str(d.get("url") or d.get("id")) for d in listed if isinstance(d, dict)] if isinstance(listed, list) else []
    )
    unique = list(dict.fromkeys(named))
    total = whole(row, "documents_total") or len(unique)
    step = whole(row, "step") or 0
    return Event(str(row.get("kind", "unknown")), step, " · ".join(words), tuple(unique[:_DOCUMENTS]), total)


def _state(events: Sequence[Row], committed: bool) -> str:
    last = events[-1].get("kind") if events else None
    if committed or last == "finish":
        return "finished"
    return "stopped" if last in ("stop", "halt") else "in progress"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return fmt.general(value)
    return f"{value:,}" if isinstance(value, int) else str(value)[:200]


def _validations(events: Sequence[Row]) -> list[Row]:
    return [
        {
            "step": row.get("step"),
            "validation_loss": number(row, "loss"),
            "validation_bits_per_byte": number(row, "bits_per_byte"),
        }
        for row in events
        if row.get("kind") == "validation"
    ]
