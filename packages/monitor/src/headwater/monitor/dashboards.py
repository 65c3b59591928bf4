"""What is on the Grafana dashboards, from the one table of metrics.

A dashboard is rows of panels, a panel is queries. Each lets its reader choose which Prometheus, and which runs
(`instance`); the lines of several runs lie over one another. The cluster's names are those of NVIDIA's DCGM exporter,
of node_exporter and of kube-state-metrics, as those projects publish them.
"""

from __future__ import annotations

from typing import Any

from headwater.core import metrics as m
from headwater.monitor import rules
from headwater.monitor.grafana.build import Board, Panel, Query, Variable

RUN = 'instance=~"$instance"'
"""Label matcher for the chosen runs."""
RUNS = Variable(
    "instance", "Run", 'label_values({__name__=~"headwater_(train_step|eval_step|data_done)"}, instance)'
)  # fmt: skip
_ALERTS = f'ALERTS{{alertname=~"Headwater.*", alertstate="firing", {RUN}}}'
_TOKENS_A_SECOND = "si:tok/s"
_RATE = "[$__rate_interval]"


def _of(metric: m.Metric | str) -> str:
    return f"{metric if isinstance(metric, str) else metric.name}{{{RUN}}}"


def _time(title: str, *metrics: m.Metric, unit: str = "short", **more: Any) -> Panel:
    """A line for each metric of one run, with the metrics' help."""
    several = len(metrics) > 1
    queries = tuple(
        Query(_of(each), f"{{{{instance}}}} {_words(each)}" if several else "{{instance}}") for each in metrics
    )
    return Panel(title, queries, unit, more.pop("help", " ".join(each.help for each in metrics)), **more)


def _increase(title: str, metric: m.Metric, **more: Any) -> Panel:
    return Panel(title, (Query(f"increase({_of(metric)}{_RATE})"),), "none", metric.help, counts=True, **more)


def _number(title: str, expr: str, unit: str = "locale", help: str = "", width: int = 4, **more: Any) -> Panel:
    return Panel(title, (Query(expr),), unit, help, kind="stat", width=width, **more)


def _words(metric: m.Metric) -> str:
    return metric.name.removeprefix("headwater_train_").replace("_", " ")


_LEFT = f"({_of(m.TRAIN_STEPS_PLANNED)} - {_of(m.TRAIN_STEP)})"
_STEP = m.TRAIN_STEP_SECONDS.name


def _step_time(quantile: float) -> str:
    return f"histogram_quantile({quantile}, sum by (instance, le) (rate({_of(_STEP + '_bucket')}{_RATE})))"


def _share(phase: str) -> str:
    """Of the time of ten minutes."""
    return f'{rules.PHASES_10M}{{{RUN}, phase="{phase}"}}'


