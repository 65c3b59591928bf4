"""Reads MMLU, GSM8K and HumanEval from a local folder, in the columns that they have on the Hugging Face hub.

mmlu/<subject>/{dev,validation,test}.parquet    question, subject, choices, answer (0 to 3)
gsm8k/{train,test}.jsonl                        question, answer
humaneval/HumanEval.jsonl.gz                    task_id, prompt, canonical_solution, test, entry_point
"""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from headwater.core.errors import EvalError
from headwater.eval.tasks.quiet import drop_custom_dataset_notice
from headwater.eval.tasks.rows import Rows

COLUMNS = {
    "mmlu": ("question", "subject", "choices", "answer"),
    "gsm8k": ("question", "answer"),
    "humaneval": ("task_id", "prompt", "canonical_solution", "test", "entry_point"),
}

drop_custom_dataset_notice()


def split_files(data_dir: Path, family: str, subject: str | None = None) -> dict[str, Path]:
    """Split → the file that holds it, whether or not it is there.

    Args:
        data_dir: The data folder.
        family: "mmlu", "gsm8k" or "humaneval".
        subject: The MMLU subject, for example "anatomy".
    """
    if family == "mmlu":
        assert subject is not None
        return {split: data_dir / "mmlu" / subject / f"{split}.parquet" for split in ("dev", "test")}
    if family == "gsm8k":
        return {split: data_dir / "gsm8k" / f"{split}.jsonl" for split in ("train", "test")}
    return {"test": data_dir / "humaneval" / "HumanEval.jsonl.gz"}


def read_items(data_dir: Path, family: str, split: str, subject: str | None = None) -> list[dict[str, Any]]:
    """The items of one split, in their order, with the columns of the family only.

    Raises:
        EvalError: The file is missing, cannot be read, or lacks a column; file and place are named.
    """
    path = split_files(data_dir, family, subject)[split]
    try:
        rows = _read(path)
    except FileNotFoundError as error:
        raise EvalError(f"the data folder has no {path.relative_to(data_dir)}", found=str(data_dir)) from error
    except (OSError, EOFError, ValueError, zlib.error) as error:  # damaged gzip, JSON, UTF-8 or Parquet
        raise EvalError(f"cannot read {path}: {error}", hint="check it: headwater eval data verify DIR") from error
    if not rows:
        raise EvalError(f"{path} holds no items")
    for number, row in enumerate(rows):
        missing = [name for name in COLUMNS[family] if name not in row]
        if missing:
            raise EvalError(
                f"item {number} of {path} lacks {', '.join(missing)}", found=", ".join(row),
                expected=", ".join(COLUMNS[family]),
            )  # fmt: skip
    return [{name: row[name] for name in COLUMNS[family]} for row in rows]


def _read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(path).to_pylist()
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    # Not splitlines(): JSON strings may hold U+2028, which is a line end for it.
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _load(data_dir: str, family: str, subject: str | None = None) -> dict[str, Rows]:
    root = Path(data_dir)
    splits = split_files(root, family, subject)
    return {split: Rows(read_items(root, family, split, subject)) for split in splits}


# Named by the task files that `headwater.eval.data_dir` writes; lm-eval passes the task's metadata too.
def load_mmlu(data_dir: str, subject: str, **_: Any) -> dict[str, Rows]:
    """One subject of MMLU."""
    return _load(data_dir, "mmlu", subject)


def load_gsm8k(data_dir: str, **_: Any) -> dict[str, Rows]:
    """GSM8K."""
    return _load(data_dir, "gsm8k")


def load_humaneval(data_dir: str, **_: Any) -> dict[str, Rows]:
    """HumanEval."""
    return _load(data_dir, "humaneval")
