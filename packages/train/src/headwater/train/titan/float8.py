"""Matrix products in float8: torchao's linear layers, by way of torchtitan's converter."""

from __future__ import annotations

from typing import Any

from headwater.core.errors import ConfigError
from headwater.train.torchao import require_torchao

LEFT_OUT = ["lm_head"]
"""Linear layers that keep bfloat16: what the head gives goes straight into the loss."""
IN_BLOCKS = ["attention", "feed_forward", "shared_experts"]
"""Where those are that MXFP8 replaces: not the head, and no router."""


def in_float8(model_config: Any, device: str, *, compiled: bool) -> Any:
    """The model with float8 in the place of its linear layers, scaled row by row (Micikevicius et al., 2022).

    Weights, gradients and checkpoints stay as they are; layers whose sides are no multiples of 16 stay too. On a CPU
    the products are emulated: the same rounding, at no gain.

    Args:
        model_config: torchtitan's, changed in place.
        device: "cpu" or "cuda".
        compiled: Whether the blocks are compiled; without, float8 on a GPU is slower than bfloat16.

    Raises:
        ConfigError: torchao is not there, or the device has no float8.
    """
    require_torchao("train.precision float8", "float8")
    from torchtitan.components.quantization import Float8LinearConverter

    if device == "cpu" and compiled:
        raise ConfigError("train.precision float8 is emulated on a CPU, and what is emulated cannot be compiled",
                          expected="train.compile: false, or a GPU")  # fmt: skip
    try:
        converter = Float8LinearConverter(Float8LinearConverter.Config(
            filter_fqns=LEFT_OUT, emulate=device == "cpu", model_compile_enabled=compiled,
        ))  # fmt: skip
    except ValueError as error:
        raise ConfigError(
            "this GPU has no float8", found=error, expected="NVIDIA SM89 (Ada, Hopper) or later"
        ) from error
    return converter.convert(model_config)


def in_mxfp8(model_config: Any, device: str, *, compiled: bool) -> Any:
    """The model with MXFP8 in the place of its linear layers: one scale for each 32 values of a row (Rouhani et al.,
    2023, arXiv:2310.10537). As `in_float8`, but for the emulation.

    Args:
        model_config: torchtitan's, changed in place.
        device: "cpu" or "cuda".
        compiled: Whether the blocks are compiled.

    Raises:
        ConfigError: torchao is not there, or the device has no MXFP8.
    """
    expected = "NVIDIA SM100 (Blackwell) or later; or train.precision float8"
    if device == "cpu":
        raise ConfigError("train.precision mxfp8 is for GPUs alone", found=device, expected=expected)
    require_torchao("train.precision mxfp8", "float8")
    from torchtitan.components.quantization import MXFP8LinearConverter

    try:
        converter = MXFP8LinearConverter(MXFP8LinearConverter.Config(fqns=IN_BLOCKS, model_compile_enabled=compiled))
    except (ValueError, ImportError) as error:
        raise ConfigError("this GPU or its torchao has no MXFP8", found=error, expected=expected) from error
    return converter.convert(model_config)
