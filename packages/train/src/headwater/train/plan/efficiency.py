"""The few numbers of the speed model that no data sheet gives.

They were fitted on the calibration half of the published runs by `benchmarks/train/plan_calibration.py --fit`, which
prints this table; the other half was only looked at to report the error.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Efficiency:
    """What a GPU reaches of what its data sheet says.

    Attributes:
        product: Share of the peak that large products reach, by generation.
        product_fp8: The same of float8 products, of the float8 peak.
        power_limited: Factor on products of GPUs that are limited below their usual power ("h100-500w").
        attention: Share of the peak that fused attention reaches, of what a causal mask leaves to compute.
        flash1: Factor on it for the first version of fused attention.
        memory: Share of the memory's bandwidth that operations between products reach.
        passes: How much of the traffic that operations between products cause reaches memory, by kernels.
        score_passes: How often materialised scores are written and read, forward.
        launch_seconds: Time of the processor for each operation that it launches, by kernels.
        link, network: Share of the bandwidth of NVLink and of the network that collectives reach.
        hop_seconds: Latency of each hop of a ring between nodes.
        contention: Share of hidden communication's time by which it slows the products that hide it.
        tp_hidden: Share of tensor parallel communication that is hidden when it overlaps.
        straggling: Slowdown for each doubling of the number of nodes.
        context: Factor on the attention product under context parallelism, whose parts are smaller.
        experts: Factor on the products of routed experts.
        expert_hidden: Share of the exchange of tokens among experts that hand-written kernels hide.
    """

    product: dict[str, float] = field(
        default_factory=lambda: {"ampere": 0.801, "hopper": 0.77, "blackwell": 0.635, "cpu": 0.5}
    )
    product_fp8: dict[str, float] = field(default_factory=lambda: {"hopper": 0.77, "blackwell": 0.651})
    power_limited: float = 0.798
    attention: dict[str, float] = field(
        default_factory=lambda: {"ampere": 0.475, "hopper": 0.239, "blackwell": 0.406, "cpu": 0.25}
    )
    flash1: float = 0.775
    memory: float = 0.769
    passes: dict[str, float] = field(default_factory=lambda: {"eager": 1.12, "compiled": 0.545, "fused": 0.461})
    score_passes: float = 6.54
    launch_seconds: dict[str, float] = field(
        default_factory=lambda: {"eager": 8e-06, "compiled": 4e-06, "fused": 3.69e-06}
    )
    link: float = 0.68
    network: float = 0.544
    hop_seconds: float = 8.67e-06
    contention: float = 0.257
    tp_hidden: float = 0.9
    straggling: float = 0.00517
    context: float = 1
    experts: float = 0.699
    expert_hidden: float = 0.706


FITTED = Efficiency()
