"""A longer context: needles found by a small model before and after its rotary embedding is stretched.

    python benchmarks/train/long_context.py [--folder FOLDER] [--steps 4000] [--extension-steps 60] [--json FILE]

A model is trained on documents of L tokens. Then its context is made four times as long in each way that
`train.model.rope_scaling` knows, and in none: once by changing the configuration alone, once by training on
documents of 4 L tokens from the same weights (`train.init_from`). Each model is asked for the needles of
`headwater_needle` at L, 2 L and 4 L tokens. A needle counts as found when greedy decoding gives all of its digits.

A model of this size learns to look things up only if its training text makes it: the documents are synthetic, made of
the sentences of `headwater_needle` with one fact, said once or over and over, and a question about it at the end, in
the form of the task. Places are those of the task; numbers and texts are drawn anew. The tokenizer has one entry a word
and one for each two digits. So the figures compare ways to stretch a context, and say nothing of models of other sizes.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from headwater.core.checkpoints import choose_checkpoint
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter
from headwater.core.run import ModelShape, read_run
from headwater.core.tokens import END_OF_TEXT
from headwater.eval.checkpoint import read_weights, to_transformers
from headwater.eval.decoder import Decoder
from headwater.eval.tasks.needle import PLACES, fact, items, question_about, sentence
from headwater.train.runner import train
from headwater.train.synthetic import write_tokens

SHORT, FACTOR = 128, 4
LONG = SHORT * FACTOR
NEEDLES = 20
"""Different ones at each length, each at six depths: four times the task's own, so that ten points are no chance."""
KINDS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "linear": {"kind": "linear", "factor": FACTOR},
    "ntk": {"kind": "ntk", "factor": FACTOR},
    "yarn": {"kind": "yarn", "factor": FACTOR, "original_max_seq_len": SHORT},
}
MODEL = {"dim": 96, "n_layers": 2, "n_heads": 3, "n_kv_heads": 3, "ffn_dim": 192, "tied": True}
RECIPE: dict[str, Any] = {
    "model": MODEL, "seq_len": SHORT, "global_batch": 16, "micro_batch": 16, "device": "cpu", "threads": 1,
    "optimizer": {"learning_rate": 4e-3, "weight_decay": 0.01}, "schedule": {"warmup_steps": 30, "decay_ratio": 0.3},
    "checkpoint": {"every": 10_000, "keep_last": 1, "keep_best": 0}, "validation": {"every": 0},
}  # fmt: skip


