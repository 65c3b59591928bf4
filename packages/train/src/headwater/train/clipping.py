"""The recipe's `train.adaptive_clip` section: what gradients are clipped to besides the fixed `clip_norm`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headwater.core.config import Section, Whole

Mean = Annotated[float, Field(gt=0, lt=1)]


class ZClip(Section):
    """ZClip (Kumar et al., 2025, arXiv:2504.02507): a gradient norm that lies far above its running mean, in running
    standard deviations, is brought nearer to it.

    Attributes:
        decay: Of the running mean and variance.
        threshold: Standard deviations above which the norm is clipped.
        warmup_steps: Steps whose norms the first mean and variance come from; nothing is clipped by it in them.
    """

    name: Literal["zclip"]
    decay: Mean = 0.97
    threshold: float = Field(default=2.5, gt=0, le=100)
    warmup_steps: Whole = Field(default=25, ge=2)


class AdaGC(Section):
    """AdaGC (Wang et al., 2025, arXiv:2502.11034): each parameter's gradient has a limit of its own, its running norm.

    Attributes:
        decay: Of the running norms.
        ratio: How much of its running norm a gradient's norm may be.
        warmup_steps: Steps in which `clip_norm` alone clips, and the least norm of each parameter is found.
    """

    name: Literal["adagc"]
    decay: Mean = 0.98
    ratio: float = Field(default=1.05, ge=1, le=100)
    warmup_steps: Whole = Field(default=100, ge=1)


AdaptiveClip = Annotated[ZClip | AdaGC, Field(discriminator="name")]
