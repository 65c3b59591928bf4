"""Training speed and memory: ours against plain torchtitan, the Hugging Face Trainer and nanoGPT, in one run.

    python benchmarks/train/speed.py [--settings small,wide,compiled,shakespeare] [--repeats 5] [--steps 40]
        [--nanogpt FOLDER] [--threads 1] [--device cpu] [--json FILE]

Every contender trains in a process of its own, on the same tokens, batch and sequence length. All are there at once and
take turns of ten steps, so that what else the machine does befalls them alike. Measured is the time from the beginning
of one step to that of the next, so that loaders, logs, metrics and guards count; the median over the steps after
`--warmup`. On a CPU it is CPU seconds, on a GPU wall seconds. Above 1 in the first column, ours is faster.

- `torchtitan`: its own `Trainer` and `train()` on the same model, with the shims that let it run on a CPU
  (`headwater.train.titan.cpu`), and a loader that reads the same token file from front to back.
- `transformers`: `Trainer` with a LlamaForCausalLM of the same shape.
- `nanogpt`: `train.py` as it is (`--nanogpt` names a clone of github.com/karpathy/nanoGPT), in the setting
  `shakespeare` only: 4 layers, 4 heads, 128 wide, context 64, batch 12, and GPT-2's parts in all contenders.

`step` says where our step's time goes: loader and metrics, as shares of the step in wall seconds. (To ask for CPU
seconds takes long enough to tell in a short step; it is done once a step, of each contender.)
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import json
import os
import pickle
import resource
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

LLAMA = {"family": "llama3", "n_kv_heads": 2, "n_heads": 4, "n_layers": 4, "dim": 256, "ffn_dim": 704}
SETTINGS: dict[str, dict[str, Any]] = {
    "small": {"model": LLAMA, "seq_len": 256, "batch": 8},
    "wide": {"model": LLAMA | {"dim": 512, "n_heads": 8, "ffn_dim": 1408, "n_layers": 6}, "seq_len": 256, "batch": 4},
    "compiled": {"model": LLAMA, "seq_len": 256, "batch": 8, "compile": True},
    "shakespeare": {
        "model": {"family": "gpt2", "dim": 128, "n_layers": 4, "n_heads": 4, "ffn_dim": 512, "tied": True},
        "seq_len": 64, "batch": 12, "vocab": 66,
    },
    "1b": {
        "model": LLAMA | {"dim": 2048, "n_heads": 32, "n_kv_heads": 8, "n_layers": 16, "ffn_dim": 8192},
        "seq_len": 2048, "batch": 4, "compile": True, "precision": "bfloat16", "vocab": 90,
    },
}  # fmt: skip
PEERS = {
    "small": ("torchtitan", "transformers"), "wide": ("torchtitan", "transformers"),
    "compiled": ("torchtitan",), "shakespeare": ("torchtitan", "nanogpt"), "1b": ("torchtitan", "transformers"),
}  # fmt: skip
VOCAB = 90
TOKENS = 1_300_000
TURN = 10
"""Steps that a contender does before it is another's turn."""


class Clock:
    """CPU and wall seconds of steps, from the beginning of each to that of the next, without the turns of the others.

    Args:
        turns: Descriptors: a byte is written to the second where this contender's turn ends, and read from the first
            where the next begins; none where it is alone.
    """

    def __init__(self, turns: tuple[int, int] | None = None) -> None:
        self.turns = turns
        self.steps: list[tuple[float, float]] = []
        self._begun: tuple[float, float] | None = None
        self._ticks = 0

    def tick(self, *_: Any, **__: Any) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        if self._begun is not None:
            self.steps.append((cpu - self._begun[0], wall - self._begun[1]))
        if self.turns is not None and self._ticks % TURN == 0:
            os.write(self.turns[1], b".")
            os.read(self.turns[0], 1)
        self._ticks += 1
        self._begun = time.process_time(), time.perf_counter()

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            self.tick()
            return function(*arguments, **named)

        return timed


