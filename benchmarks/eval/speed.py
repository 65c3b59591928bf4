"""Evaluation speed: HeadwaterLM against lm-eval's own `hf` model, on the same weights, the same tasks, in one run.

    python benchmarks/eval/speed.py --eval-data FOLDER [--tasks mmlu,hellaswag,arc,gsm8k] [--limit 100] [--model FOLDER]
        [--repeats 3] [--hf-batch 1,8] [--threads 1] [--json FILE]

Measured are CPU seconds of lm-eval's `evaluate()`: prompts, tokens, model and scores. Contenders take turns; `hf` runs
with each of the batch sizes and its fastest counts. Above 1, ours is faster.

- `mmlu`, `gsm8k`: lm-eval's own definitions, 5 examples before each question; GSM8K's differ from one to the next.
- `humaneval`: lm-eval's own definition; the programs run in the sandbox for both.
- `hellaswag`, `arc`: lm-eval's prompts for these sets on questions of MMLU, since their own data is not in the folder:
  five fixed examples and four endings; a question and its answers as texts.

`ceiling` is what an exact trie could save: tokens that `hf` reads over distinct prefixes of all inputs. `reads` is what
ours saves of it: tokens that `hf` reads over those that ours does, padding not counted in either.

With `--checkpoint` ours reads a training checkpoint, and `hf` its export (`--model`): the scores are compared too.

Without `--model` a Llama of 27 million random weights is made, with a tokenizer trained on the
questions: how fast it is does not depend on what it has learnt.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TQDM_DISABLE="1")

import pyarrow.parquet as pq
import torch
import yaml
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from headwater.eval import checkpoint
from headwater.eval.data_dir import prepare_data_dir
from headwater.eval.harness.environment import prepare
from headwater.eval.harness.model import HeadwaterLM
from headwater.eval.harness.tasks import load_tasks
from headwater.eval.scoring import plan
from headwater.eval.tokenizer import load_tokenizer

OWN = ("hellaswag", "arc")
GENERATED = ("gsm8k", "humaneval")
SHOTS = {"mmlu": 5, "hellaswag": 5}


def make_model(folder: Path, data: Path, context: int) -> None:
    """A Hugging Face folder with random weights."""
    texts = [
        row["question"] for file in sorted(data.glob("mmlu/*/test.parquet")) for row in pq.read_table(file).to_pylist()
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=16384, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "model_max_length": context}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=16384, hidden_size=384, num_hidden_layers=8, num_attention_heads=6, num_key_value_heads=6,
            intermediate_size=1024, max_position_embeddings=context, bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.06)
    model.save_pretrained(folder)


def shaped(name: str, data: Path, folder: Path) -> Path:
    """A task file with the prompt of a set that is not in the folder, on questions of MMLU."""
    subjects = ("high_school_psychology", "professional_medicine", "moral_disputes", "nutrition")
    for split in ("dev", "test"):
        rows = [
            row for each in subjects for row in pq.read_table(data / "mmlu" / each / f"{split}.parquet").to_pylist()
        ]
        (folder / f"{name}-{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    value: dict[str, Any] = {
        "task": name, "dataset_path": "json", "output_type": "multiple_choice", "test_split": "test",
        "fewshot_split": "dev", "doc_to_target": "answer", "doc_to_choice": "choices",
        "dataset_kwargs": {"data_files": {split: str(folder / f"{name}-{split}.jsonl") for split in ("dev", "test")}},
        "doc_to_text": "Question: {{question}}\nAnswer:" if name == "arc" else "{{question}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1},
    }  # fmt: skip
    if name == "hellaswag":
        value |= {"num_fewshot": 5, "fewshot_config": {"sampler": "first_n"}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(value))
    return folder


def tasks_of(name: str, asked: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Fresh tasks with their prompts not yet built."""
    data, names = asked.eval_data, [name]
    if name == "mmlu" and asked.subjects:
        names = [f"mmlu_{subject}" for subject in asked.subjects.split(",")]
    include = shaped(name, data, work) if name in OWN else prepare_data_dir(data, work, names)
    tasks = load_tasks(names, [include], hub=False, sandbox_problem=None).tasks
    for task in tasks.values():
        if name in SHOTS:
            task.set_config(key="num_fewshot", value=SHOTS[name])
        task.set_fewshot_seed(seed=1234)
    return tasks


