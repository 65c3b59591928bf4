"""Evaluations made by hand, for the report: choices in groups, generated answers, a grid of needles."""

from __future__ import annotations

import json
import random
from pathlib import Path

from headwater.eval.intervals import interval_of_mean
from headwater.eval.results import ConfidenceInterval, OverlapPart, OverlapSplit, Sample, Score

GROUPS = {"stem": ["anatomy", "astronomy", "physics"], "humanities": ["philosophy", "law"], "other": ["marketing"]}
WORDS = ["why", "does", "the", "model", "of", "a", "river", "say", "that", "water", "flows", "down"]
HOSTILE = "What is </script><img src=x onerror='window.owned=1'><b>bold</b>?\u202e \u2028 end"


def part(values: list[float]) -> OverlapPart | None:
    if not values:
        return None
    found = interval_of_mean(values)
    interval = None if found is None else ConfidenceInterval(low=found.low, high=found.high, method=found.method)
    return OverlapPart(value=sum(values) / len(values), items=len(values), interval=interval)


def score(task: str, samples: list[Sample], metric: str, chance: float | None, **more) -> Score:
    values = [float(s.filters["none"]["metrics"][metric]) for s in samples]
    whole = part(values)
    assert whole is not None
    interval = whole.interval
    at_chance = None if chance is None or interval is None else interval.low <= chance <= interval.high
    known = [s for s in samples if s.overlap is not None]
    split = None
    if known:
        clean, dirty = ([v for v, s in zip(values, samples, strict=True) if s.overlap is yes] for yes in (False, True))
        split = OverlapSplit(clean=part(clean), overlapping=part(dirty))
    fields = {"few_shot": 5, "version": "1"} | more
    return Score(
        task=task, metric=metric, filter="none", value=whole.value, stderr=None, items=whole.items, interval=interval,
        chance=chance, indistinguishable_from_chance=at_chance, higher_is_better=True, overlap=split,
        truncated=sum(s.truncated for s in samples), cut_short=sum(s.cut_short for s in samples), **fields,
    )  # fmt: skip


def choice_samples(task: str, count: int, skill: float, seed: str, overlap: bool = True) -> list[Sample]:
    rng, questions = random.Random(f"{seed} {task}"), random.Random(task)
    samples = []
    for index in range(count):
        target = questions.randrange(4)
        words = " ".join(
            questions.choices(
                ["why", "does", "the", "model", "of", "a", "river", "say", "that", "water", "flows", "down"], k=18
            )
        )
        choices = [f"{letter}" for letter in "ABCD"]
        logprobs = [round(rng.uniform(-6, -1), 4) for _ in range(4)]
        if rng.random() < skill:
            logprobs[target] = -0.5
        prediction = logprobs.index(max(logprobs))
        body = "\n".join(f"{letter}. option {questions.randrange(1000)}" for letter in "ABCD")
        question = HOSTILE if index == 0 else f"Item {index} of {task}: {words}?\n{body}\nAnswer:"
        correct = float(prediction == target)
        samples.append(
            Sample(
                index=index, target=target, prediction=prediction, correct=correct, logprobs=logprobs,
                greedy=[place == prediction for place in range(4)], response=None, truncated=index % 17 == 3,
                filters={"none": {"prediction": prediction, "metrics": {"acc": correct, "acc_norm": correct}}},
                cut_short=False, prompt_sha256="0" * 64, document_sha256=f"{task}-{index}", question=question,
                choices=choices, overlap=index % 5 == 0 if overlap else None,
            )
        )  # fmt: skip
    return samples


def answer_samples(task: str, count: int, skill: float, seed: str) -> list[Sample]:
    rng = random.Random(f"{seed} {task}")
    samples = []
    for index in range(count):
        right = rng.random() < skill
        response = f" Because {index} + 1 is {index + 1}.\nThe answer is {index + (1 if right else 2)}. <i>{seed}</i>"
        response += "\n" * 30 if index == 5 else ""
        metrics = {"exact_match": float(right)}
        samples.append(
            Sample(
                index=index, target=str(index + 1), prediction=str(index + (1 if right else 2)), correct=float(right),
                logprobs=None, greedy=None, response=response, truncated=False, cut_short=index % 4 == 0,
                filters={"none": {"prediction": str(index + (1 if right else 2)), "metrics": metrics}},
                prompt_sha256="0" * 64, document_sha256=f"{task}-{index}",
                question=f"Question: what is {index} + 1?\nAnswer:",
            )
        )  # fmt: skip
    return samples