OVERVIEW = Board("headwater-run", "Headwater: run", (RUNS,), {
    "Now": (
        _number("Step", _of(m.TRAIN_STEP), help=m.TRAIN_STEP.help),
        _number("Done", f"{_of(m.TRAIN_STEP)} / {_of(m.TRAIN_STEPS_PLANNED)}", "percentunit", "Share of the steps."),
        _number("Left", f"{_LEFT} * {_of(rules.STEP_1H)}", "s", "At the mean pace of the last hour."),
        _number("Loss", _of(m.TRAIN_LOSS), "none", m.TRAIN_LOSS.help, decimals=3),
        _number("Checkpoint's age", f"time() - {_of(m.TRAIN_CHECKPOINT_TIMESTAMP)}", "s",
                "What a crash would cost. Two hours: HeadwaterCheckpointOld.", limits=((7200, "red"),)),
        Panel("Alerts", (Query(f"count({_ALERTS}) or vector(0)", "firing"),), "locale",
              "That fire now, of `headwater monitor rules`.", "stat", 4, limits=((1, "red"),)),
    ),
    "Learning": (
        Panel("Loss", (
            Query(_of(m.TRAIN_LOSS)), Query(_of(m.TRAIN_LOSS_WINDOW_MAX), "{{instance}} highest of a minute"),
            Query(_of(rules.LOSS_30M), "{{instance}} mean of 30 minutes"),
        ), "none", m.TRAIN_LOSS.help, width=12),
        _time("Held-out loss", m.TRAIN_VALIDATION_LOSS, unit="none", width=6),
        _time("Held-out bits per byte", m.TRAIN_VALIDATION_BPB, unit="none", width=6),
        _time("Gradient norm", m.TRAIN_GRAD_NORM, unit="none", logarithmic=True),
        _time("Learning rate", m.TRAIN_LEARNING_RATE, unit="sci"),
        _time("Tokens", m.TRAIN_TOKENS, unit="si:tok", least=0),
    ),
    "Sources": (
        Panel("Loss of each source", (Query(_of(m.TRAIN_SOURCE_LOSS), "{{instance}} {{source}}"),), "none",
              m.TRAIN_SOURCE_LOSS.help, width=12),
        Panel("Tokens of each source", (Query(_of(m.TRAIN_SOURCE_TOKENS), "{{instance}} {{source}}"),), "si:tok",
              m.TRAIN_SOURCE_TOKENS.help, width=12, least=0),
        Panel("Weight of each source", (Query(_of(m.TRAIN_SOURCE_WEIGHT), "{{instance}} {{source}}"),), "percentunit",
              m.TRAIN_SOURCE_WEIGHT.help, width=12, least=0),
        Panel("Held-out loss of each source", (Query(_of(m.TRAIN_SOURCE_VALIDATION_LOSS), "{{instance}} {{source}}"),),
              "none", m.TRAIN_SOURCE_VALIDATION_LOSS.help, width=12),
    ),
    "Pace": (
        _time("Tokens a second", m.TRAIN_THROUGHPUT, unit=_TOKENS_A_SECOND, width=12, least=0),
        _time("Checkpoint duration", m.TRAIN_CHECKPOINT_SECONDS, unit="s", width=12, least=0),
    ),
})  # fmt: skip

