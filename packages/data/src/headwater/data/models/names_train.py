"""Training a model that finds names: a pretrained encoder, fine-tuned to label the words of sentences (Devlin et al.,
NAACL 2019, section 5.3): the first token of a word stands for it, B-PER begins a name, I-PER goes on with it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from headwater.core.config import Section
from headwater.core.console import progress
from headwater.core.errors import ConfigError
from headwater.core.storage import storage_errors
from headwater.data.models import card, embeddings, names
from headwater.data.models.labelled import Sentence, Sentences

KIND = "names"
LEAST_SENTENCES = 20
LABELS = ("O", "B-PER", "I-PER")
_IGNORED = -100  # torch's cross entropy passes these over
_WARM_UP_RATIO = 0.1
_SCORES = (0.3, 0.5, 0.7, 0.9)

Example = tuple[list[int], list[int]]  # ids, labels


class NamesOptions(Section):
    """How the model is trained. The defaults are those of BERT's paper, for more epochs of less data.

    Attributes:
        base: Folder of the encoder; none: the packaged all-MiniLM-L6-v2, which does not tell capitals.
        epochs: Passes over the sentences.
        batch_size: Sentences a step.
        learning_rate: At its highest; it rises over a tenth of the steps and falls to zero.
        seed: Of the new layer, the order and the dropout.
        held_out_ratio: Share of sentences that are held out to measure it, by their hash.
    """

    base: str | None = None
    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 1e-4
    seed: int = 1
    held_out_ratio: float = 0.1


def train(out: Path, sentences: Sentences, options: NamesOptions) -> dict[str, Any]:
    """Trains, measures, and writes the model and its card.

    Args:
        out: The model's folder; one that is there is replaced.
        sentences: With the names marked.
        options: How.

    Returns:
        The model card.

    Raises:
        ConfigError: There is no base model, or it cannot be loaded.
    """
    base = Path(options.base) if options.base else embeddings.folder_of(None)
    temporary = out.with_name(f".{out.name}.tmp")
    with storage_errors("write", out):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            _fit(base, temporary, sentences.train, options)
            if out.is_dir():
                shutil.rmtree(out)
            temporary.replace(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    data = {"sentences": len(sentences.train), "names": _count(sentences.train), "copies": sentences.copies}
    shown = {**options.model_dump(exclude={"base"}), "base": f"sha256:{card.sha256_of(base)}"}
    return card.write(out, KIND, shown, data, quality(names.load(str(out)), sentences.held_out))


def quality(model: names.NameModel, sentences: list[Sentence]) -> dict[str, Any]:
    """What a model finds: a name counts as found when one span covers it, a span as false when it touches no name."""
    rows: list[dict[str, float]] = []
    for score in _SCORES:
        found = false = 0
        for sentence in sentences:
            spans = model.find(sentence.text, score)
            found += sum(any(a <= start and stop <= b for a, b in spans) for start, stop in sentence.names)
            false += sum(not any(a < stop and start < b for start, stop in sentence.names) for a, b in spans)
        recall, precision = found / max(_count(sentences), 1), found / max(found + false, 1)
        rows.append({"min_score": score, "recall": round(recall, 4), "precision": round(precision, 4)})
    return {"sentences": len(sentences), "names": _count(sentences), "thresholds": rows}


def _count(sentences: Iterable[Sentence]) -> int:
    return sum(len(sentence.names) for sentence in sentences)


def _fit(base: Path, out: Path, sentences: list[Sentence], options: NamesOptions) -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForTokenClassification, set_seed
    from transformers.utils import logging

    logging.disable_progress_bar()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the sums of several threads differ in their last bits
    set_seed(options.seed)
    try:
        tokenizer: Any = Tokenizer.from_file(str(base / "tokenizer.json"))
        model: Any = AutoModelForTokenClassification.from_pretrained(
            base, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32,
            id2label=dict(enumerate(LABELS)), label2id={label: number for number, label in enumerate(LABELS)},
        )  # fmt: skip
    except Exception as error:  # each library has its own for a file that is not what it should be
        raise ConfigError(
            f"the base model in {base} cannot be loaded: {type(error).__name__}: {error}",
            expected="an encoder with config.json, tokenizer.json and model.safetensors",
        ) from error
    try:
        tokenizer.no_padding()
        tokenizer.enable_truncation(256)
        examples = [_example(tokenizer, sentence) for sentence in sentences]
        _run(model.train(), examples, options)
        model.save_pretrained(out)
        tokenizer.no_truncation()
        tokenizer.save(str(out / "tokenizer.json"))
    finally:
        torch.set_num_threads(threads)


def _example(tokenizer: Any, sentence: Sentence) -> Example:
    encoding = tokenizer.encode(sentence.text)
    labels = [_IGNORED] * len(encoding.ids)
    last: tuple[int, int] | None = None
    for word in names.words_of(sentence.text, encoding.offsets):
        name = next((each for each in sentence.names if each[0] < word.stop and word.start < each[1]), None)
        labels[word.token] = 0 if name is None else 2 if name == last else 1
        last = name
    return encoding.ids, labels


def _batches(examples: list[Example], options: NamesOptions) -> Iterator[list[Example]]:
    draw = np.random.default_rng(options.seed)
    for _ in range(options.epochs):
        order = draw.permutation(len(examples)).tolist()
        for start in range(0, len(order), options.batch_size):
            yield [examples[place] for place in order[start : start + options.batch_size]]


def _run(model: Any, examples: list[Example], options: NamesOptions) -> None:
    import torch
    from transformers import get_linear_schedule_with_warmup

    steps = options.epochs * -(-len(examples) // options.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.01)
    schedule = get_linear_schedule_with_warmup(optimizer, int(_WARM_UP_RATIO * steps), steps)
    with progress(steps, "training", unit="steps") as shown:
        for batch in _batches(examples, options):
            width = max(len(ids) for ids, _ in batch)
            ids_BT = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch])
            mask_BT = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in batch])
            labels_BT = torch.tensor([labels + [_IGNORED] * (width - len(labels)) for _, labels in batch])
            model(input_ids=ids_BT, attention_mask=mask_BT, labels=labels_BT).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            shown.advance(1)