def run(lm: Any, name: str, asked: argparse.Namespace, work: Path) -> tuple[float, dict[str, Any]]:
    """CPU seconds and what lm-eval found."""
    tasks = tasks_of(name, asked, work)
    start = time.process_time()
    found: Any = evaluate(
        lm=lm, task_dict={"tasks": tasks, "groups": {}, "group_map": {}}, limit=asked.limit or None, bootstrap_iters=0,
        log_samples=True, confirm_run_unsafe_code=True,  # in the sandbox: see load_tasks
    )  # fmt: skip
    return time.process_time() - start, found["samples"]


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Items, those answered otherwise, and the largest difference of a log-probability."""
    items, changed, most = 0, 0, 0.0
    for task, samples in ours.items():
        for mine, other in zip(samples, theirs[task], strict=True):
            items += 1
            a, b = ([each[0] for each in sample["resps"]] for sample in (mine, other))
            if isinstance(a[0], str):
                changed += a != b
                continue
            a, b = [float(x[0]) for x in a], [float(x[0]) for x in b]
            most = max(most, *(abs(x - y) for x, y in zip(a, b, strict=True)))
            changed += max(range(len(a)), key=a.__getitem__) != max(range(len(b)), key=b.__getitem__)
    means = [
        statistics.fmean(float(s[s["metrics"][0]]) for samples in side.values() for s in samples)
        for side in (ours, theirs)
    ]
    return {"items": items, "changed": changed, "difference": most, "score": means[0], "hf_score": means[1]}


def savings(lm: HeadwaterLM, name: str, asked: argparse.Namespace, work: Path) -> dict[str, float]:
    """Tokens that `hf` reads over the least possible, and over those that ours reads."""
    whole = exact = ours = 0
    for task in tasks_of(name, asked, work).values():
        task.build_all_requests(limit=asked.limit or None)
        requests = [lm._request(*instance.args) for instance in task.instances]
        planned = plan(requests, asked.context)
        # hf reads inputs that are the same but for the last token once.
        whole += sum(len(row.tokens) for row in planned.rows)
        ours += planned.root.computed
        rows, before = sorted(row.tokens for row in planned.rows), ()
        for row in rows:
            exact += len(row) - next(
                (k for k, (a, b) in enumerate(zip(row, before, strict=False)) if a != b), len(before)
            )
            before = row
    return {"ceiling": whole / exact, "reads": whole / ours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eval-data", type=Path, required=True, help="a folder with mmlu and gsm8k")
    parser.add_argument("--tasks", default="mmlu,hellaswag,arc,gsm8k")
    parser.add_argument("--limit", type=int, default=40, help="items of a task (of each of MMLU's 57); 0: all")
    parser.add_argument("--model", type=Path, help="a Hugging Face folder, as `headwater export hf` makes")
    parser.add_argument("--checkpoint", type=Path, help="the training checkpoint that --model is the export of: ours "
                        "reads it as it is")  # fmt: skip
    parser.add_argument("--context", type=int, default=4096, help="of the model; MMLU's longest prompts need 4,096")
    parser.add_argument("--subjects", help="only these of MMLU: anatomy,virology")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hf-batch", default="1,8", help="batch sizes of hf; the fastest counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.checkpoint and not asked.model:
        parser.error("--checkpoint goes with --model, its export, which hf reads")
    torch.set_num_threads(asked.threads)
    prepare(hub=False)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="eval-speed-") as temporary:
        folder = asked.model or Path(temporary) / "model"
        if asked.model is None:
            make_model(folder, asked.eval_data, asked.context)
        model, tokenizer = checkpoint.load(folder).model, load_tokenizer(folder)
        own = checkpoint.load(asked.checkpoint).model if asked.checkpoint else model
        size = sum(weight.numel() for weight in model.parameters()) / 1e6
        print(f"{size:.1f}M parameters, context {asked.context:,}, {asked.threads} thread(s)")
        for name in asked.tasks.split(","):
            work = Path(temporary) / name
            work.mkdir()
            seconds: dict[str, list[float]] = {}
            samples: dict[str, Any] = {}
            for _ in range(asked.repeats):
                contenders = {"ours": lambda: HeadwaterLM(own, tokenizer, max_length=asked.context)} | {
                    f"hf, batches of {size}": lambda size=size: HFLM(
                        pretrained=model, tokenizer=str(folder), batch_size=int(size), max_length=asked.context
                    )
                    for size in asked.hf_batch.split(",")
                }
                for each, make in contenders.items():
                    spent, samples[each] = run(make(), name, asked, work)
                    seconds.setdefault(each, []).append(spent)
            peer = min((each for each in seconds if each != "ours"), key=lambda each: statistics.median(seconds[each]))
            ratios = sorted(theirs / mine for mine, theirs in zip(seconds["ours"], seconds[peer], strict=True))
            row = {"task": name, "peer": peer, "ratio": statistics.median(ratios), "range": [ratios[0], ratios[-1]],
                   "cpu_seconds": seconds, **difference(samples["ours"], samples[peer])}  # fmt: skip
            if name not in GENERATED:
                row |= savings(HeadwaterLM(model, tokenizer, max_length=asked.context), name, asked, work)
            rows.append(row)
            told = f"ceiling {row['ceiling']:.1f}×, reads {row['reads']:.1f}×, " if "ceiling" in row else ""
            print(
                f"{name:10} {row['ratio']:.2f}× ({ratios[0]:.2f}–{ratios[-1]:.2f}) against {peer}; {told}"
                f"{row['changed']} of {row['items']:,} answers changed, "
                f"log-probabilities within {row['difference']:.1e}; score {row['score']:.4f}, hf {row['hf_score']:.4f}",
                flush=True,
            )
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
