"""A published curve: nanoGPT's character-level Shakespeare on our trainer and on nanoGPT itself, by one measure.

    python benchmarks/train/shakespeare.py --text input.txt --nanogpt FOLDER [--seeds 1337,1,2] [--json FILE]

Both train the CPU configuration of nanoGPT's README (published validation loss: 1.88), ours by the recipe
`shakespeare-char-cpu`. Then the model of nanoGPT (`--nanogpt` names a clone of github.com/karpathy/nanoGPT) is given
the last weights of each, and both are scored on its held-out text: on all of it, in consecutive windows (`all`), on the
20 × 12 random windows of nanoGPT's last estimate with that seed (`drawn`: what it publishes), and on `--draws` times as
many, drawn in the same way (`estimate`, and the standard deviation of one). `said` is what each printed itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from tokenizers import Tokenizer

from headwater.core.checkpoints import choose_checkpoint
from headwater.core.events import read_events
from headwater.core.layout import RunLayout

RECIPE = Path(__file__).parents[2] / "recipes" / "shakespeare-char-cpu.yaml"
CONTEXT, BATCH, ITERATIONS = 64, 12, 20
COLUMNS = ("said", "drawn", "all", "estimate", "sd")
OPTIONS = {
    "device": "cpu", "compile": False, "eval_iters": ITERATIONS, "log_interval": 100, "block_size": CONTEXT,
    "batch_size": BATCH, "n_layer": 4, "n_head": 4, "n_embd": 128, "max_iters": 2000, "lr_decay_iters": 2000,
    "dropout": 0.0, "always_save_checkpoint": True,
}  # fmt: skip
SEEDED = """
import runpy, sys, torch
seed, drawn, sys.argv = int(sys.argv[1]), [], sys.argv[1:]
torch.set_num_threads(1)
set_seed = torch.manual_seed
torch.manual_seed = lambda _: set_seed(seed)  # train.py has its seed as a constant
draw = torch.randint

def kept(high, size):
    drawn.append((high, draw(high, size)))
    return drawn[-1][1]

torch.randint = kept
sys.path.insert(0, ".")
runpy.run_path("train.py", run_name="__main__")
held_out = min(high for high, _ in drawn)
places = torch.cat([places for high, places in drawn if high == held_out][-20:])
torch.save(places, sys.argv[-1].removeprefix("--out_dir=") + "/drawn.pt")
"""
RENAMED = (  # ours → nanoGPT's, after the query, key and value projections were joined
    (r"tok_embeddings", "transformer.wte"), (r"pos_embeddings", "transformer.wpe"), (r"^norm", "transformer.ln_f"),
    (r"^layers", "transformer.h"), (r"attention_norm", "ln_1"), (r"ffn_norm", "ln_2"),
    (r"attention\.wo", "attn.c_proj"), (r"feed_forward\.w1", "mlp.c_fc"), (r"feed_forward\.w2", "mlp.c_proj"),
)  # fmt: skip


def main() -> None:
    """Trains both with each seed, scores them and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="nanoGPT's data/shakespeare_char/input.txt")
    parser.add_argument("--nanogpt", type=Path, required=True)
    parser.add_argument("--seeds", default="1337,1,2")
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print(f"{'':18}" + "".join(f"{column:>10}" for column in COLUMNS))
    with tempfile.TemporaryDirectory(prefix="shakespeare-") as temporary:
        folder = Path(temporary)
        subprocess.run(["git", "clone", "-q", options.nanogpt.resolve(), folder / "nanogpt"], check=True)
        text = folder / "nanogpt" / "data" / "shakespeare_char" / "input.txt"
        text.write_bytes(options.text.read_bytes())
        quietly(sys.executable, text.parent / "prepare.py", cwd=text.parent)
        sys.path.insert(0, str(folder / "nanogpt"))
        for seed in options.seeds.split(","):
            for name, contender in (("nanogpt", nanogpt), ("ours", ours)):
                said, model, ids = contender(folder, text, seed)
                drawn = torch.load(folder / f"nanogpt-{seed}" / "drawn.pt").numpy()
                row = {"contender": name, "seed": int(seed), "said": said, **scores(model, ids, drawn, options.draws)}
                rows.append(row)
                show(f"{name}, {seed}", row)
    for name in ("nanogpt", "ours"):
        of = [row for row in rows if row["contender"] == name]
        show(f"{name}, mean", {column: statistics.fmean(row[column] for row in of) for column in COLUMNS})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def show(name: str, row: dict[str, Any]) -> None:
    print(f"{name:18}" + "".join(f"{row[column]:10.3f}" for column in COLUMNS), flush=True)


