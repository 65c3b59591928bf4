"""What a cluster's exporters would tell, where there is no cluster: names and labels are theirs, values made up.

DCGM exporter (etc/default-counters.csv, etc/dcp-metrics-included.csv), kube-state-metrics (docs/metrics), and of
node_exporter what a machine without InfiniBand lacks. Values change with time, so that curves are curves. A training on
GPUs can be had too: the series of the table that a training on CPUs does not set.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from headwater.core.metrics import (
    TRAIN_DEVICE_MEMORY_LIMIT,
    TRAIN_ENERGY,
    TRAIN_GPU_UTILIZATION,
    TRAIN_MFU,
    TRAIN_PEAK_MEMORY,
)

HOSTS = ("gpu-0", "gpu-1")
GPUS = 4
SPACE = 'namespace="research"'


def exposition(now: float) -> str:
    """Prometheus's text format."""
    lines: list[str] = []
    for node, host in enumerate(HOSTS):
        for gpu in range(GPUS):
            labels = f'gpu="{gpu}",UUID="GPU-{node}{gpu}",device="nvidia{gpu}",modelName="H100",Hostname="{host}"'
            busy = 88 + 8 * math.sin(now / 40 + gpu) - (30 if (node, gpu) == (1, 2) else 0)
            values = {
                "DCGM_FI_DEV_GPU_UTIL": busy, "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": busy / 220,
                "DCGM_FI_DEV_FB_USED": 61_000 + 900 * gpu, "DCGM_FI_DEV_FB_FREE": 19_000 - 900 * gpu,
                "DCGM_FI_DEV_POWER_USAGE": 120 + 5.5 * busy, "DCGM_FI_DEV_GPU_TEMP": 40 + 0.3 * busy,
                "DCGM_FI_DEV_SM_CLOCK": 1980 - (400 if (node, gpu) == (1, 2) else 0), "DCGM_FI_DEV_XID_ERRORS": 0,
            }  # fmt: skip
            lines += [f"{name}{{{labels}}} {value:.3f}" for name, value in values.items()]
        for way in ("received", "transmitted"):
            name = f"node_infiniband_port_data_{way}_bytes_total"
            lines.append(
                f'{name}{{device="mlx5_0",port="1",instance="{host}"}} {(now % 1e6) * 2.1e10 / (node + 1):.0f}'
            )
        lines.append(f'kube_node_status_allocatable{{node="{host}",resource="nvidia_com_gpu",unit="integer"}} {GPUS}')
        lines.append(f'kube_node_status_condition{{node="{host}",condition="Ready",status="true"}} 1')
        lines.append(f'kube_node_status_condition{{node="{host}",condition="Ready",status="false"}} 0')
        pod = f'{SPACE},pod="train-{node}",uid="{node}"'
        lines.append(f"kube_pod_info{{{pod}}} 1")
        lines.append(f'kube_pod_container_resource_requests{{{pod},node="{host}",container="train",'
                     f'resource="nvidia_com_gpu",unit="integer"}} {GPUS if node else 2}')  # fmt: skip
        lines.append(f'kube_pod_container_status_restarts_total{{{pod},container="train"}} {int(now / 5) % 1000}')
        for phase in ("Pending", "Running", "Succeeded", "Failed", "Unknown"):
            lines.append(f'kube_pod_status_phase{{{pod},phase="{phase}"}} {int(phase == "Running")}')
        lines.append(f'kube_pod_container_status_last_terminated_reason{{{pod},container="train",'
                     f'reason="OOMKilled"}} {node}')  # fmt: skip
        lines.append(f'kube_pod_status_reason{{{pod},reason="Evicted"}} {1 - node}')
    waiting = f'{SPACE},pod="train-2",uid="2"'
    lines.append(f"kube_pod_status_unschedulable{{{waiting}}} 1")
    lines.append(
        f'kube_pod_container_status_waiting_reason{{{waiting},container="train",reason="ContainerCreating"}} 1'
    )
    job = f'{SPACE},job_name="train"'
    lines += [f"kube_job_status_active{{{job}}} 2", f"kube_job_status_succeeded{{{job}}} 1"]
    lines.append(f'kube_job_status_failed{{{job},reason="BackoffLimitExceeded"}} 0')
    return "\n".join(lines) + "\n"


def training_on_gpus(now: float) -> str:
    """What rank 0 of a training on eight H100 would set besides what a training on CPUs does, by the table's names."""
    use = 0.41 + 0.02 * math.sin(now / 30)
    values = {
        TRAIN_MFU.name: use,
        TRAIN_PEAK_MEMORY.name: 6.2e10 + 4e9 * math.sin(now / 50),
        TRAIN_DEVICE_MEMORY_LIMIT.name: 8.5e10,
        TRAIN_GPU_UTILIZATION.series(of="mean"): 0.95 + 0.03 * math.sin(now / 20),
        TRAIN_GPU_UTILIZATION.series(of="lowest"): 0.84 + 0.08 * math.sin(now / 20),
        TRAIN_ENERGY.series(device="gpu"): (now % 1e6) * 8 * 620,
        TRAIN_ENERGY.series(device="cpu"): (now % 1e6) * 380,
    }
    return "".join(f"{series} {value:.10g}\n" for series, value in values.items())


@contextmanager
def serving(*, training: bool = False) -> Iterator[str]:
    """Serves them on loopback, with or without a training on GPUs; yields host and port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            now = time.time()
            content = (exposition(now) + (training_on_gpus(now) if training else "")).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