def main() -> None:
    """Trains, evaluates and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the runs are made; default: a temporary folder")
    parser.add_argument("--steps", type=int, default=4000, help="of the training at L tokens")
    parser.add_argument("--extension-steps", type=int, default=60, help="of each training at 4 L tokens")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        figures = measure(folder, arguments.steps, arguments.extension_steps)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(folder: Path, steps: int, extension_steps: int) -> dict[str, Any]:
    """Needles found, by model and length."""
    began = time.process_time()
    base = RunLayout(folder / "base")
    tokenizer = make_data(base, "short", documents=16 * steps * 8 // 7 + 64, length=SHORT)
    if train(_recipe(folder, "base", {"short": 1.0}, steps=steps), base.root).state == "terminated":
        raise SystemExit("the first training was stopped")
    start = choose_checkpoint(base, "last")
    figures: dict[str, Any] = {"cpu_seconds": {"trained": time.process_time() - began}, "found": {}}
    print(f"{'':24}{''.join(f'{length:>10,}' for length in (SHORT, 2 * SHORT, LONG))}", flush=True)
    for name, scaling in KINDS.items():
        shape = _stretched(read_run(start).model, scaling)
        _print(figures, f"{name}, not trained", found(start, shape, tokenizer))
    for name, scaling in KINDS.items():
        run = RunLayout(folder / name)
        make_data(run, "long", documents=8 * extension_steps * 8 // 7 + 64, length=LONG)
        path = _recipe(
            folder, name, {"long": 1.0}, steps=extension_steps, seq_len=LONG, global_batch=8, micro_batch=8,
            init_from=str(start), optimizer={"learning_rate": 1e-3, "weight_decay": 0.01},
            schedule={"warmup_steps": 10, "decay_ratio": 0.5}, model={**MODEL, "rope_scaling": scaling},
        )  # fmt: skip
        train(path, run.root)
        end = choose_checkpoint(run, "last")
        _print(figures, f"{name}, {extension_steps} steps", found(end, read_run(end).model, tokenizer))
    figures["cpu_seconds"]["all"] = time.process_time() - began
    print({name: round(seconds) for name, seconds in figures["cpu_seconds"].items()}, "CPU seconds")
    return figures


def _print(figures: dict[str, Any], name: str, shares: dict[int, float]) -> None:
    figures["found"][name] = shares
    print(f"{name:24}{''.join(f'{share:>10.0%}' for share in shares.values())}", flush=True)


def _recipe(folder: Path, name: str, weights: dict[str, float], **changes: Any) -> Path:
    path = folder / f"{name}.yaml"
    section = {**RECIPE, **changes}
    path.write_text(yaml.safe_dump({"name": name, "seed": 1, "mixture": {"weights": weights}, "train": section}))
    return path


def _stretched(shape: ModelShape, scaling: dict[str, Any] | None) -> ModelShape:
    return ModelShape.model_validate({**shape.model_dump(), "rope_scaling": scaling, "max_seq_len": LONG})


def make_data(run: RunLayout, source: str, *, documents: int, length: int) -> Tokenizer:
    """Tokenizer and documents of one length, end included."""
    tokenizer = _tokenizer(run)
    texts = ((f"http://example.test/{source}/{i}", _document(tokenizer, length - 1, i)) for i in range(documents))
    write_tokens(run, source, texts, vocab_size=tokenizer.get_vocab_size())
    return tokenizer


def _tokenizer(run: RunLayout) -> Tokenizer:
    """An entry a word and a mark, and one for every two digits or a last one."""
    splits = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"\d\d?|[^\w\s]"), "isolated")]
    draw = random.Random(0)
    texts = [sentence(draw) for _ in range(2000)] + [fact(place, "") + question_about(place) for place in PLACES]
    cut = pre_tokenizers.Sequence(splits)
    words = sorted({piece for text in texts for piece, _ in cut.pre_tokenize_str(text)})
    numbers = [f"{i:02}" for i in range(100)] + [str(i) for i in range(10)]
    vocab = {piece: i for i, piece in enumerate([*words, *numbers, "?unknown", END_OF_TEXT])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="?unknown"))
    tokenizer.pre_tokenizer = cut
    tokenizer.add_special_tokens([END_OF_TEXT])
    writer = ArtifactWriter(run.tokenizer, kind="tokenizer", name="words", producer="benchmark", config={}, parents=[])
    writer.begin()
    tokenizer.save(str(run.tokenizer / "tokenizer.json"))
    writer.commit({"vocab_size": len(vocab)})
    return tokenizer


def _document(tokenizer: Tokenizer, length: int, number: int) -> list[int]:
    """A fact among sentences, and a question about it; the beginning is cut to the length."""
    draw = random.Random(f"{length} {number}")
    place, secret = draw.choice(PLACES), str(draw.randrange(10_000, 100_000))
    known = [tokenizer.encode(fact(place, secret)).ids]
    end = tokenizer.encode(f"{question_about(place)} {secret}.").ids
    # Two of three documents say little else than the fact: that teaches a model to copy, far sooner than questions do.
    known *= draw.choice((1, *[(length - len(end)) // len(known[0]) - 1] * 2))
    room = length - len(end) - sum(map(len, known))
    parts: list[list[int]] = []
    while sum(map(len, parts)) < room:
        parts.append(tokenizer.encode(sentence(draw)).ids)
    for each in known:
        parts.insert(draw.randint(0, len(parts)), each)
    text = [token for part in parts for token in part] + end
    return text[len(text) - length :]


def found(checkpoint: Path, shape: ModelShape, tokenizer: Tokenizer) -> dict[int, float]:
    """Length in tokens → share of the needles that greedy decoding gives."""
    model = Decoder(shape, to_transformers(read_weights(checkpoint, shape), shape))
    shares: dict[int, float] = {}
    for length in (SHORT, 2 * SHORT, LONG):
        prompts = items([length], lambda text: len(tokenizer.encode(text).ids), NEEDLES)
        right = [_answers(model, tokenizer, item["input"], item["target"]) for item in prompts]
        shares[length] = sum(right) / len(right)
    return shares


def _answers(model: Any, tokenizer: Tokenizer, prompt: str, target: str) -> bool:
    """Whether each token of the answer is the likeliest after those before it, which is what greedy decoding gives."""
    given, wanted = tokenizer.encode(prompt).ids, tokenizer.encode(target).ids
    with torch.inference_mode():
        logits_LV = model(torch.tensor([given + wanted[:-1]])).logits[0, len(given) - 1 :]
    return logits_LV.argmax(-1).tolist() == wanted


if __name__ == "__main__":
    main()