def quietly(*command: Any, cwd: Path | None = None) -> str:
    """Runs a command with one thread; what it printed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[:3]} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def nanogpt(folder: Path, text: Path, seed: str) -> tuple[float, torch.nn.Module, np.ndarray]:
    """Trained by its own `train.py`."""
    arguments = [f"--{key}={value}" for key, value in OPTIONS.items()]
    out = folder / f"nanogpt-{seed}"
    said = quietly(
        sys.executable, "-c", SEEDED, seed, "config/train_shakespeare_char.py", *arguments, f"--out_dir={out}",
        cwd=folder / "nanogpt",
    )  # fmt: skip
    kept = torch.load(out / "ckpt.pt", weights_only=True)
    model = built(kept["model_args"]["vocab_size"], kept["model"])
    ids = np.fromfile(text.parent / "val.bin", dtype=np.uint16).astype(np.int64)
    return float(re.findall(r"val loss ([\d.]+)", said)[-1]), model, ids


def ours(folder: Path, text: Path, seed: str) -> tuple[float, torch.nn.Module, np.ndarray]:
    """Trained by the recipe."""
    run = RunLayout(folder / f"ours-{seed}")
    quietly(
        sys.executable, "-m", "headwater.core.cli", "line", "run", RECIPE, "--run", run.root, "--until", "train",
        f"sources.shakespeare.uris=[{text}]", f"seed={seed}", "train.threads=1",
    )  # fmt: skip
    events = read_events(run.root / "train" / "events.jsonl")
    said = [event["loss"] for event in events if event["kind"] == "validation"]
    tokenizer = Tokenizer.from_file(str(run.tokenizer / "tokenizer.json"))
    characters = text.read_text()
    ids = np.array(tokenizer.encode(characters[int(len(characters) * 0.9) :], add_special_tokens=False).ids)
    state = renamed(weights(choose_checkpoint(run, "last")))
    return said[-1], built(len(state["lm_head.weight"]), state), ids


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The tensors of the model in a checkpoint."""
    reader = dcp.FileSystemReader(str(checkpoint))
    stored = reader.read_metadata().state_dict_metadata
    names = [name for name in stored if name.startswith(("tok_", "pos_", "norm.", "layers.", "lm_head."))]
    state = {name: torch.empty(stored[name].size) for name in names}  # pyright: ignore
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # a single process is meant
        dcp.load(state, storage_reader=reader, no_dist=True)
    return state


def renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """By nanoGPT's names, its three projections in one."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if match := re.fullmatch(r"(layers\.\d+)\.attention\.qkv_linear\.w([qkv])\.weight", name):
            if match[2] == "q":
                parts = [state[name.replace(".wq.", f".w{part}.")] for part in "qkv"]
                found[f"{match[1].replace('layers', 'transformer.h')}.attn.c_attn.weight"] = torch.cat(parts)
            continue
        for pattern, theirs in RENAMED:
            name = re.sub(pattern, theirs, name)
        found[name] = tensor
    return found | {"transformer.wte.weight": found["lm_head.weight"]}


def built(vocab_size: int, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """nanoGPT's model with these weights."""
    from model import GPT, GPTConfig  # pyright: ignore

    shape = {"block_size": CONTEXT, "n_layer": 4, "n_head": 4, "n_embd": 128, "dropout": 0.0, "bias": False}
    with contextlib.redirect_stdout(None):  # it says how large it is
        model = GPT(GPTConfig(vocab_size=vocab_size, **shape))
    model.load_state_dict(state)
    return model.eval()


def scores(model: torch.nn.Module, ids: np.ndarray, drawn: np.ndarray, draws: int) -> dict[str, float]:
    """Mean losses: of the windows drawn, of all of the text, of nanoGPT's estimate."""
    draw = np.random.default_rng(0)
    whole = losses(model, ids, np.arange(0, len(ids) - CONTEXT, CONTEXT))
    places = draw.integers(0, len(ids) - CONTEXT, (draws, ITERATIONS * BATCH))
    each = [losses(model, ids, starts).mean() for starts in places]
    return {
        "drawn": float(losses(model, ids, drawn).mean()), "all": float(whole.mean()),
        "estimate": float(np.mean(each)), "sd": float(np.std(each, ddof=1)),
    }  # fmt: skip


@torch.inference_mode()
def losses(model: torch.nn.Module, ids: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Mean loss of the window at each start."""
    found: list[float] = []
    for part in np.array_split(starts, max(1, len(starts) // 120)):
        tokens = torch.from_numpy(np.stack([ids[start : start + CONTEXT + 1] for start in part]))
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        logits, _ = model(inputs, targets)
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
        found += loss.mean(1).tolist()
    return np.array(found)


if __name__ == "__main__":
    main()
