"""The loss of a batch, document by document and sample by sample: no packing, masks written out, sums in float64.

Legend: n tokens of a document, V entries of the vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from headwater.train.matrix.plain_examples import IGNORE, parts
from headwater.train.objectives import config as kinds
from headwater.train.objectives.examples import Examples


@torch.no_grad()
def plain_loss(model: Any, batch: Examples, objective: kinds.Kinds) -> float:
    """The mean loss of a batch as the objective's paper has it.

    Args:
        model: A model on the CPU, of one process, in evaluation mode.
        batch: The batch.
        objective: The objective.
    """
    samples = [_sample(model, batch, row, objective) for row in range(len(batch.inputs_BL))]
    scored = [count for _, count, _ in samples]
    if isinstance(objective, kinds.CausalAndMasked):
        return float(np.mean([loss / count for loss, count, _ in samples]))
    loss = sum(loss for loss, _, _ in samples) / sum(scored)
    if isinstance(objective, kinds.ReplacedToken):
        detection = sum(count * beside for _, count, beside in samples) / sum(scored)
        return loss + objective.weight * detection
    if isinstance(objective, kinds.MultiToken):
        return loss + objective.weight * sum(beside for _, _, beside in samples) / sum(scored)
    return loss


def _sample(model: Any, batch: Examples, row: int, objective: kinds.Kinds) -> tuple[float, int, float]:
    """Summed loss, how many tokens are scored, and the objective's other part."""
    positions, total, count, beside = batch.positions_BL[row].tolist(), 0.0, 0, 0.0
    for start, stop in parts(positions):
        labels = batch.labels_BL[row, start:stop].tolist()
        found = _outputs(model, batch, row, start, stop)
        if isinstance(objective, kinds.ReplacedToken):
            logits_nV, put, scores = found
            for place, label in enumerate(labels):
                replaced = label != IGNORE and int(put[place]) != label
                chance = 1 / (1 + np.exp(-float(scores[place])))
                beside -= float(np.log(chance if replaced else 1 - chance)) / len(positions)
        else:
            logits_nV, *later = found if isinstance(found, list) else [found]
            for shift, logits in enumerate(later, 1):
                beside += sum(_loss(logits[at], labels[at + shift]) for at in range(len(labels) - shift)) / len(later)
        for place, label in enumerate(labels):
            if label != IGNORE:
                total, count = total + _loss(logits_nV[place], label), count + 1
    return total, count, beside


def _outputs(model: Any, batch: Examples, row: int, start: int, stop: int) -> Any:
    """The model's outputs for one document alone."""
    length = stop - start
    seen = [False] * length if batch.seen_BL is None else batch.seen_BL[row, start:stop].tolist()
    mask = [[key <= query or seen[key] for key in range(length)] for query in range(length)]
    more = {}
    if batch.chances_BL is not None:
        more["chances"] = torch.from_numpy(batch.chances_BL[row : row + 1, start:stop].copy())
    found = model(
        torch.from_numpy(batch.inputs_BL[row : row + 1, start:stop].copy()),
        positions=torch.arange(length).unsqueeze(0), attention_masks=torch.tensor(mask)[None, None], **more,
    )  # fmt: skip
    if isinstance(found, torch.Tensor):
        return found[0]
    return type(found)(part[0] for part in found)


def _loss(logits_V: torch.Tensor, label: int) -> float:
    values = logits_V.double().numpy()
    return float(np.log(np.exp(values - values.max()).sum()) + values.max() - values[label])
