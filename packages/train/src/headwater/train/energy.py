"""What the hardware says of itself: utilisation and energy of the GPU (NVML), energy of the CPUs (RAPL).

Both are optional: without nvidia-ml-py, without a GPU that tells, or where the kernel lets nobody read RAPL (root only,
as a rule), there is no figure.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")


class GpuMeter:
    """Utilisation and energy of one GPU.

    Args:
        uuid: The GPU's, as torch gives it; none where there is no GPU.
    """

    def __init__(self, uuid: str | None) -> None:
        self._nvml: Any = None
        self._since = 0  # NVML's time of the last sample that was read
        if uuid is None:
            return
        try:
            import pynvml
        except ImportError:
            return
        with suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
            self._nvml = pynvml
            self._began = self._joules()
            self.utilization()

    def utilization(self) -> float | None:
        """Share of the time since the last call in which the GPU worked on anything, waiting for others included."""
        if self._nvml is None:
            return None
        try:
            _, samples = self._nvml.nvmlDeviceGetSamples(
                self._handle, self._nvml.NVML_GPU_UTILIZATION_SAMPLES, self._since
            )
        except self._nvml.NVMLError:
            return None
        fresh = [sample for sample in samples if sample.timeStamp > self._since]
        if not fresh:
            return None
        self._since = max(sample.timeStamp for sample in fresh)
        return sum(sample.sampleValue.uiVal for sample in fresh) / len(fresh) / 100

    def joules(self) -> float | None:
        """Energy that the GPU took since this meter was made."""
        now = self._joules() if self._nvml is not None else None
        return None if now is None or self._began is None else now - self._began

    def _joules(self) -> float | None:
        try:
            return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1000
        except self._nvml.NVMLError:
            return None


class CpuMeter:
    """Energy of all CPU packages of this machine, by the kernel's powercap interface.

    Args:
        folder: Where the kernel shows it.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._last: dict[Path, int] = {}
        self._total = 0
        for package in sorted(folder.glob("intel-rapl:[0-9]*")):
            if package.name.count(":") == 1 and (found := _number(package / "energy_uj")) is not None:
                self._last[package] = found

    def joules(self) -> float | None:
        """Energy that they took since this meter was made; none where nothing can be read."""
        for package, last in self._last.items():
            now = _number(package / "energy_uj")
            if now is None:
                return None
            # The counter begins anew at its end.
            self._total += now - last if now >= last else now + (_number(package / "max_energy_range_uj") or 0) - last
            self._last[package] = now
        return self._total / 1e6 if self._last else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
