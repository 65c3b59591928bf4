"""How well decontamination finds evaluation items: planted ones in real pages, and pages that hold none.

    python benchmarks/data/contamination.py --eval-data DIR --corpus DIR [--json FILE]

Items of MMLU, GSM8K and HumanEval are planted into pages, whole and edited; both rules of `decontaminate` look for
them.
The parameters of `coverage` were chosen on the development half (items of even number, the first half of the files);
what is printed by default is of the other half. All flags on pages without plants are listed, to be judged by eye.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from headwater.core.item_parts import item_parts
from headwater.core.ngrams import split_words
from headwater.data.operators.extract import Extract, ExtractConfig
from headwater.data.operators.item_finder import ItemFinder
from headwater.data.warc_parts import WarcPart
from headwater.eval.intervals import wilson
from headwater.eval.tasks.local_data import read_items

RULES = ("coverage", "ngram")
NGRAM, MIN_WORDS = 13, 8
BATCH = 256
FAMILIES = ("mmlu", "gsm8k", "humaneval")


class Item(NamedTuple):
    """An item: its task and index, the words that ask, and what goes with them."""

    task: str
    index: int
    fields: dict[str, Any]

    @property
    def family(self) -> str:
        """The benchmark."""
        return self.task.partition("_")[0]

    @property
    def question(self) -> str:
        """The item without choices, answer or solution."""
        return item_parts(self.fields).question

    @property
    def text(self) -> str:
        """All of it."""
        return item_parts(self.fields).text


def load_items(folder: Path, split: str = "test") -> list[Item]:
    """The items of all benchmarks; `split` may also be dev, of MMLU, or train, of GSM8K."""
    items: list[Item] = []
    for subject in sorted(path.name for path in (folder / "mmlu").iterdir()):
        if split != "train":
            items += [
                Item(f"mmlu_{subject}", i, row) for i, row in enumerate(read_items(folder, "mmlu", split, subject))
            ]
    if split != "dev":
        items += [Item("gsm8k", i, row) for i, row in enumerate(read_items(folder, "gsm8k", split))]
    if split == "test":
        items += [Item("humaneval", i, row) for i, row in enumerate(read_items(folder, "humaneval", split))]
    return items


# What is done to a planted item.
def cut_end(item: Item, random: random.Random) -> str:
    """The first 60% of the words."""
    parts = re.findall(r"\s*\S+", item.text)
    return "".join(parts[: max(1, round(len(parts) * 0.6))])


def cut_beginning(item: Item, random: random.Random) -> str:
    """The last 60% of the words."""
    parts = re.findall(r"\s*\S+", item.text)
    return "".join(parts[len(parts) - max(1, round(len(parts) * 0.6)) :])


def other_case(item: Item, random: random.Random) -> str:
    """Upper case and no apostrophes or commas; or lower case and no punctuation; or title case and words joined."""
    kind = random.randrange(3)
    if kind == 0:
        return re.sub(r"[’'`,]", "", item.text).upper()
    if kind == 1:
        return re.sub(r"[^\w\s]", " ", item.text).lower()
    return re.sub(r"(?<=\w)[’',-](?=\w)", "", item.text).title().replace("?", " ?").replace("\n", "  \n ")


def other_words(item: Item, random: random.Random) -> str:
    """One word in twelve left out, replaced, or followed by another."""
    parts: list[str] = []
    for word in re.findall(r"\s*\S+", item.text):
        kind = random.randrange(36)
        parts += [word] if kind > 2 else ([], [" thing"], [word, " rather"])[kind]
    return "".join(parts)


EDITS: dict[str, Callable[[Item, random.Random], str]] = {
    "verbatim": lambda item, _: item.text,
    "end cut off (40%)": cut_end,
    "case and punctuation": other_case,
    "question alone": lambda item, _: item.question,
    "one word in twelve": other_words,
    "beginning cut off (40%)": cut_beginning,
}


def rephrased(folder: Path, items: Sequence[Item]) -> Iterator[tuple[str, Item, str]]:
    """The rephrased set: (kind, item, text)."""
    by_name = {(item.task, item.index): item for item in items}
    files = [("gsm8k", "rephrase_gsm8k.jsonl", "rephrased")]
    files += [("humaneval", f"humaneval_{name}.jsonl", kind) for name, kind in
              (("python", "rephrased"), ("js", "translated"), ("c", "translated"))]  # fmt: skip
    for path in sorted(folder.glob("rephrase/*_test.csv")):
        subject = path.name.removesuffix("_test.csv")
        files += [(f"mmlu_{subject}", f"{subject}_test_{name}_filtered_question.jsonl", kind)
                  for name, kind in (("rephrase_english", "rephrased"), ("chinese", "translated"))]  # fmt: skip
    for task, name, kind in files:
        originals = _originals(folder, task)
        for index, line in enumerate((folder / "rephrase" / name).read_text(encoding="utf-8").splitlines()):
            text = json.loads(line)["text"]
            item = by_name.get((task, index))
            if item is None or not text.strip() or (originals and originals[index] not in item.text):
                continue  # empty rows are what the set's authors could not rephrase
            yield kind, item, text


def _originals(folder: Path, task: str) -> list[str]:
    path = folder / "rephrase" / f"{task.removeprefix('mmlu_')}_test.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [row[0] for row in csv.reader(stream)]


def passages(items: Sequence[Item]) -> Iterator[str]:
    """What history questions quote, alone: a page with the source would hold it."""
    for item in items:
        lines = item.question.split("\n")[:-1]
        if "history" in item.task:
            yield from (line for line in lines if len(line.split()) >= 30)


def pages(folder: Path, half: str, limit: int | None) -> Iterator[tuple[str, str]]:
    """URL and text of the pages of one half of the files."""
    files = sorted(folder.glob("*.warc.gz"))
    if not files:
        raise SystemExit(f"skipped: no *.warc.gz in {folder}")
    middle = (len(files) + 1) // 2
    chosen = {"development": files[:middle], "held-out": files[middle:] or files, "all": files}[half]
    extract, left = Extract(ExtractConfig(scope="full")), limit or 1 << 60
    for file in chosen:
        for batch in WarcPart("web", str(folder), file.name)():
            kept = extract.process(batch).kept
            for url, text in zip(kept.column("url").to_pylist(), kept.column("text").to_pylist(), strict=True):
                if left == 0:
                    return
                left -= 1
                yield url, text


class Detector:
    """One rule of `decontaminate`, as the operator runs it."""

    def __init__(self, rule: Any, items: Sequence[Item]) -> None:
        rows = [{"task": item.task, "index": item.index, "text": item.text, "fields_json": json.dumps(item.fields)}
                for item in items]  # fmt: skip
        self.items, self.finder = items, ItemFinder.build(pa.Table.from_pylist(rows), rule, NGRAM, MIN_WORDS)

    def found(self, texts: Sequence[str]) -> list[dict[int, str]]:
        """For each text the items it holds, by number, and the stretch that says so."""
        found: list[dict[int, str]] = [{} for _ in texts]
        for first in range(0, len(texts), BATCH):
            part = list(texts[first : first + BATCH])
            for row in self.finder.filter.candidates(part).tolist():
                words = split_words([part[row]])
                for hit in self.finder.hits(words):
                    _, start, stop = words.characters(hit.first, hit.stop)
                    found[first + row][hit.item] = part[row][start:stop]
        return found


def planted(host: str, text: str, random: random.Random) -> str:
    """A page with a text put in at a line's end."""
    place = host.find("\n", random.randrange(len(host)))
    place = len(host) if place < 0 else place
    return f"{host[:place]}\n{text}\n{host[place:]}"


