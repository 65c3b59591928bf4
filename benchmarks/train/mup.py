"""Width transfer: the best learning rate at several widths, with `train.mup` and without.

    python benchmarks/train/mup.py [--widths 64,128,256] [--rates 2e-3,4e-3,8e-3,1.6e-2,3.2e-2] [--steps 150]
        [--optimizer adamw] [--json FILE]

Every width trains at every learning rate on the same samples of a made-up language, with heads of one width. Shown is
the validation loss after the last step, and the best learning rate of each width. With transfer, the best one of the
smallest width is the best of all, or nearly: `regret` is how far above its own best loss each width is at it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml

from headwater.core.layout import RunLayout
from headwater.core.run import read_run
from headwater.train import synthetic
from headwater.train.runner import train

VOCAB, HEAD = 128, 16


def recipe(width: int, rate: float, base: int | None, options: argparse.Namespace) -> dict[str, Any]:
    """The recipe of one training."""
    heads = width // HEAD
    section: dict[str, Any] = {
        "model": {"dim": width, "n_layers": 2, "n_heads": heads, "n_kv_heads": heads, "ffn_dim": 2 * width},
        "seq_len": 64, "global_batch": 16, "micro_batch": 16, "steps": options.steps, "device": "cpu",
        "optimizer": {"name": options.optimizer, "learning_rate": rate}, "threads": options.threads,
        "schedule": {"name": "linear", "warmup_steps": options.steps // 10},
        "guard": {"divergence": {"respond": "off"}},
        "validation": {"every": options.steps, "batches": 8},
        "checkpoint": {"every": options.steps, "keep_last": 1, "keep_best": 0, "background": False},
    }  # fmt: skip
    if base is not None:
        section["mup"] = {"base_width": base}
    return {"name": "mup", "seed": 1, "mixture": {"weights": {"code": 1, "web": 3}}, "train": section}


def loss_of(folder: Path, data: Path, value: dict[str, Any]) -> float:
    """The validation loss after the last step of a training in `folder`."""
    folder.mkdir(parents=True)
    for name in ("tokenizer", "tokens"):
        (folder / name).symlink_to((data / name).resolve(), target_is_directory=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(value))
    run = folder / "run"
    run.mkdir()
    for name in ("tokenizer", "tokens"):
        (folder / name).rename(run / name)
    steps = train(folder / "recipe.yaml", run).steps
    found = read_run(RunLayout(run).checkpoint(steps)).validation_loss
    assert found is not None
    return found


def main() -> None:
    """Runs the sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="64,128,256")
    parser.add_argument("--rates", default="2e-3,4e-3,8e-3,1.6e-2,3.2e-2")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    widths = [int(width) for width in options.widths.split(",")]
    rates = [float(rate) for rate in options.rates.split(",")]
    found: dict[str, dict[int, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="headwater-mup-") as work:
        data = RunLayout(Path(work) / "data")
        synthetic.make_tokenizer(data, VOCAB)
        for seed, source in enumerate(("code", "web")):
            synthetic.make_tokens(data, source, 2000, vocab_size=VOCAB, seed=seed)
        for kind, base in (("mup", widths[0]), ("without", None)):
            found[kind] = {
                width: [
                    loss_of(Path(work) / f"{kind}-{width}-{rate}", data.root, recipe(width, rate, base, options))
                    for rate in rates
                ]
                for width in widths
            }
            show(kind, found[kind], rates)
    if options.json:
        options.json.write_text(json.dumps({"rates": rates, "losses": found}, indent=1))


def show(kind: str, losses: dict[int, list[float]], rates: list[float]) -> None:
    """Prints the table of one kind."""
    print(f"{kind:>8} " + "".join(f"{rate:>9.2g}" for rate in rates) + "     best   regret")
    first = next(iter(losses.values()))
    chosen = first.index(min(first))
    for width, row in losses.items():
        best = row.index(min(row))
        line = "".join(f"{loss:>9.3f}" for loss in row)
        print(f"{width:>8} {line}{rates[best]:>9.2g}{row[chosen] - row[best]:>9.3f}", flush=True)


if __name__ == "__main__":
    main()