class Parts:
    """Wall seconds of parts of our own step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

        return timed


def prepare(folder: Path, setting: dict[str, Any], asked: argparse.Namespace) -> None:
    """A run folder with tokens, a recipe, and the same tokens for nanoGPT."""
    from headwater.core.layout import RunLayout
    from headwater.core.tokens import MegatronReader
    from headwater.train.synthetic import make_tokenizer, write_tokens

    run, vocab = RunLayout(folder / "run"), setting.get("vocab", VOCAB)
    make_tokenizer(run, vocab)
    # One document: the peers know of none, and where samples hold several, ours masks the attention between them.
    text = np.random.default_rng(1).integers(0, vocab - 1, TOKENS).tolist()
    documents = [("http://example.test/held-out", [0]), ("http://example.test/all", text)]  # the first is held out
    write_tokens(run, "web", documents, vocab_size=vocab)
    steps = asked.warmup + asked.steps + 1
    train = {
        "model": setting["model"], "seq_len": setting["seq_len"], "global_batch": setting["batch"],
        "micro_batch": setting["batch"], "steps": steps, "threads": asked.threads, "device": asked.device,
        "compile": setting.get("compile", False), "precision": setting.get("precision", "float32"),
        "validation": {"every": 0}, "checkpoint": {"every": steps, "keep_best": 0},
        "optimizer": {"learning_rate": 1e-5},  # the tokens are noise: what is learnt of them would make the guard act
    }  # fmt: skip
    recipe = {"name": "speed", "seed": 1, "mixture": {"weights": {"web": 1}}, "train": train}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    reader = MegatronReader(run.tokens("web") / "train")
    tokens = np.asarray(reader.get(0, len(reader.tokens)), dtype=np.uint16)
    data = folder / "nanogpt" / "data" / "headwater"
    data.mkdir(parents=True)
    tokens.tofile(data / "train.bin")
    tokens[: len(tokens) // 10].tofile(data / "val.bin")
    (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": vocab}))


def ours(folder: Path, setting: dict[str, Any], asked: argparse.Namespace, clock: Clock) -> dict[str, float]:
    from headwater.train import titan

    titan.start(titan.choose_device(asked.device), 1, asked.threads)
    from headwater.train.runner import train
    from headwater.train.titan import loader
    from headwater.train.titan.metrics import HeadwaterMetrics
    from headwater.train.titan.trainer import HeadwaterTrainer

    parts = Parts()
    loader.read_batches = parts.around("loader", loader.read_batches)
    HeadwaterMetrics.log_step = parts.around("metrics", HeadwaterMetrics.log_step)
    HeadwaterTrainer.train_step = clock.before(HeadwaterTrainer.train_step)
    train(folder / "recipe.yaml", folder / "run", fresh=True)
    whole = sum(wall for _, wall in clock.steps)
    return {name: seconds / whole for name, seconds in parts.seconds.items()}


def torchtitan(folder: Path, setting: dict[str, Any], asked: argparse.Namespace, clock: Clock) -> None:
    from headwater.train import titan

    device = titan.choose_device(asked.device)
    titan.start(device, 1, asked.threads)
    from dataclasses import dataclass, fields

    import torch
    import torch.distributed as dist
    from torchtitan.components.checkpointer import CheckpointManager
    from torchtitan.components.dataloader import BaseDataLoader
    from torchtitan.components.metrics import MetricsProcessor
    from torchtitan.components.validate import Validator
    from torchtitan.trainer import Trainer

    from headwater.core.config import load_base, load_section
    from headwater.core.layout import RunLayout
    from headwater.core.mixture import Mixture
    from headwater.train.config import TrainConfig
    from headwater.train.inputs import open_inputs
    from headwater.train.titan.build import trainer_config

    class Sequential(BaseDataLoader):
        @dataclass(kw_only=True, slots=True)
        class Config(BaseDataLoader.Config):
            path: str = ""
            infinite: bool = True

        def __init__(self, config: Any, *, seq_len: int, local_batch_size: int, **_: Any) -> None:
            self.tokens = np.memmap(config.path, dtype=np.uint16, mode="r")
            self.shape = local_batch_size, seq_len

        def __iter__(self) -> Iterator[Any]:
            rows, length = self.shape
            positions = torch.arange(length).repeat(rows, 1)
            start = 0
            while True:
                if start + rows * length + 1 > len(self.tokens):
                    start = 0
                flat = torch.from_numpy(self.tokens[start : start + rows * length + 1].astype(np.int64))
                start += rows * length
                yield {"input": flat[:-1].view(rows, length), "positions": positions}, flat[1:].view(rows, length)

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            pass

    recipe = folder / "recipe.yaml"
    config, base = load_section("train", TrainConfig, recipe, []), load_base(recipe, [])
    inputs = open_inputs(RunLayout(folder / "run"), base, config, Mixture(weights={"web": 1.0}))
    built = trainer_config(inputs, None, [], device)
    plain = {each.name: getattr(built, each.name) for each in fields(Trainer.Config)}
    plain |= {
        "dataloader": Sequential.Config(path=str(folder / "nanogpt/data/headwater/train.bin")),
        "checkpoint": CheckpointManager.Config(enable=False),
        "metrics": MetricsProcessor.Config(),
        "validator": Validator.Config(enable=False),
    }
    if not hasattr(dist, "set_timeout"):  # torchtitan 0.3.0 wants a newer torch than 2.13
        dist.set_timeout = lambda timeout, group=None: dist.distributed_c10d._set_pg_timeout(timeout, group)
    Trainer.train_step = clock.before(Trainer.train_step)
    trainer = Trainer(Trainer.Config(**plain))
    trainer.train()


def transformers(folder: Path, setting: dict[str, Any], asked: argparse.Namespace, clock: Clock) -> None:
    import torch
    from torch.utils.data import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    torch.set_num_threads(asked.threads)
    tokens = np.memmap(folder / "nanogpt/data/headwater/train.bin", dtype=np.uint16, mode="r")
    length, model = setting["seq_len"], setting["model"]

    class Rows(Dataset):
        def __len__(self) -> int:
            return (len(tokens) - 1) // length

        def __getitem__(self, row: int) -> dict[str, Any]:
            ids = torch.from_numpy(tokens[row * length : (row + 1) * length].astype(np.int64))
            return {"input_ids": ids, "labels": ids}

    class Ticks(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clock.tick()

    config = LlamaConfig(
        hidden_size=model["dim"], num_hidden_layers=model["n_layers"], num_attention_heads=model["n_heads"],
        num_key_value_heads=model["n_kv_heads"], intermediate_size=model["ffn_dim"],
        vocab_size=setting.get("vocab", VOCAB), max_position_embeddings=length, tie_word_embeddings=False,
    )  # fmt: skip
    arguments = TrainingArguments(
        output_dir=str(folder / "transformers"), max_steps=asked.warmup + asked.steps + 1, report_to=[],
        per_device_train_batch_size=setting["batch"], learning_rate=1e-3, save_strategy="no", disable_tqdm=True,
        use_cpu=asked.device == "cpu", bf16=setting.get("precision") == "bfloat16", dataloader_pin_memory=False,
        torch_compile=setting.get("compile", False) and asked.device != "cpu",
    )  # fmt: skip
    Trainer(LlamaForCausalLM(config), arguments, train_dataset=Rows(), callbacks=[Ticks()]).train()


def nanogpt(folder: Path, setting: dict[str, Any], asked: argparse.Namespace, clock: Clock) -> None:
    import torch

    torch.set_num_threads(asked.threads)
    here, model = folder / "nanogpt", setting["model"]
    shutil.copytree(asked.nanogpt, here, dirs_exist_ok=True)
    options = {
        "device": asked.device, "compile": False, "eval_interval": 10**9, "eval_iters": 1, "log_interval": 1,
        "block_size": setting["seq_len"], "batch_size": setting["batch"], "n_layer": model["n_layers"],
        "n_head": model["n_heads"], "n_embd": model["dim"], "max_iters": asked.warmup + asked.steps + 1,
        "gradient_accumulation_steps": 1, "dropout": 0.0, "dataset": "headwater", "learning_rate": 1e-3,
        "out_dir": str(folder / "nanogpt-out"), "dtype": "float32" if asked.device == "cpu" else "bfloat16",
    }  # fmt: skip
    said = builtins.print

    def heard(*words: Any, **named: Any) -> None:
        if words and str(words[0]).startswith("iter "):  # one line a step
            clock.tick()
        said(*words, **named)

    builtins.print = heard
    os.chdir(here)
    sys.path.insert(0, str(here))
    sys.argv = ["train.py", *(f"--{name}={value}" for name, value in options.items())]
    runpy.run_path("train.py", run_name="__main__")


CONTENDERS = {"ours": ours, "torchtitan": torchtitan, "transformers": transformers, "nanogpt": nanogpt}


def alone(name: str, folder: Path, setting: str, asked: argparse.Namespace) -> None:
    """One contender in this process; writes what it measured to `result.json`."""
    read, write = map(int, asked.turns.split(","))
    clock = Clock((read, write))
    parts = CONTENDERS[name](folder, SETTINGS[setting], asked, clock) or {}
    cpu, wall = np.median(np.array(clock.steps[asked.warmup :]), axis=0)
    found = {"cpu": float(cpu), "wall": float(wall), "parts": parts}
    found["peak_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if asked.device == "cuda":
        import torch

        found["peak_bytes"] = torch.cuda.max_memory_allocated()
    (folder / "result.json").write_text(json.dumps(found))


def measured(names: list[str], setting: str, asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What each contender measured, all of them side by side."""
    with tempfile.TemporaryDirectory(prefix="speed-") as temporary, contextlib.ExitStack() as stack:
        environment = os.environ | {"OMP_NUM_THREADS": str(asked.threads), "OMP_WAIT_POLICY": "passive"}
        started: dict[str, tuple[subprocess.Popen[bytes], int, int]] = {}
        for name in names:
            folder = Path(temporary) / name
            folder.mkdir()
            prepare(folder, SETTINGS[setting], asked)
            (theirs, begin), (ended, end) = os.pipe(), os.pipe()
            command = [sys.executable, __file__, *sys.argv[1:], "--alone", name, str(folder), setting,
                       "--turns", f"{theirs},{end}"]  # fmt: skip
            log = stack.enter_context(open(folder / "log", "wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, pass_fds=(theirs, end))
            os.close(theirs)
            os.close(end)
            stack.callback(process.kill)
            os.read(ended, 1)  # it has come to its first step, and waits; or it has ended
            started[name] = process, begin, ended
        waiting = list(started)
        while waiting:
            for name in list(waiting):
                _, begin, ended = started[name]
                with contextlib.suppress(BrokenPipeError):
                    os.write(begin, b".")
                if not os.read(ended, 1):
                    waiting.remove(name)
        found: dict[str, dict[str, Any]] = {}
        for name, (process, begin, ended) in started.items():
            os.close(begin)
            os.close(ended)
            folder = Path(temporary) / name
            if process.wait() or not (folder / "result.json").is_file():
                raise SystemExit(f"{name} in {setting} failed:\n{(folder / 'log').read_text(errors='replace')[-6000:]}")
            found[name] = json.loads((folder / "result.json").read_text())
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", default="small,wide,compiled,shakespeare", help=f"of {', '.join(SETTINGS)}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--nanogpt", type=Path, help="a clone of github.com/karpathy/nanoGPT")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--turns", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.nanogpt:
        asked.nanogpt = asked.nanogpt.absolute()
    if asked.alone:
        alone(asked.alone[0], Path(asked.alone[1]), asked.alone[2], asked)
        return
    kind = "cpu" if asked.device == "cpu" else "wall"
    rows: dict[str, Any] = {}
    for setting in asked.settings.split(","):
        peers = [peer for peer in PEERS[setting] if peer != "nanogpt" or asked.nanogpt]
        if len(peers) < len(PEERS[setting]):
            print("nanoGPT is left out: name a clone of it by --nanogpt")
        names = ["ours", *peers]
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for repeat in range(asked.repeats):
            turn = repeat % len(names)
            for name, figures in measured(names[turn:] + names[:turn], setting, asked).items():
                found[name].append(figures)
        tokens = SETTINGS[setting]["batch"] * SETTINGS[setting]["seq_len"]
        rows[setting] = found
        memory = statistics.median(each["peak_bytes"] for each in found["ours"])
        parts = {
            part: statistics.median(each["parts"][part] for each in found["ours"]) for part in found["ours"][0]["parts"]
        }
        speed = tokens / statistics.median(each[kind] for each in found["ours"])
        print(f"{setting}: ours {speed:,.0f} tokens a {kind} second, peak memory {memory / 1e6:,.0f} MB")
        print("  of our step: " + ", ".join(f"{part} {share:.2%}" for part, share in parts.items()))
        for peer in peers:
            ratios = [theirs[kind] / mine[kind] for theirs, mine in zip(found[peer], found["ours"], strict=True)]
            theirs = statistics.median(each["peak_bytes"] for each in found[peer])
            print(
                f"  {peer:<14}{statistics.median(ratios):6.3f}×  ({min(ratios):.3f}–{max(ratios):.3f})"
                f"  memory, theirs over ours {theirs / memory:.2f}"
            )
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
