"""A small whole run folder, made by hand through the contracts in core: for the report's tests, and to look at."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import yaml

from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, Kind, parent_of
from headwater.core.run import ModelShape, RunInfo

WEIGHTS = {"web": 0.6, "code": 0.3, "reference": 0.1}
RECIPE: dict[str, Any] = {
    "name": "demo",
    "seed": 17,
    "mixture": {"weights": WEIGHTS, "block": 100},
    "report": {"title": "Demo: Python documentation to a language model"},
}
COLLECTED = {"web": (5312, 61_400_000), "code": (1604, 22_900_000), "reference": (93, 1_210_000)}
OPERATORS = (
    ("extract", "no_text", 0.985, 0.31),
    ("language", "not_english", 0.93, 0.96),
    ("quality", "too_few_words", 0.84, 0.97),
    ("redact", "", 1.0, 0.999),
    ("exact_dedup", "exact_duplicate", 0.95, 0.95),
    ("fuzzy_dedup", "near_duplicate", 0.86, 0.8),
    ("decontaminate", "overlaps_item", 0.998, 0.998),
)
SKIPPED = {"code": ("language", "quality"), "reference": ("language",)}
STEPS, SEQ_LEN, BATCH = 400, 256, 8


def write_recipe(folder: Path, **changes: Any) -> Path:
    """The recipe as a file."""
    path = folder / "demo.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**RECIPE, **changes}, sort_keys=False))
    return path


def write_artifact(
    folder: Path, kind: Kind, counters: dict[str, Any], files: dict[str, str], parents: dict[str, Path],
    volatile: dict[str, str] | None = None, name: str = "",
) -> None:  # fmt: skip
    """One finished artifact with the given text files."""
    writer = ArtifactWriter(
        folder, kind=kind, name=name or folder.name, producer="headwater-test 0.1.0", config={},
        parents=[parent_of(folder, parent, role) for role, parent in parents.items()],
    )  # fmt: skip
    writer.begin()
    for relative, content in {**files, **(volatile or {})}.items():
        (folder / relative).write_text(content)
    paths = [folder / relative for relative in files]
    writer.commit(counters, files=paths, volatile=[folder / relative for relative in volatile or {}])


def lines(rows: list[dict[str, Any]]) -> str:
    """JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def make_run(root: Path, *, until: str = "eval", hostile: str = "") -> RunLayout:
    """Makes a run folder up to a stage: raw, documents, tokens, train, eval.

    Args:
        hostile: text that a crawled page could carry, put where crawled text reaches the report.
    """
    run = RunLayout(root)
    stages = ("raw", "documents", "tokens", "train", "eval")
    last = stages.index(until)
    for source, (documents, size) in COLLECTED.items():
        text = f"{source} {size}"
        write_artifact(run.raw(source), "raw", {"records": documents}, {"a.warc.gz": text}, {}, name=source)
    write_artifact(run.items, "items", {"items": 124}, {"items.parquet": "items"}, {})
    if last >= 1:
        _documents(run, hostile)
    if last >= 2:
        _tokens(run)
    if last >= 3:
        _train(run, hostile)
    if last >= 4:
        _evaluate(run, hostile)
    return run


def _documents(run: RunLayout, hostile: str) -> None:
    sources: dict[str, Any] = {}
    for source, (documents, size) in sorted(COLLECTED.items()):
        rows: list[dict[str, Any]] = []
        for operator, reason, keep, shrink in OPERATORS:
            if operator in SKIPPED.get(source, ()):
                continue
            stays, small = round(documents * keep), round(size * shrink)
            gone = documents - stays
            reasons = {reason: gone} if reason and gone else {}
            if operator == "quality" and gone > 4:
                reasons = {(hostile or reason) if source == "web" else reason: gone - 3, "repetition": 3}
            row = {"operator": operator, "documents_in": documents, "documents_out": stays, "bytes_in": size}
            changed = {"email": 31, "ip": 4} if operator == "redact" else {}
            rows.append({**row, "bytes_out": small, "rejected": reasons, "changed": changed, "counters": {}})
            documents, size = stays, small
        sources[source] = {"operators": rows, **_ends(rows)}
    total = {key: sum(content[key] for content in sources.values()) for key in _ends([])}
    parents = {f"raw/{source}": run.raw(source) for source in COLLECTED} | {"items": run.items}
    funnel = json.dumps({"sources": sources, "total": total})
    write_artifact(run.documents, "documents", total, {"funnel.json": funnel}, parents)


