"""A small, whole run folder, written with core's own writers in well under a second: a fixture for any package.

Two sources (web, code), twelve documents each, one rejected by decontamination with a text that overlaps item 1 of
`demo_task`, one kept with an overlap with item 0, a fake tokenizer (one token a word), 8 of 12 steps trained.
Everything that `headwater verify` derives again is true of it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.config import dump_yaml
from headwater.core.documents import DOCUMENTS, ITEMS, REJECTED, SIDECAR, document_id
from headwater.core.fed import as_text, fed_digest, read_samples
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, Manifest, Parent, parent_of
from headwater.core.mixture import Mixture
from headwater.core.mixture_resolve import resolve_order
from headwater.core.ngrams import words
from headwater.core.order import Order
from headwater.core.run import ModelShape, RunInfo
from headwater.core.skips import KeptOrder
from headwater.core.tokens import MegatronReader, MegatronWriter
from headwater.core.verify.recipe import seal

PRODUCER = "headwater-synthetic 0.1.0"
SEQ_LEN, GLOBAL_BATCH, SEED, STEPS, STEPS_DONE, VOCABULARY = 16, 4, 7, 12, 8, 5000
TOTALS = ("documents_in", "documents_out", "bytes_in", "bytes_out")
WEIGHTS = {"web": 2.0, "code": 1.0}
ITEM_TEXTS = (
    "Which river of the northern valley turns the old mill wheel when the snow melts in early April?",
    "A farmer sells twelve baskets of red apples each morning and seven baskets every evening for nine days running.",
    "Short item here.",
    "Zebra quartz nimbus folio gadget walnut prism oyster lantern ripple saddle trumpet velvet.",
)
KEPT_OVERLAP = "They ask which river of the northern valley turns the OLD mill wheel, when the snow melts in early May."
REJECTED_OVERLAP = f"Quiz page. {ITEM_TEXTS[1]} Answer below."


@dataclass(frozen=True)
class SyntheticRun:
    """What is in the run: its layout, its rows, and the ids of the two planted overlaps."""

    layout: RunLayout
    kept: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    overlap_kept: str
    overlap_rejected: str


def write_run(root: Path, *, name: str = "", steps_done: int = STEPS_DONE) -> SyntheticRun:
    """Writes the whole run under `root`; with a name its texts are others."""
    run = RunLayout(root)
    root.mkdir(parents=True, exist_ok=True)
    recipe = {
        "name": "synthetic", "seed": SEED, "mixture": {"weights": WEIGHTS, "block": 30},
        "train": {"seq_len": SEQ_LEN, "global_batch": GLOBAL_BATCH, "steps": STEPS},
    }  # fmt: skip
    run.recipe.write_text(seal(dump_yaml(recipe)))
    _write_items(run)
    rows = [row for source in WEIGHTS for row in _collect(run, source, name)]
    kept, rejected = _write_documents(run, rows)
    _write(run.tokenizer, "tokenizer", {"tokenizer.json": '{"model": "words"}\n'}, [(run.documents, "documents")], {})
    for source in WEIGHTS:
        _write_tokens(run, source, [row for row in kept if row["source"] == source])
    _write_training(run, steps_done)
    score = {"tasks": {"demo_task": {"acc": 0.25, "items": len(ITEM_TEXTS)}}}
    samples = "".join(json.dumps({"index": i, "correct": i == 0}) + "\n" for i in range(len(ITEM_TEXTS)))
    _write(run.eval, "eval", {"results.json": json.dumps(score), "samples/demo_task.jsonl": samples},
           [(run.checkpoint(steps_done), "checkpoint"), (run.items, "items")], {"items": len(ITEM_TEXTS)},
           {"timing.json": '{"seconds": 1.5}'})  # fmt: skip
    _write(run.report, "report", {}, [(run.eval, "eval")], {}, {"report.html": "<!doctype html><p>report</p>\n"})
    by_text = {row["text"]: row["id"] for row in [*kept, *rejected]}
    return SyntheticRun(run, kept, rejected, by_text[KEPT_OVERLAP], by_text[REJECTED_OVERLAP])


def _write(
    folder: Path, kind: Any, files: Mapping[str, str | bytes], parents: list[tuple[Path, str]],
    counters: dict[str, Any], volatile: Mapping[str, str] | None = None, config: dict[str, Any] | None = None,
) -> Manifest:  # fmt: skip
    entries: list[Parent] = [parent_of(folder, path, role) for path, role in parents]
    writer = ArtifactWriter(
        folder, kind=kind, name=folder.name, producer=PRODUCER, config=config or {}, parents=entries
    )
    writer.begin()
    for name, content in {**files, **(volatile or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return writer.commit(counters, volatile=[folder / name for name in volatile or {}])


def _parquet(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="zstd", row_group_size=5)
    return sink.getvalue().to_pybytes()


def _write_items(run: RunLayout) -> None:
    rows = [
        {"task": "demo_task", "index": index, "text": text, "fields_json": json.dumps({"question": text})}
        for index, text in enumerate(ITEM_TEXTS)
    ]
    _write(run.items, "items", {"items.parquet": _parquet(rows, ITEMS)}, [], {"items": len(rows)})


def _text(source: str, number: int, name: str) -> str:
    if source == "web" and number == 3:
        return KEPT_OVERLAP
    if source == "web" and number == 7:
        return REJECTED_OVERLAP
    return (
        " ".join(f"{name}{source}{number}w{word % 23}" for word in range(20 + 7 * number)) + " the snow melts in early"
    )


def _collect(run: RunLayout, source: str, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    warc = b""
    for number in range(12):
        url, text = f"http://{source}.example/page/{number}", _text(source, number, name)
        payload = f"<p>{text}</p>".encode()
        block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + payload
        head = f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(block)}\r\n\r\n"
        digest = hashlib.sha256(payload).hexdigest()
        rows.append(
            {
                "id": document_id(source, url, digest), "source": source, "url": url, "warc_file": "00000.warc.gz",
                "warc_offset": len(warc), "payload_sha256": digest, "text": text, "language": "en",
                "language_score": 0.5, "text_bytes": len(text.encode()),
                "split": "validation" if number in (2, 9) else "train",
                "verdicts": [{"operator": "extract", "outcome": "change", "reason": "html", "detail": "1 block"}],
            }
        )  # fmt: skip
        warc += gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0)
    _write(run.raw(source), "raw", {"00000.warc.gz": warc}, [], {"records": len(rows)})
    return rows


def _write_documents(run: RunLayout, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    kept: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: row["id"]):
        if row["text"] != REJECTED_OVERLAP:
            passed = {"operator": "decontaminate", "outcome": "keep", "reason": "", "detail": ""}
            kept.append({**row, "verdicts": [*row["verdicts"], passed]})
            continue
        why = {"operator": "decontaminate", "reason": "overlap", "detail": "13-gram of demo_task 1"}
        rejected.append({**row, **why, "verdicts": [*row["verdicts"], {**why, "outcome": "reject"}]})
    sources = {source: _funnel([r for r in rows if r["source"] == source], kept, rejected) for source in WEIGHTS}
    total = {key: sum(rows[key] for rows in sources.values()) for key in TOTALS}
    funnel = {"sources": sources, "total": total}
    counters = {**total, "sources": {name: {key: rows[key] for key in TOTALS} for name, rows in sources.items()}}
    files = {
        "part-00000.parquet": _parquet(kept[:11], DOCUMENTS), "part-00001.parquet": _parquet(kept[11:], DOCUMENTS),
        "rejected/part-00000.parquet": _parquet(rejected, REJECTED), "funnel.json": json.dumps(funnel, indent=1),
    }  # fmt: skip
    parents = [(run.raw(source), f"raw/{source}") for source in WEIGHTS] + [(run.items, "items")]
    _write(run.documents, "documents", files, parents, counters)
    return kept, rejected


def _funnel(rows: list[dict[str, Any]], kept: list[dict[str, Any]], rejected: list[dict[str, Any]]) -> dict[str, Any]:
    source = rows[0]["source"]
    size = sum(row["text_bytes"] for row in rows)
    kept_bytes = sum(row["text_bytes"] for row in kept if row["source"] == source)
    overlaps = sum(row["source"] == source for row in rejected)
    sizes = {
        "documents_in": len(rows),
        "documents_out": len(rows) - overlaps,
        "bytes_in": size,
        "bytes_out": kept_bytes,
    }
    extract = {**sizes, "operator": "extract", "documents_out": len(rows), "bytes_out": size, "rejected": {}}
    decontaminate = {**sizes, "operator": "decontaminate", "rejected": {"overlap": overlaps} if overlaps else {}}
    return {"operators": [extract, decontaminate], **sizes}


def _write_tokens(run: RunLayout, source: str, rows: list[dict[str, Any]]) -> None:
    folder = run.tokens(source)
    parents = [parent_of(folder, run.documents, "documents"), parent_of(folder, run.tokenizer, "tokenizer")]
    writer = ArtifactWriter(folder, kind="tokens", name=source, producer=PRODUCER, config={}, parents=parents)
    writer.begin()
    sidecar: list[dict[str, Any]] = []
    counters: dict[str, Any] = {}
    for split in ("train", "validation"):
        start = 0
        with MegatronWriter(folder / split, VOCABULARY) as out:
            for sequence, row in enumerate(each for each in rows if each["split"] == split):
                ids = [1 + int(hashlib.sha256(word.encode()).hexdigest()[:4], 16) % 4000 for word in words(row["text"])]
                out.add([*ids, 0])
                sidecar.append(
                    {
                        "id": row["id"], "url": row["url"], "split": split, "sequence": sequence, "token_start": start,
                        "token_count": len(ids) + 1, "text_bytes": row["text_bytes"],
                    }
                )  # fmt: skip
                start += len(ids) + 1
        counters[f"{split}_tokens"] = start
        counters[f"{split}_documents"] = sum(entry["split"] == split for entry in sidecar)
    (folder / "documents.parquet").write_bytes(_parquet(sidecar, SIDECAR))
    writer.commit(counters)


def _loss_row(run: RunLayout, order: Order | KeptOrder, step: int) -> dict[str, Any]:
    samples = [(step - 1) * GLOBAL_BATCH, step * GLOBAL_BATCH]
    readers = {source: MegatronReader(run.tokens(source) / "train") for source in WEIGHTS}
    fed = as_text(fed_digest(samples[0], *read_samples(order, readers, *samples)))
    return {"step": step, "loss": 9 - step / 4, "tokens": samples[1] * SEQ_LEN, "samples": samples, "fed": fed}


def _write_training(run: RunLayout, steps_done: int) -> None:
    mixture = Mixture(weights=WEIGHTS, block=30)
    order = resolve_order(run, mixture, SEQ_LEN, SEED)
    parents = [(run.tokens(source), f"tokens/{source}") for source in WEIGHTS] + [(run.tokenizer, "tokenizer")]
    shape = ModelShape(dim=8, n_layers=1, n_heads=2, n_kv_heads=2, ffn_dim=16, vocab_size=VOCABULARY,
                       rope_theta=1e4, norm_eps=1e-5, max_seq_len=SEQ_LEN)  # fmt: skip
    config = {"seq_len": SEQ_LEN, "global_batch": GLOBAL_BATCH, "steps": STEPS}
    for step in (4, steps_done):
        folder = run.checkpoint(step)
        info = RunInfo(
            step=step, samples=step * GLOBAL_BATCH, seq_len=SEQ_LEN, global_batch=GLOBAL_BATCH, seed=SEED,
            steps_planned=STEPS, model=shape, tokenizer_digest=parent_of(folder, run.tokenizer, "tokenizer").digest,
            tokens={source: parent_of(folder, run.tokens(source), source).digest for source in WEIGHTS},
            weights=mixture.normalised(), block=mixture.block, order_digest=order.digest(step * GLOBAL_BATCH),
            weights_digest="0" * 64, validation_loss=5.5, config=config,
        )  # fmt: skip
        _write(folder, "checkpoint", {"__0_0.distcp": b"\0weights\0", ".metadata": b"\x80", "run.json": info.dump()},
               parents, {"step": step}, config=config)  # fmt: skip
    losses = "".join(json.dumps(_loss_row(run, order, step)) + "\n" for step in range(1, steps_done + 1))
    _write(run.train, "training", {"config.yaml": dump_yaml(config), "losses.jsonl": losses}, parents,
           {"steps": steps_done, "samples": steps_done * GLOBAL_BATCH},
           {"events.jsonl": '{"kind": "start", "step": 0}\n', "metrics.jsonl": '{"step": 1}\n'}, config)  # fmt: skip