GUARD = Board("headwater-guard", "Headwater: health and guard", (RUNS,), {
    "Found": (
        _number("Spikes", _of(m.TRAIN_SPIKES), help=m.TRAIN_SPIKES.help, width=3, limits=((1, "orange"),)),
        _number("Rollbacks", _of(m.TRAIN_ROLLBACKS), help=m.TRAIN_ROLLBACKS.help, width=3, limits=((1, "orange"),)),
        _number("Skipped steps", _of(m.TRAIN_SKIPPED_STEPS), help=m.TRAIN_SKIPPED_STEPS.help, width=3),
        _number("Skipped samples", _of(m.TRAIN_SKIPPED_SAMPLES), help=m.TRAIN_SKIPPED_SAMPLES.help, width=3),
        _number("Steps not finite", _of(m.TRAIN_NONFINITE), help=m.TRAIN_NONFINITE.help, width=3,
                limits=((1, "red"),)),
        _number("Stalls", _of(m.TRAIN_STALLS), help=m.TRAIN_STALLS.help, width=3, limits=((1, "red"),)),
        _number("Restarts", _of(m.TRAIN_RESTARTS), help=m.TRAIN_RESTARTS.help, width=2, limits=((3, "orange"),)),
        _number("Ended", _of(m.TRAIN_ENDED), help=m.TRAIN_ENDED.help, width=2),
        _number("Halted", _of(m.TRAIN_HALTED), help=m.TRAIN_HALTED.help, width=2, limits=((1, "red"),)),
    ),
    "When": (
        Panel("Loss against its lowest of six hours", (
            Query(_of(rules.LOSS_30M), "{{instance}} mean of 30 minutes"),
            Query(f"min_over_time({_of(rules.LOSS_30M)}[6h])", "{{instance}} lowest"),
        ), "none", "5% above for 15 minutes: HeadwaterSlowDivergence.", width=12),
        Panel("Gradient norm against its median of the hour", (
            Query(_of(m.TRAIN_GRAD_NORM)),
            Query(f"quantile_over_time(0.5, {_of(m.TRAIN_GRAD_NORM)}[1h])", "{{instance}} median"),
        ), "none", "Ten times the median: HeadwaterGradientExplosion.", width=12, logarithmic=True),
        Panel("Update-to-weight ratio", (Query(_of(m.TRAIN_UPDATE_RATIO), "{{instance}} {{group}}"),), "sci",
              f"{m.TRAIN_UPDATE_RATIO.help} About 0.001 is usual. Well above: the learning rate is too high.",
              width=12, logarithmic=True),
        Panel("Clipped steps", (Query(_of(rules.CLIPPED_30M)),), "percentunit", "More than half: HeadwaterClipping.",
              width=12, least=0, most=1, limits=((0.5, "red"),)),
        _increase("Spikes", m.TRAIN_SPIKES),
        _increase("Skipped steps", m.TRAIN_SKIPPED_STEPS),
        Panel("Alerts", (
            Query(f"count({_ALERTS}) or vector(0)", "all"),
            Query(f"count by (alertname) ({_ALERTS})", "{{alertname}}"),
        ), "none", "That fire, of `headwater monitor rules`.", counts=True),
        Panel("Seconds since the last step", (Query(f"time() - {_of(m.TRAIN_STEP_TIMESTAMP)}"),), "s",
              "Five minutes, and twenty steps: HeadwaterStalled.", least=0, limits=((300, "red"),)),
        _increase("Checkpoints", m.TRAIN_CHECKPOINTS),
    ),
})  # fmt: skip

PERFORMANCE = Board("headwater-performance", "Headwater: performance", (RUNS,), {
    "Steps": (
        Panel("Step time", tuple(Query(_step_time(q), f"{{{{instance}}}} {q * 100:g}%") for q in (0.5, 0.95, 0.99)),
              "s", "Quantiles of the wall time of a step, within the buckets of the table.", width=12, least=0),
        # One stack: those of several runs would stand on one another, to 200% and more.
        Panel("Where the time goes", (Query(f"avg by (phase) ({_of(rules.PHASES_10M)})", "{{phase}}"),), "percentunit",
              f"{m.TRAIN_PHASE_SECONDS.help} The mean of the runs that are chosen.", width=12, stacked=True, least=0),
        Panel("Tokens a second", (
            Query(_of(m.TRAIN_THROUGHPUT)), Query(_of(rules.SPEED_10M), "{{instance}} mean of 10 minutes"),
        ), _TOKENS_A_SECOND, "0.7 of the median of six hours: HeadwaterThroughputDrop.", width=12, least=0),
        _time("Samples", m.TRAIN_SAMPLES, width=12, least=0),
    ),
    "Devices": (
        _time("Model FLOPs utilisation", m.TRAIN_MFU, unit="percentunit", least=0),
        _time("GPU memory", m.TRAIN_PEAK_MEMORY, m.TRAIN_DEVICE_MEMORY_LIMIT, unit="bytes", least=0),
        _time("Host memory", m.TRAIN_HOST_MEMORY, m.TRAIN_MEMORY_LIMIT, unit="bytes", least=0),
        Panel("GPU utilisation", (Query(_of(m.TRAIN_GPU_UTILIZATION), "{{instance}} {{of}}"),), "percentunit",
              f"{m.TRAIN_GPU_UTILIZATION.help} Below a half: HeadwaterLowGpuUtilisation.", width=12, least=0, most=1,
              limits=((0.5, "orange"),)),
        Panel("Power", (Query(f"rate({_of(m.TRAIN_ENERGY)}{_RATE})", "{{instance}} {{device}}"),), "watt",
              m.TRAIN_ENERGY.help, width=12, least=0),
    ),
})  # fmt: skip

