"""A run over instruction data in five files of four formats, with planted faults, duplicates and a leak."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
from conftest import ITEM, items_artifact, prose

from headwater.core.config import validate
from headwater.core.layout import RunLayout
from headwater.data.collect.collect import collect
from headwater.data.collect.sources import SourcesConfig
from headwater.data.config import DocumentsConfig
from headwater.data.documents import make_documents

DOCUMENTS = {
    "sources": {
        source: [
            {"conversation": {"columns": {"prompt": "question", "completion": "answer"}} if source == "table" else {}},
            {"turn_length": {"min_response_words": 2}}, "turn_language", "refusal", "pii", "task_type",
        ]
        for source in ("alpaca", "chat", "table", "pairs")
    },
    "prompt_dedup": {}, "minhash_dedup": {}, "task_balance": {"max_share": {"summarisation": 0.3}},
    "line_dedup": {}, "substring_dedup": {"min_tokens": 30}, "rows_per_file": 40, "validation_ratio": 0.1,
    "engine": {"workers": 1},
}  # fmt: skip
"""Line and substring deduplication are on to show that they leave conversations alone."""


def asked(number):
    """A prompt that no other is like."""
    return f"Why did it happen? {prose(500 + number, 2)}"


def files():
    """Name → records."""
    call = {"type": "function", "id": "c1", "function": {"name": "weather", "arguments": {"city": "Bergen"}}}
    tool = [{"role": "user", "content": "Will it rain in Bergen?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "rain", "tool_call_id": "c1"},
            {"role": "assistant", "content": "Yes, take an umbrella with you."}]  # fmt: skip
    alpaca = [
        {"instruction": "Summarize the following text.", "input": prose(i, 6), "output": prose(i, 6).split("\n")[0]}
        for i in range(40)
    ]
    chat = [
        {"conversations": [{"from": "human", "value": asked(i)}, {"from": "gpt", "value": prose(600 + i, 3)},
                           {"from": "human", "value": "And then?"}, {"from": "gpt", "value": prose(700 + i, 3)}]}
        for i in range(30)
    ]  # fmt: skip
    chat += [
        {"messages": tool, "tools": [call["function"]]},
        {"messages": [{"role": "user", "content": f"Mail jane.doe@mail.org: {asked(90)}"},
                      {"role": "assistant", "content": f"Sent to jane.doe@mail.org.\n⟦!⟧ {prose(790, 3)}"}]},
        {"messages": [{"role": "user", "content": asked(91)}, {"role": "user", "content": "Well?"}]},
        {"messages": [{"role": "user", "content": asked(92)},
                      {"role": "assistant", "content": "I'm sorry, but I can't help with that."}]},
        {"messages": [{"role": "user", "content": f"{asked(93)} He asked {ITEM}"},
                      {"role": "assistant", "content": prose(793, 3)}]},
        {"messages": [{"role": "user", "content": asked(0)}, {"role": "assistant", "content": prose(794, 3)},
                      {"role": "user", "content": "And then?"}, {"role": "assistant", "content": prose(795, 3)}]},
        {"conversations": chat[5]["conversations"]},
        {"unknown": [1, 2]}, {"messages": "x"},
    ]  # fmt: skip
    table = [{"question": f"What is {i} + {i}? {asked(100 + i)}", "answer": f"It is {2 * i}. {prose(800 + i, 2)}"} for i in range(20)]  # fmt: skip  # noqa: E501
    pairs = [
        {"prompt": asked(200 + i), "chosen": prose(900 + i, 3), "rejected": prose(950 + i, 2), "score_chosen": 7.5,
         "score_rejected": float(i % 5)}
        for i in range(15)
    ]  # fmt: skip
    pairs += [{"prompt": asked(290), "completion": prose(990, 2), "label": True},
              {"prompt": asked(291), "completion": "No idea at all.", "label": False},
              {"prompt": asked(292), "chosen": "The same answer.", "rejected": "The same answer."}]  # fmt: skip
    return {"alpaca": alpaca, "chat": chat, "table": table, "pairs": pairs}


def build(folder, **changes):
    """Collects the sources into folder/run, and returns its layout and the section `documents`."""
    data, run = folder / "data", RunLayout(folder / "run")
    data.mkdir(parents=True)
    records = files()
    (data / "alpaca.json").write_text(json.dumps(records["alpaca"], indent=1))
    for name in ("chat", "pairs"):
        (data / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records[name]))
    pq.write_table(pa.Table.from_pylist(records["table"]), data / "table.parquet")
    formats = {"alpaca": "hf", "chat": "jsonl", "table": "parquet", "pairs": "jsonl"}
    sources = {
        name: {"kind": "files", "format": format, "record": True, "uris": [f"{data}/{name}.*"]}
        for name, format in formats.items()
    }
    for name, source in validate(SourcesConfig, sources, "sources").root.items():
        collect(name, source, run.raw(name))
    items_artifact(run.root, [ITEM])
    return run, {**DOCUMENTS, **changes}


def make(run, section, **engine):
    """Makes the documents."""
    config = {**section, "engine": {**section["engine"], **engine}}
    return make_documents(run, validate(DocumentsConfig, config, "documents"))
