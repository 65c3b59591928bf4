"""The shape of a model from transformers' config.json; whatever training would compute otherwise is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from headwater.core.errors import TrainError
from headwater.core.huggingface import FAMILIES
from headwater.core.run import ModelShape

_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama3": {"rope_theta": 10_000.0, "rms_norm_eps": 1e-6, "max_position_embeddings": 2048},
    "qwen3": {
        "rope_theta": 10_000.0, "rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "head_dim": 128,
        "num_key_value_heads": 32,
    },
}  # fmt: skip
"""What transformers takes for a key that config.json leaves out."""

_REQUIRED: dict[str, Any] = {
    "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "use_sliding_window": False,
    "quantization_config": None, "partial_rotary_factor": 1.0, "logit_scale": None,
}  # fmt: skip
"""Keys that have to have this value (or be left out): training has nothing else."""


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a model's config.json.

    Raises:
        TrainError: There is none, or it is no JSON object.
    """
    path = folder / "config.json"
    try:
        value: Any = json.loads(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise TrainError(f"{folder} is no Hugging Face model: it has no config.json") from error
    except ValueError as error:
        raise TrainError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise TrainError(f"{path} is damaged", found=type(value).__name__, expected="a JSON object")
    return cast("dict[str, Any]", value)


def shape_of(config: Mapping[str, Any]) -> ModelShape:
    """The shape of the model that a config.json describes.

    Raises:
        TrainError: It is of a family that training does not have, or has a feature that training does not have.
    """
    family = _family(config)
    for key, value in _REQUIRED.items():
        if config.get(key, value) != value:
            raise TrainError(f"config.json has a feature that training does not have: {key}", found=config[key],
                             expected=value)  # fmt: skip
    known = {**_DEFAULTS[family], **{key: value for key, value in config.items() if value is not None}}
    rope = _rope(known)
    try:
        return ModelShape.model_validate({
            "family": family, "dim": known["hidden_size"], "n_layers": known["num_hidden_layers"],
            "n_heads": known["num_attention_heads"],
            "n_kv_heads": known.get("num_key_value_heads", known["num_attention_heads"]),
            "head_dim": _head_dim(known), "ffn_dim": known["intermediate_size"], "vocab_size": known["vocab_size"],
            "rope_theta": rope.get("rope_theta", known["rope_theta"]), "rope_scaling": _scaling(rope, known),
            "norm_eps": known["rms_norm_eps"], "max_seq_len": known["max_position_embeddings"],
            "tied": known.get("tie_word_embeddings", False),
        })  # fmt: skip
    except KeyError as error:
        raise TrainError(f"config.json lacks the key {error.args[0]}") from error
    except TypeError as error:  # text where a number is reckoned with
        raise TrainError(f"config.json is not valid: {error}", found=rope or None) from error
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise TrainError(f"config.json is not valid: {where}: {detail['msg']}", found=detail.get("input")) from error


def _family(config: Mapping[str, Any]) -> str:
    named, given = config.get("model_type"), config.get("architectures") or []
    architectures: list[Any] = cast("list[Any]", given) if isinstance(given, list) else [given]
    for name, family in FAMILIES.items():
        if named == family.model_type and (not architectures or architectures == [family.architecture]):
            return name
    raise TrainError(
        "the model is of a family that training cannot start from",
        found=f"{named} ({', '.join(map(str, architectures)) or 'no architecture'})",
        expected=" or ".join(f"{family.model_type} ({family.architecture})" for family in FAMILIES.values()),
    )


def _head_dim(known: Mapping[str, Any]) -> int | None:
    """None where it is what training takes by itself."""
    given = known.get("head_dim")
    return None if given is None or given * known["num_attention_heads"] == known["hidden_size"] else given


def _rope(known: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_parameters` of transformers 5, or `rope_scaling` of those before; empty when there is neither."""
    value: Any = known.get("rope_parameters") or known.get("rope_scaling") or {}
    if not isinstance(value, dict):
        raise TrainError("config.json is not valid: its rotary embedding is no mapping", found=value)
    rope = cast("dict[str, Any]", value)
    if any(isinstance(each, dict) for each in rope.values()):
        raise TrainError("config.json gives kinds of layers a rotary embedding each, and training has one for all",
                         found=rope)  # fmt: skip
    return rope


def _scaling(rope: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    plain = rope.get("partial_rotary_factor", 1.0) == 1.0 and rope.get("truncate", True) is True
    if kind == "default" and plain:
        return None
    if kind not in ("linear", "yarn", "llama3") or not plain:
        raise TrainError(
            "the model's rotary embedding is stretched in a way that training does not have", found=dict(rope),
            expected="none, linear, yarn or llama3, of whole heads",
        )  # fmt: skip
    if kind == "linear":
        return {"kind": kind, "factor": rope["factor"]}
    first = known.get("original_max_position_embeddings") or rope.get("original_max_position_embeddings")
    first = first or known["max_position_embeddings"]
    if kind == "yarn":
        factor = rope.get("factor") or known["max_position_embeddings"] / first
        return {
            "kind": kind, "factor": factor, "original_max_seq_len": first, "beta_fast": rope.get("beta_fast") or 32.0,
            "beta_slow": rope.get("beta_slow") or 1.0, "attention_factor": _attention_factor(rope, factor),
        }  # fmt: skip
    return {
        "kind": kind, "factor": rope["factor"], "low_freq_factor": rope["low_freq_factor"],
        "high_freq_factor": rope["high_freq_factor"], "original_max_seq_len": first,
    }  # fmt: skip


def _attention_factor(rope: Mapping[str, Any], factor: float) -> float | None:
    """YaRN's, as transformers takes it; none where it is the paper's."""
    given, scale, of_all = (rope.get(key) for key in ("attention_factor", "mscale", "mscale_all_dim"))
    if given is not None:
        return given
    if not (scale and of_all) or factor <= 1:
        return None
    return (0.1 * scale * math.log(factor) + 1.0) / (0.1 * of_all * math.log(factor) + 1.0)