def _ends(rows: list[dict[str, Any]]) -> dict[str, Any]:
    first, last = (rows[0], rows[-1]) if rows else ({}, {})
    return {f"{what}_{way}": row.get(f"{what}_{way}") for what in ("documents", "bytes")
            for way, row in (("in", first), ("out", last))}  # fmt: skip


def _tokens(run: RunLayout) -> None:
    documents = {"documents": run.documents}
    write_artifact(run.tokenizer, "tokenizer", {"vocab_size": 8192}, {"tokenizer.json": "{}"}, documents)
    for source, tokens in {"web": 2_940_112, "code": 1_713_480, "reference": 84_210}.items():
        counters = {"train_tokens": tokens, "validation_tokens": tokens // 90}
        parents = documents | {"tokenizer": run.tokenizer}
        write_artifact(run.tokens(source), "tokens", counters, {"train.bin": source}, parents, name=source)


def _train(run: RunLayout, hostile: str) -> None:
    noise = random.Random(5)
    losses: list[dict[str, Any]] = []
    metrics: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = [{"kind": "start", "step": 0, "parameters": 2_887_808, "device": "cpu"}]
    for step in range(1, STEPS + 1):
        rate = 3e-3 * min(1.0, step / 30, max(0.02, (STEPS - step) / 80))
        loss = 3.1 + 5.9 * math.exp(-step / 55) + noise.gauss(0, 0.07) + (1.1 if step == 212 else 0)
        norm = 0.6 + 2.4 * math.exp(-step / 40) + abs(noise.gauss(0, 0.12)) + (3.2 if step == 212 else 0)
        tokens = step * BATCH * SEQ_LEN
        row = {"step": step, "loss": loss, "grad_norm": norm, "learning_rate": rate, "tokens": tokens}
        losses.append(row)
        speed = 4150 + noise.gauss(0, 120) - (900 if step % 100 == 0 else 0)
        metrics.append({
            "step": step, "time_seconds": 1.7e9 + step, "headwater_train_step": step, "headwater_train_loss": loss,
            "headwater_train_grad_norm": norm, "headwater_train_learning_rate": rate,
            "headwater_train_tokens_total": tokens, "headwater_train_tokens_per_second": speed,
            "headwater_train_step_seconds": BATCH * SEQ_LEN / speed,
        })  # fmt: skip
        if step % 50 == 0:
            held_out = 3.2 + 5.6 * math.exp(-step / 60)
            bits = held_out / math.log(2) / 3.1
            events.append({"kind": "validation", "step": step, "loss": held_out, "bits_per_byte": bits})
        if step % 100 == 0:
            events.append({"kind": "checkpoint", "step": step, "path": f"checkpoints/step-{step:08d}{hostile}"})
        if step == 250:
            events.append({"kind": "resume", "step": 250, "parameters": 2_887_808, "device": "cpu"})
    if hostile:
        documents = [{"id": "00", "url": "http://pydoc.localhost/" + hostile}]
        events.append({"kind": "nonfinite", "step": 390, "loss": "nan", "grad_norm": "inf", "documents": documents})
    events.append({"kind": "finish", "step": STEPS})
    sources = {f"tokens/{name}": run.tokens(name) for name in COLLECTED}
    parents = sources | {"tokenizer": run.tokenizer}
    shape = ModelShape(
        dim=128, n_layers=4, n_heads=4, n_kv_heads=2, ffn_dim=384, vocab_size=8192, rope_theta=5e5, norm_eps=1e-5,
        max_seq_len=SEQ_LEN,
    )  # fmt: skip
    for step in (300, STEPS):
        info = RunInfo(
            step=step, samples=step * BATCH, seq_len=SEQ_LEN, global_batch=BATCH, seed=17, steps_planned=STEPS,
            model=shape, tokenizer_digest="0" * 64, tokens={}, weights=WEIGHTS, block=100, order_digest="0" * 64,
            weights_digest="0" * 64, config={},
        )  # fmt: skip
        folder = run.checkpoint(step)
        write_artifact(folder, "checkpoint", {"step": step}, {"run.json": info.dump()}, parents)
    counters = {"steps": STEPS, "unigram_bits_per_byte": 3.574}
    write_artifact(
        run.train, "training", counters, {"losses.jsonl": lines(losses)}, parents,
        volatile={"events.jsonl": lines(events), "metrics.jsonl": lines(metrics)}, name="training",
    )  # fmt: skip


def _evaluate(run: RunLayout, hostile: str) -> None:
    def row(task: str, metric: str, value: float, low: float, high: float, items: int, chance: float) -> dict[str, Any]:
        interval = {"low": low, "high": high, "level": 0.95, "method": "wilson"}
        return {
            "task": task, "group": False, "metric": metric, "filter": "none", "value": value, "stderr": 0.05,
            "items": items, "interval": interval, "chance": chance, "few_shot": 0, "version": "1", "truncated": 0,
            "cut_short": 0, "higher_is_better": True, "indistinguishable_from_chance": low <= chance <= high,
        }  # fmt: skip

    def bits(model: float, unigram: float) -> dict[str, Any]:
        return {"model": model, "unigram": unigram, "documents": 41, "tokens": 16_000, "bytes": 52_000}

    gsm = row("headwater_mini_gsm8k", "exact_match", 0.0, 0.0, 0.088, 40, 0.0)
    results = {
        "schema_version": 1,
        "checkpoint": {"step": STEPS, "samples": STEPS * BATCH},
        "tasks": [
            row("headwater_mini_mmlu", "acc", 0.267, 0.17, 0.39, 60, 0.25),
            {**gsm, "filter": "strict-match"},
            {**gsm, "filter": "flexible-extract", "truncated": 3},
            row("headwater_mini_humaneval" + hostile, "pass@1", 0.0, 0.0, 0.161, 20, 0.0),
        ],
        "refused": [{"task": "mbpp", "reason": "no sandbox: bwrap is not installed" + hostile}] if hostile else [],
        "bits_per_byte": {**bits(1.632, 3.574), "sources": {"code": bits(1.41, 3.61), "web": bits(1.73, 3.55)}},
        "notes": [
            "Prompts whose beginning did not fit the model's 256 tokens: headwater_mini_gsm8k (3 of 40)." + hostile
        ],
    }
    parents = {"checkpoint": run.checkpoint(STEPS), "items": run.items, "tokenizer": run.tokenizer}
    write_artifact(run.eval, "eval", {"items": 120}, {"results.json": json.dumps(results)}, parents)
    for number, step in enumerate(range(100, STEPS + 1, 100)):
        gold = row("headwater_mini_mmlu" + hostile, "gold_bits_per_byte", 0.98 - 0.04 * number, 0.9, 1.0, 60, 0.25)
        accuracy = row("headwater_mini_mmlu" + hostile, "acc", 0.22 + 0.01 * number, 0.15, 0.4, 60, 0.25)
        watched = {
            "checkpoint": {"step": step}, "tasks": [accuracy, {**gold, "chance": None}],
            "bits_per_byte": bits(2.9 - 0.2 * number, 3.574), "refused": [], "notes": [],
        }  # fmt: skip
        content = {"results.json": json.dumps(watched)}
        write_artifact(run.eval_of(step), "eval", {"items": 60}, content, {"checkpoint": run.checkpoint(STEPS)})


if __name__ == "__main__":
    import sys

    target = Path(sys.argv[1])
    make_run(target, until=sys.argv[2] if len(sys.argv) > 2 else "eval")
    print(write_recipe(target.parent))