PARALLELISM = Board("headwater-parallelism", "Headwater: parallelism and stragglers", (RUNS,), {
    "Ranks": (
        Panel("Slowest rank over the median", (Query(_of(m.TRAIN_SLOWEST_RANK)),), "none",
              f"{m.TRAIN_SLOWEST_RANK.help} Above 1.2: HeadwaterStraggler.", width=12, least=1,
              limits=((1.2, "orange"),)),
        Panel("Own time of a step", (Query(_of(m.TRAIN_RANK_STEP_SECONDS), "{{instance}} rank {{rank}}"),), "s",
              m.TRAIN_RANK_STEP_SECONDS.help, width=12, least=0),
        Panel("Memory", (Query(_of(m.TRAIN_RANK_MEMORY), "{{instance}} rank {{rank}}"),), "bytes",
              m.TRAIN_RANK_MEMORY.help, least=0),
        Panel("Since a sign of life",
              (Query(f"time() - {_of(m.TRAIN_RANK_HEARTBEAT)}", "{{instance}} rank {{rank}}"),), "s",
              m.TRAIN_RANK_HEARTBEAT.help, least=0),
        Panel("Loss, mean and highest of a rank", (
            Query(_of(m.TRAIN_LOSS)), Query(_of(m.TRAIN_LOSS_RANK_MAX), "{{instance}} highest"),
        ), "none", m.TRAIN_LOSS_RANK_MAX.help),
    ),
    "Experts": (
        Panel("Load of the busiest and the idlest expert", (
            Query(_of(m.TRAIN_EXPERT_LOAD), "{{instance}} layer {{layer}} {{of}}"),
        ), "none", f"{m.TRAIN_EXPERT_LOAD.help} 1 is even.", width=12, least=0),
        Panel("Evenness of the experts", (Query(_of(m.TRAIN_EXPERT_EVENNESS), "{{instance}} layer {{layer}}"),),
              "percentunit", m.TRAIN_EXPERT_EVENNESS.help, width=6, most=1),
        Panel("Dead experts", (Query(_of(m.TRAIN_DEAD_EXPERTS)),), "none",
              f"{m.TRAIN_DEAD_EXPERTS.help} Any for twenty minutes: HeadwaterDeadExpert.", width=6, counts=True,
              limits=((1, "orange"),)),
    ),
    "Waiting": (
        Panel("Unevenness of steps", (Query(f"{_step_time(0.99)} / {_step_time(0.5)}"),), "none",
              "The 99% step over the median one. Near 1: all ranks go in step. Well above: a rank, a disk or a "
              "neighbour holds the others up now and then.", least=1),
        Panel("Waiting for data", (Query(_share("loader")),), "percentunit",
              "Share of the time in the loader of rank 0. More than a few percent: more workers, or a nearer store.",
              least=0),
        Panel("Gradient norm and update", (
            Query(_share("gradient_norm"), "{{instance}} gradient norm"),
            Query(_share("update"), "{{instance}} update"),
        ), "percentunit", "Where ranks meet: rank 0 waits here for slower ones.", least=0),
    ),
    "Between GPUs": (
        Panel("Least and most used GPU of a node", (
            Query("min by (Hostname) (DCGM_FI_DEV_GPU_UTIL)", "{{Hostname}} least"),
            Query("max by (Hostname) (DCGM_FI_DEV_GPU_UTIL)", "{{Hostname}} most"),
        ), "percent", "DCGM exporter. A pipeline stage with less work shows as a GPU that is used less.", width=12,
              least=0, most=100),
        Panel("Slowest and fastest clock of a node", (
            Query("min by (Hostname) (DCGM_FI_DEV_SM_CLOCK) * 1e6", "{{Hostname}} slowest"),
            Query("max by (Hostname) (DCGM_FI_DEV_SM_CLOCK) * 1e6", "{{Hostname}} fastest"),
        ), "hertz", "DCGM exporter. One throttled GPU slows every rank.", width=12, least=0),
    ),
    "Between nodes": (
        Panel("InfiniBand, received", (
            Query(f"sum by (instance) (rate(node_infiniband_port_data_received_bytes_total{_RATE}))"),
        ), "Bps", "node_exporter. One node below the others: look at its ports.", width=12, least=0),
        Panel("Network, received", (
            Query(f'sum by (instance) (rate(node_network_receive_bytes_total{{device!~"lo|veth.*|cali.*"}}{_RATE}))'),
        ), "Bps", "node_exporter.", width=12, least=0),
    ),
})  # fmt: skip