def share(hits: int, of: int) -> dict[str, Any]:
    """A proportion, with its 95% interval."""
    interval = wilson(hits, of) if of else None
    return {"hits": hits, "of": of, "value": hits / of if of else None,
            "interval": None if interval is None else [interval.low, interval.high]}  # fmt: skip


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    rng = random.Random(20240)
    items = load_items(arguments.eval_data)
    numbers = {(item.task, item.index): number for number, item in enumerate(items)}
    wanted = {"development": [0], "held-out": [1], "all": [0, 1]}[arguments.half]
    half = [item for number, item in enumerate(items) if number % 2 in wanted]
    chosen: list[Item] = []
    for family in FAMILIES:
        mine = [item for item in half if item.family == family]
        chosen += sorted(rng.sample(mine, min(arguments.items, len(mine)))) if arguments.items else mine
    detectors = {rule: Detector(rule, items) for rule in RULES}
    clean = list(pages(arguments.corpus, arguments.half, arguments.limit))
    flags = {rule: _flags(detector, clean) for rule, detector in detectors.items()}
    flagged = {url for each in flags.values() for url, *_ in each}
    hosts = [text for url, text in clean if 500 <= len(text) <= 20_000 and url not in flagged]
    texts = [(name, item, edit(item, rng)) for name, edit in EDITS.items() for item in chosen]
    texts += list(rephrased(arguments.eval_data / "rephrased", half))
    rows: list[dict[str, Any]] = []
    groups: dict[tuple[str, str], list[tuple[Item, str]]] = {}
    for name, item, text in texts:
        groups.setdefault((item.family, name), []).append((item, text))
    for (family, name), group in groups.items():
        documents = [planted(rng.choice(hosts), text, rng) for _, text in group]
        long = [len(split_words([text])) >= NGRAM for _, text in group]
        for rule, detector in detectors.items():
            found = [numbers[item.task, item.index] in hits
                     for (item, _), hits in zip(group, detector.found(documents), strict=True)]  # fmt: skip
            rows.append({"family": family, "edit": name, "rule": rule, "recall": share(sum(found), len(found)),
                         "recall_of_13_words": share(sum(a and b for a, b in zip(found, long, strict=True)), sum(long)),
                         "missed": [[item.task, item.index] for (item, _), hit in zip(group, found, strict=True)
                                    if not hit][:20]})  # fmt: skip
    near = {"quoted passages alone": list(passages(half)),
            "GSM8K train": [item.text for item in load_items(arguments.eval_data, "train")],
            "MMLU dev": [item.text for item in load_items(arguments.eval_data, "dev")]}  # fmt: skip
    neighbours = {name: {rule: share(sum(map(bool, detector.found(texts))), len(texts))
                         for rule, detector in detectors.items()} for name, texts in near.items()}  # fmt: skip
    precision: dict[str, Any] = {}
    for rule in RULES:
        true = sum(row["recall"]["hits"] for row in rows if row["rule"] == rule and row["edit"] in list(EDITS)[:4])
        precision[rule] = {
            "precision": share(true, true + len(flags[rule])),
            "flagged": share(len(flags[rule]), len(clean)),
        }
    return {"half": arguments.half, "pages": len(clean), "rows": rows, "precision": precision, "neighbours": neighbours,
            "flags": {rule: [{"url": url, "item": [items[n].task, items[n].index], "text": text[:400]}
                             for url, n, text in each] for rule, each in flags.items()}}  # fmt: skip


