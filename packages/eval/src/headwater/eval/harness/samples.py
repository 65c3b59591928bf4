"""One record an item: what was asked, what the model answered, whether it was right."""

import hashlib
import json
import math
from typing import Any

import numpy as np
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.utils import handle_non_serializable

from headwater.core.errors import EvalError
from headwater.eval.harness.model import HeadwaterLM
from headwater.eval.results import Sample

MOST_CHARACTERS = 8000
"""Of a question or a choice in a sample."""


def item_samples(lm: HeadwaterLM, name: str, task: Task, samples: list[dict[str, Any]]) -> list[Sample]:
    """One record an item, in the order of the items; lm-eval gives one an item and filter."""
    by_item: dict[int, list[dict[str, Any]]] = {}
    for sample in samples:
        by_item.setdefault(int(sample["doc_id"]), []).append(sample)
    records: list[Sample] = []
    for index, group in sorted(by_item.items()):
        first = group[0]
        answers: dict[str, dict[str, Any]] = {}
        for sample in group:
            metrics = {metric: _plain(sample[metric]) for metric in sample["metrics"]}
            answers[sample["filter"]] = {"prediction": _prediction(sample), "metrics": metrics}
        choices = _choices(first)
        main = first[first["metrics"][0]] if first["metrics"] else None
        records.append(
            Sample(
                index=index,
                target=_plain(first["target"]),
                prediction=answers[first["filter"]]["prediction"],
                correct=float(main) if isinstance(main, int | float | bool) else None,
                logprobs=None if choices is None else [logprob for logprob, _ in choices],
                greedy=None if choices is None else [greedy for _, greedy in choices],
                response=first["resps"][0][0] if isinstance(first["resps"][0][0], str) else None,
                filters=answers,
                truncated=index in lm.truncated[name],
                cut_short=index in lm.cut_short[name],
                cell=_cell(name, index, first["doc"]),
                prompt_sha256=hashlib.sha256(str(first["arguments"][0][0]).encode()).hexdigest(),
                document_sha256=_document_sha256(first["doc"]),
                question=_question(task, first["doc"]),
                choices=_texts(task, first["doc"]),
            )
        )
    return records


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text, or its beginning and end around a mark that says how much was left out."""
    if len(text) <= most:
        return text
    end = most // 4
    return f"{text[: most - end]}\n[… {len(text) - most:,} characters left out …]\n{text[-end:]}"


def _question(task: Task, document: Any) -> str:
    if isinstance(task, ConfigurableTask) and task.multiple_input:
        # The choices are beginnings, and what is scored after each of them is the same.
        return shortened(str(task.doc_to_target(document)))
    return shortened(str(task.doc_to_text(document)))


def _texts(task: Task, document: Any) -> list[str] | None:
    if not isinstance(task, ConfigurableTask) or task.OUTPUT_TYPE != "multiple_choice":
        return None
    return [shortened(str(choice)) for choice in task.doc_to_choice(document)]


def _choices(sample: dict[str, Any]) -> list[tuple[float, bool]] | None:
    answers = [response[0] for response in sample["resps"]]
    if not all(isinstance(a, tuple | list) and len(a) == 2 for a in answers):
        return None
    # Nine decimals: more than any comparison needs.
    return [(round(float(logprob), 9), bool(greedy)) for logprob, greedy in answers]


def _prediction(sample: dict[str, Any]) -> Any:
    choices = _choices(sample)
    if choices is None:
        return _plain(sample["filtered_resps"][0])
    return int(np.argmax([logprob for logprob, _ in choices]))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=handle_non_serializable))


def _cell(task: str, index: int, document: dict[str, Any]) -> dict[str, float] | None:
    if not {"length", "depth"} <= document.keys():
        return None
    found = {key: document[key] for key in ("length", "depth")}
    try:
        cell = {key: float(value) for key, value in found.items()}
    except (TypeError, ValueError):
        cell = {"length": math.nan}
    if not all(map(math.isfinite, cell.values())):
        raise EvalError(
            f"item {index} of {task} has no place in the map of needles", found=json.dumps(found, default=str),
            expected="numbers in the columns length (tokens) and depth (0 to 1)",
            hint="mend the task's data, or name the columns otherwise if they are no such map's",
        )  # fmt: skip
    return cell


def _document_sha256(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, default=handle_non_serializable, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