_SHARE = f"{_of(m.DATA_DONE)} / ({_of(m.DATA_PLANNED)} > 0)"

DATA = Board("headwater-data", "Headwater: data pipeline", (RUNS,), {
    "Progress": (
        _number("Steps finished", f"count by (instance) ({_SHARE} >= 1)", width=6,
                help="Of those that `headwater data run --metrics-port` has begun."),
        _number("Steps that go on", f"count by (instance) ({_SHARE} < 1) or 0 * count by (instance) ({_SHARE})",
                width=6, help="A job works at one or a few at a time."),
        _number("Since the last progress", f"time() - {_of(m.DATA_TIMESTAMP)}", "s",
                "Half an hour: HeadwaterDataStuck.", 12, limits=((1800, "red"),)),
        Panel("Done of the steps that go on", (Query(f"{_SHARE} < 1", "{{instance}} {{step}}"),), "percentunit",
              "Of what each is to do: units, files, rows or bytes.", width=12, least=0, most=1),
        Panel("Pace of the steps that go on", (
            Query(f"deriv({_of(m.DATA_DONE)}[5m]) > 0 and ({_SHARE} < 1)", "{{instance}} {{step}}"),
        ), "none", "Units, files, rows or bytes a second.", width=12, least=0),
        Panel("Since the last progress", (Query(f"time() - {_of(m.DATA_TIMESTAMP)}"),), "s",
              "Half an hour: HeadwaterDataStuck.", width=12, least=0, limits=((1800, "red"),)),
        Panel("Left of the steps that go on", (
            Query(f"({_of(m.DATA_PLANNED)} - {_of(m.DATA_DONE)} > 0) / (deriv({_of(m.DATA_DONE)}[10m]) > 0)",
                  "{{instance}} {{step}}"),
        ), "s", "At the pace of the last ten minutes.", width=12, least=0),
    ),
    "Funnel": (
        Panel("Documents", (Query(f"sort_desc({_of(m.DATA_DOCUMENTS)})", "{{instance}} {{step}} {{way}}"),), "locale",
              m.DATA_DOCUMENTS.help, "bars", 12, least=0),
        Panel("Set aside", (Query(f"topk(12, {_of(m.DATA_REJECTED)})", "{{instance}} {{step}}: {{reason}}"),), "locale",
              f"{m.DATA_REJECTED.help} The twelve that set aside most.", "bars", 12, least=0),
    ),
})  # fmt: skip

EVALUATION = Board("headwater-evaluation", "Headwater: evaluation", (RUNS,), {
    "Scores": (
        Panel("Latest scores", (Query(_of(m.EVAL_SCORE), "{{instance}} {{task}} {{metric}}"),), "none",
              "First metric of each task or group.", "stat", 24, decimals=3),
        Panel("Scores", (Query(_of(m.EVAL_SCORE), "{{instance}} {{task}} {{metric}}"),), "none",
              "Of eval.every, or of `headwater eval watch --metrics-port`, by the time they came.", width=12),
        Panel("Scores against the median of the week, in standard errors", (
            Query(f"({_of(m.EVAL_SCORE)} - quantile_over_time(0.5, {_of(m.EVAL_SCORE)}[7d])) / "
                  f"({_of(m.EVAL_STDERR)} > 0)", "{{instance}} {{task}} {{metric}} ({{better}} is better)"),
        ), "none", "Single scores see little: `headwater eval gate` compares two models on the same items.", width=12),
        _time("Bits per byte, held out", m.EVAL_BITS_PER_BYTE, unit="none", width=12),
        _time("Step of the checkpoint", m.EVAL_STEP, unit="locale", width=12, least=0),
    ),
})  # fmt: skip