def needle_samples(seed: str, longest: int = 8192) -> list[Sample]:
    rng, samples = random.Random(seed), []
    for length in (512, 1024, 2048, 4096, 8192):
        for depth in (0.0, 0.25, 0.5, 0.75, 1.0):
            for _ in range(4):
                fits = length <= longest
                right = float(rng.random() < (0.95 - length / 12000 if fits else 0.1))
                index = len(samples)
                samples.append(
                    Sample(
                        index=index, target="4711", prediction="4711" if right else "12", correct=right, logprobs=None,
                        greedy=None, response="4711" if right else "12", truncated=not fits, cut_short=False,
                        filters={"none": {"prediction": "x", "metrics": {"exact_match": right}}},
                        prompt_sha256="0" * 64, document_sha256=f"needle-{index}",
                        question=f"[… {length * 4:,} characters left out …]\nWhat is the number?",
                        cell={"length": float(length), "depth": depth},
                    )
                )  # fmt: skip
    return samples


def write_evaluation(
    folder: Path,
    *,
    seed: str = "a",
    skill: float = 0.4,
    items: int = 24,
    groups: dict[str, list[str]] = GROUPS,
    step: int | None = 900,
    needle: bool = True,
    overlap: bool = True,
    refused: bool = True,
    tasks: tuple[str, ...] = ("mmlu", "sums"),
) -> Path:
    """Writes `results.json` and `samples/` of an evaluation."""
    by_task: dict[str, list[Sample]] = {}
    scores: list[Score] = []
    if "mmlu" in tasks:
        leaves = [f"mmlu_{name}" for names in groups.values() for name in names]
        by_task |= {name: choice_samples(name, items, skill, seed, overlap) for name in leaves}
        named = {"mmlu": leaves, **{f"mmlu_{g}": [f"mmlu_{n}" for n in ns] for g, ns in groups.items()}}
        for name, members in named.items():
            pooled = [sample for member in members for sample in by_task[member]]
            scores.append(score(name, pooled, "acc", 0.25, group=True, members=tuple(members)))
        for name in leaves:
            scores += [score(name, by_task[name], metric, 0.25) for metric in ("acc", "acc_norm")]
    if "sums" in tasks:
        by_task["sums"] = answer_samples("sums", 30, skill, seed)
        scores.append(score("sums", by_task["sums"], "exact_match", 0.0, few_shot=0))
    if needle:
        by_task["headwater_needle"] = needle_samples(seed, 4096)
        scores.append(score("headwater_needle", by_task["headwater_needle"], "exact_match", 0.0, few_shot=0))
    asked = [*tasks, *(["headwater_needle"] if needle else [])]
    bits = {"model": 1.9, "unigram": 4.2, "documents": 3, "tokens": 900, "bytes": 4000}
    checkpoint = {
        "weights_digest": f"weights-{seed}", "parameters": 2_400_000, "max_length": 4096, "step": step, "samples": 7200,
        "validation_loss": 3.21, "tokenizer_digest": "tokenizer", "manifest_digest": "manifest",
    }  # fmt: skip
    results = {
        "checkpoint": checkpoint,
        "tasks": [each.model_dump(mode="json") for each in scores],
        "refused": [{"task": "humaneval", "reason": "no sandbox can be started here"}] if refused else [],
        "bits_per_byte": {**bits, "sources": {"web": bits}},
        "notes": ["Only the first 24 items of each task were run: these are no benchmark scores."],
        "settings": {"eval": {"tasks": asked}},
        "software": {"lm-eval": "0.4.13", "torch": "2.13"},
        "schema_version": 2,
    }
    (folder / "samples").mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    for name, samples in by_task.items():
        lines = "".join(sample.model_dump_json() + "\n" for sample in samples)
        (folder / "samples" / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def write_run(root: Path, **more) -> Path:
    """A run with an evaluation and those of three steps."""
    write_evaluation(root / "eval", **more)
    for step in (300, 600, 900):
        write_evaluation(root / "evals" / f"step-{step:08d}", seed=str(step), skill=step / 2000, items=8, step=step)
    return root


if __name__ == "__main__":
    import sys

    target = Path(sys.argv[1])
    many = {"stem": [f"subject_{n}" for n in range(19)], "humanities": [f"field_{n}" for n in range(19)],
            "other": [f"area_{n}" for n in range(19)]}  # fmt: skip
    write_run(target / "new", skill=0.45)
    write_run(target / "old", seed="b", skill=0.3)
    write_evaluation(target / "big", items=246, groups=many)
    write_evaluation(target / "big-old", items=246, groups=many, seed="b", skill=0.3)