def _flags(detector: Detector, clean: Sequence[tuple[str, str]]) -> list[tuple[str, int, str]]:
    found = detector.found([text for _, text in clean])
    return [(url, *next(iter(hits.items()))) for (url, _), hits in zip(clean, found, strict=True) if hits]


def show(found: dict[str, Any]) -> None:
    """Prints the figures."""
    print(f"{found['half']} half; recall, 95% interval")
    print(f"{'':12}{'edit':<26}{'items':>7}{'coverage':>24}{'13-gram':>24}   of 13 words and more: coverage, 13-gram")
    for mine, peer in zip(found["rows"][::2], found["rows"][1::2], strict=True):
        cells = [_cell(row["recall"]) for row in (mine, peer)]
        cells += [f"{row['recall_of_13_words']['value'] or 0:.4f}" for row in (mine, peer)]
        print(f"{mine['family']:12}{mine['edit']:<26}{mine['recall']['of']:>7}{cells[0]:>24}{cells[1]:>24}"
              f"   {cells[2]} {cells[3]}")  # fmt: skip
    for rule, row in found["precision"].items():
        print(f"{rule}: {row['flagged']['hits']} of {found['pages']:,} pages without plants flagged "
              f"({_cell(row['flagged'])}); precision {_cell(row['precision'])}, if all of them are false")  # fmt: skip
    for name, row in found["neighbours"].items():
        print(f"{name}: " + ", ".join(f"{rule} flags {each['hits']} of {each['of']}" for rule, each in row.items()))
    for rule, flags in found["flags"].items():
        for flag in flags:
            print(f"flagged by {rule}: {flag['url']}\n    {flag['item']}: {flag['text'][:200]!r}")


def _cell(figure: dict[str, Any]) -> str:
    low, high = figure["interval"] or (0, 0)
    return f"{figure['value']:.4f} ({low:.4f}–{high:.4f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--eval-data", type=Path, required=True, metavar="DIR", help="mmlu, gsm8k, humaneval, rephrased"
    )
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="holds *.warc.gz with HTML pages")
    parser.add_argument("--half", choices=("held-out", "development", "all"), default="held-out")
    parser.add_argument("--items", type=int, default=2000, metavar="N", help="of a benchmark, at most (0: all)")
    parser.add_argument("--limit", type=int, metavar="N", help="pages, at most")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    result = measure(given)
    show(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