_HOST, _NODE, _SPACE = 'Hostname=~"$host"', 'instance=~"$node"', 'namespace=~"$namespace"'
_GPU = "{{Hostname}} {{gpu}}"
_MEMORY = f"(DCGM_FI_DEV_FB_USED{{{_HOST}}} + DCGM_FI_DEV_FB_FREE{{{_HOST}}})"
_REAL = f'{_NODE}, fstype!~"tmpfs|ramfs|overlay|squashfs|nsfs"'
_WIRES = f'{_NODE}, device!~"lo|veth.*|cali.*"'


def _node(title: str, expr: str, unit: str, help: str, legend: str = "{{instance}}", **options: Any) -> Panel:
    return Panel(title, (Query(expr, legend),), unit, help, width=6, **{"least": 0, **options})


def _in_and_out(title: str, into: str, out: str, matchers: str, help: str) -> Panel:
    """What a node takes in above the axis, what it gives out below."""
    queries = (
        Query(f"sum by (instance) (rate({into}{{{matchers}}}{_RATE}))", "{{instance}} in"),
        Query(f"-sum by (instance) (rate({out}{{{matchers}}}{_RATE}))", "{{instance}} out"),
    )
    return Panel(title, queries, "Bps", help, width=6)


CLUSTER = Board("headwater-cluster", "Headwater: cluster", (
    Variable("namespace", "Namespace", "label_values(kube_pod_info, namespace)"),
    Variable("node", "Node", "label_values(node_memory_MemTotal_bytes, instance)"),
    Variable("host", "GPU node", "label_values(DCGM_FI_DEV_GPU_UTIL, Hostname)"),
), {
    "Pods": (
        Panel("GPUs asked for", (
            Query('sum(kube_pod_container_resource_requests{resource="nvidia_com_gpu"}) / '
                  'sum(kube_node_status_allocatable{resource="nvidia_com_gpu"})', "of all"),
        ), "percentunit", "By pods of all namespaces, of what the nodes have.", "stat", 4),
        Panel("Pods that no node takes", (
            Query(f"sum(kube_pod_status_unschedulable{{{_SPACE}}}) or vector(0)", "pods"),
        ), "locale", "A gang that waits for its last pod shows here.", "stat", 4, limits=((1, "orange"),)),
        Panel("Nodes not ready", (
            Query('sum(kube_node_status_condition{condition="Ready", status!="true"})', "nodes"),
        ), "locale", "Of all, by what the kubelets say.", "stat", 4, limits=((1, "red"),)),
        Panel("Jobs", (
            Query(f"sum(kube_job_status_active{{{_SPACE}}})", "active"),
            Query(f"sum(kube_job_status_succeeded{{{_SPACE}}})", "succeeded"),
            Query(f"sum(kube_job_status_failed{{{_SPACE}}})", "failed"),
        ), "locale", "Pods of jobs, by what became of them.", "stat", 12),
        Panel("Pods by phase", (Query(f"sum by (phase) (kube_pod_status_phase{{{_SPACE}}}) > 0", "{{phase}}"),), "none",
              "Of the chosen namespaces.", counts=True, stacked=True),
        Panel("Restarts of containers", (
            Query(f"sum by (pod) (increase(kube_pod_container_status_restarts_total{{{_SPACE}}}[1h])) > 0", "{{pod}}"),
        ), "none", "In an hour, of those that were restarted.", counts=True),
        Panel("Why containers wait or ended", (
            Query(f"sum by (reason) (kube_pod_container_status_waiting_reason{{{_SPACE}}}) > 0", "waits: {{reason}}"),
            Query(f"sum by (reason) (kube_pod_container_status_last_terminated_reason{{{_SPACE}}}) > 0",
                  "ended: {{reason}}"),
            Query(f"sum by (reason) (kube_pod_status_reason{{{_SPACE}}}) > 0", "pod: {{reason}}"),
        ), "none", "OOMKilled: more memory, or a smaller micro-batch. Evicted: the pod's node ran out of something.",
              counts=True),
    ),
    "GPUs": (
        Panel("Utilisation", (Query(f"DCGM_FI_DEV_GPU_UTIL{{{_HOST}}}", _GPU),), "percent",
              "Below 50% for half an hour: HeadwaterLowGpuUtilisation.", least=0, most=100, limits=((50, "orange"),)),
        Panel("Tensor cores", (Query(f"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{_HOST}}}", _GPU),), "percentunit",
              "Share of cycles in which they work: nearer to MFU than utilisation is.", least=0, most=1),
        Panel("Memory", (Query(f"DCGM_FI_DEV_FB_USED{{{_HOST}}} / {_MEMORY}", _GPU),), "percentunit",
              "What all processes on the GPU hold, PyTorch's cache included.", least=0, most=1),
        Panel("Power", (Query(f"DCGM_FI_DEV_POWER_USAGE{{{_HOST}}}", _GPU),), "watt",
              "A GPU that waits for others draws less.", least=0),
        Panel("Temperature", (Query(f"DCGM_FI_DEV_GPU_TEMP{{{_HOST}}}", _GPU),), "celsius",
              "Hot GPUs lower their clocks.", limits=((85, "red"),)),
        Panel("Last XID error", (Query(f"DCGM_FI_DEV_XID_ERRORS{{{_HOST}}}", _GPU),), "none",
              "0: none. The driver's number of the last error; 79: the GPU fell off the bus; 94, 95: memory errors.",
              counts=True),
    ),
    "Nodes": (
        _node("Processors", f'1 - avg by (instance) (rate(node_cpu_seconds_total{{{_NODE}, mode="idle"}}{_RATE}))',
              "percentunit", "Share of the time in which they are not idle.", most=1),
        _node("Memory", f"1 - node_memory_MemAvailable_bytes{{{_NODE}}} / node_memory_MemTotal_bytes{{{_NODE}}}",
              "percentunit", "In use, without what the kernel could give back.", most=1, limits=((0.92, "red"),)),
        _in_and_out("Network", "node_network_receive_bytes_total", "node_network_transmit_bytes_total", _WIRES,
                    "Received above the axis, sent below."),
        _in_and_out("InfiniBand", "node_infiniband_port_data_received_bytes_total",
                    "node_infiniband_port_data_transmitted_bytes_total", _NODE, "Received above the axis, sent below."),
        _in_and_out("Disks", "node_disk_read_bytes_total", "node_disk_written_bytes_total", _NODE,
                    "Read above the axis, written below."),
        _node("File systems", f"1 - node_filesystem_avail_bytes{{{_REAL}}} / node_filesystem_size_bytes{{{_REAL}}}",
              "percentunit", "In use. A full one loses the next checkpoint.", "{{instance}} {{mountpoint}}", most=1,
              limits=((0.9, "red"),)),
        _node("Load", f"node_load5{{{_NODE}}}", "none", "Processes that run or want to, mean of five minutes."),
        _node("Killed for memory", f"increase(node_vmstat_oom_kill{{{_NODE}}}[1h])", "none",
              "Processes that the kernel killed, in an hour.", counts=True),
    ),
})  # fmt: skip

BOARDS = (OVERVIEW, GUARD, PERFORMANCE, PARALLELISM, DATA, EVALUATION, CLUSTER)
