"""Width transfer on character-level Shakespeare: the coordinate check, and the best learning rate at several widths.

    python benchmarks/train/mup.py --text input.txt [--widths 32,64,128,256]
        [--rates 1e-3,2e-3,4e-3,8e-3,1.6e-2,3.2e-2,6.4e-2,1.28e-1] [--steps 200] [--optimizer adamw] [--folder FOLDER]
        [--json FILE]

Everything is done with `train.mup`, whose base is the smallest width, and without. Heads are of one width.

The coordinate check (Yang et al., 2022, arXiv:2203.03466, appendix D.1) makes a few steps on one batch and shows how
far, on average, the values of each part's output have moved: with `mup` as far at every width.

The sweep trains every width at every learning rate, on the same samples, and shows the validation loss after the last
step. With transfer the best learning rate of the smallest width is the best of all, or nearly: `regret` is how far
above its own best loss each width is at it. With `--folder` what was trained is kept, and the command goes on from
there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.nn import functional as F

from headwater.core.config import validate
from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest
from headwater.core.run import read_run
from headwater.core.tokens import MegatronReader
from headwater.train import titan
from headwater.train.config import TrainConfig
from headwater.train.runner import train

HEAD, LENGTH, BATCH, LAYERS = 16, 64, 16, 2
CHECKED = 4
"""Steps of the coordinate check."""


def section(width: int, rate: float, base: int | None, options: argparse.Namespace) -> dict[str, Any]:
    """The section `train` of one training."""
    heads = width // HEAD
    made: dict[str, Any] = {
        "model": {"dim": width, "n_layers": LAYERS, "n_heads": heads, "n_kv_heads": heads, "ffn_dim": 2 * width},
        "seq_len": LENGTH, "global_batch": BATCH, "micro_batch": BATCH, "steps": options.steps, "device": "cpu",
        "optimizer": {"name": options.optimizer, "learning_rate": rate}, "threads": options.threads,
        "schedule": {"name": "linear", "warmup_steps": options.steps // 10},
        "guard": {"divergence": {"respond": "off"}},
        "validation": {"every": options.steps, "batches": 64},
        "checkpoint": {"every": options.steps, "keep_last": 1, "keep_best": 0, "background": False},
    }  # fmt: skip
    return made if base is None else {**made, "mup": {"base_width": base}}


def loss_of(folder: Path, data: Path, made: dict[str, Any]) -> float:
    """The validation loss after the last step of a training in `folder`."""
    for part in ("tokenizer", "tokens"):
        if not (folder / part).is_dir():
            shutil.copytree(data / part, folder / part)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump({"name": "mup", "seed": 1, "mixture": {"weights": {"shakespeare": 1}}, "train": made})
    )
    ended = train(recipe, folder)
    if ended.state == "terminated":
        raise SystemExit("a training was stopped; with --folder the same command goes on from it")
    found = read_run(RunLayout(folder).checkpoint(ended.steps)).validation_loss
    assert found is not None
    return found


def moved(data: RunLayout, made: TrainConfig) -> dict[str, float]:
    """Part of the model → how far a value of its output is from where it was some steps before, on average."""
    titan.start("cpu", 1, made.threads)
    from headwater.train.titan.model import model_spec
    from headwater.train.titan.optimizers import HeadwaterOptimizers, assignment_of

    torch.manual_seed(0)
    vocab_size = int(read_manifest(data.tokenizer).counters["vocab_size"])
    model: Any = model_spec(made.model.shape(vocab_size, LENGTH), "cpu", 1, made.mup).model.build()
    model.init_weights(buffer_device=None)
    optimizers = HeadwaterOptimizers(HeadwaterOptimizers.Config(_assignment=assignment_of(made)), model_parts=[model])
    read = MegatronReader(data.tokens("shakespeare") / "train").tokens[: BATCH * LENGTH + 1]
    tokens_BL = torch.tensor(read[:-1].astype("int64")).view(BATCH, LENGTH)
    labels_BL = torch.tensor(read[1:].astype("int64")).view(BATCH, LENGTH)
    positions_BL = torch.arange(LENGTH).expand(BATCH, LENGTH)
    outputs: dict[str, torch.Tensor] = {}
    parts = {"embedding": model.tok_embeddings, **{f"block {i}": layer for i, layer in model.layers.items()}}
    for name, part in {**parts, "logits": model}.items():
        part.register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output))

    def forward() -> torch.Tensor:
        masks = model.get_attention_masks(positions=positions_BL)
        return model(tokens_BL, positions=positions_BL, attention_masks=masks)

    forward()
    start = {name: output.detach() for name, output in outputs.items()}
    for _ in range(CHECKED):
        optimizers.zero_grad()
        F.cross_entropy(forward().flatten(0, 1), labels_BL.flatten()).backward()
        optimizers.step()
    forward()
    titan.stop()
    return {name: float((output.detach() - start[name]).abs().mean()) for name, output in outputs.items()}


def main() -> None:
    """Checks the coordinates and runs the sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--folder", type=Path, help="where the runs are kept; default: a temporary folder")
    parser.add_argument("--widths", default="32,64,128,256")
    parser.add_argument("--rates", default="1e-3,2e-3,4e-3,8e-3,1.6e-2,3.2e-2,6.4e-2,1.28e-1")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headwater-mup-") as temporary:
        figures = measure(options.folder or Path(temporary), options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both, with `mup` and without."""
    widths = [int(width) for width in options.widths.split(",")]
    rates = [float(rate) for rate in options.rates.split(",")]
    data = RunLayout(folder / "data")
    subprocess.run(
        [sys.executable, "-m", "headwater.core.cli", "line", "run", "shakespeare-char-cpu", "--run", str(data.root),
         "--until", "tokens", f"sources.shakespeare.uris=[{options.text.resolve()}]"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    kinds = {"mup": widths[0], "without": None}
    coordinates: dict[str, Any] = {}
    for kind, base in kinds.items():
        coordinates[kind] = {}
        for width in widths:
            made = validate(TrainConfig, section(width, rates[len(rates) // 2], base, options), "train")
            coordinates[kind][width] = moved(data, made)
        show_coordinates(kind, coordinates[kind])
    losses: dict[str, Any] = {}
    for kind, base in kinds.items():
        losses[kind] = {widths[0]: losses["mup"][widths[0]]} if base is None else {}  # at the base they are the same
        for width in widths[len(losses[kind]) :]:
            losses[kind][width] = [
                loss_of(folder / f"{kind}-{width}-{rate:g}", data.root, section(width, rate, base, options))
                for rate in rates
            ]
        show_losses(kind, losses[kind], rates)
    return {"coordinates": coordinates, "rates": rates, "losses": losses}


def show_coordinates(kind: str, found: dict[int, dict[str, float]]) -> None:
    """Prints how far each part has moved, by width, as a table in Markdown."""
    parts = next(iter(found.values()))
    print(f"\n| {kind}: width | " + " | ".join(parts) + " |\n|---|" + "---:|" * len(parts))
    for width, by_part in found.items():
        print(f"| {width} | " + " | ".join(f"{value:.3f}" for value in by_part.values()) + " |", flush=True)


def show_losses(kind: str, losses: dict[int, list[float]], rates: list[float]) -> None:
    """Prints the losses of one kind, by width and learning rate, in Markdown, the best of a width in bold."""
    print(f"\n| {kind}: width | " + " | ".join(f"{rate:g}" for rate in rates) + " | regret |")
    print("|---|" + "---:|" * (len(rates) + 1))
    first = next(iter(losses.values()))
    chosen = first.index(min(first))
    for width, row in losses.items():
        best = min(row)
        cells = [f"**{loss:.3f}**" if loss == best else f"{loss:.3f}" for loss in row]
        print(f"| {width} | " + " | ".join(cells) + f" | {row[chosen] - best:.3f} |", flush=True)


if __name__ == "__main__":
    main()
