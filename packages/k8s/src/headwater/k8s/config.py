"""The recipe's `cluster` section: where and how the stages of a recipe run on Kubernetes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from headwater.core.config import NotValid, Section, Whole
from headwater.k8s.quantities import Memory, Quantity

Kind = Literal["trainjob", "jobset", "pytorchjob"]


def _dns_label(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        raise NotValid("a DNS label: at most 63 of a-z, 0-9 and -, with a letter or digit at both ends (RFC 1123)")
    return name


def _label_key(key: str) -> str:
    name = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
    if not re.fullmatch(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{name}", key):
        raise NotValid("a label or resource name, for example nvidia.com/gpu")
    return key


def _image(image: str) -> str:
    reference = r"[a-z0-9]([\w.:/-]*[\w])?(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
    if not re.fullmatch(reference, image):
        raise NotValid("an image, for example registry.example.org/headwater-train:0.1.0 or …@sha256:<64 digits>")
    last = image.rsplit("/", 1)[-1]
    if "@sha256:" not in image and (":" not in last or last.endswith(":latest")):
        raise NotValid(
            "an image with a version or a digest: with :latest, nodes of one job can run different software",
            f"write {image.removesuffix(':latest')}:VERSION",
        )
    return image


Name = Annotated[str, AfterValidator(_dns_label)]
LabelKey = Annotated[str, AfterValidator(_label_key)]
Image = Annotated[str, AfterValidator(_image)]
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]


class Images(Section):
    """Images, built by the Dockerfiles in `docker/`.

    Attributes:
        train: For `headwater train`.
        data: For `headwater data`, with Spark.
        eval: For `headwater eval`.
        pull_secret: A Secret of type kubernetes.io/dockerconfigjson, where the registry asks who pulls. The namespace's
            accounts have it, and so all pods.
    """

    train: Image = "headwater/train:0.1.0"
    data: Image = "headwater/data:0.1.0"
    eval: Image = "headwater/eval:0.1.0"
    pull_secret: Name | None = None


class Gpu(Section):
    """The accelerators of a node.

    Attributes:
        resource: The name under which the device plugin offers them.
        product: The value of the node label `nvidia.com/gpu.product` (GPU feature discovery) to ask for; none: any.
        memory: Of one, for the check whether a training fits.
        runtime_class: The RuntimeClass of pods with GPUs, where NVIDIA's container runtime is not the nodes' default.
    """

    resource: LabelKey = "nvidia.com/gpu"
    product: LabelValue | None = Field(default=None, min_length=1)
    memory: Memory = "80Gi"
    runtime_class: Name | None = None


class Storage(Section):
    """Where runs are.

    Attributes:
        claim: The PersistentVolumeClaim that holds runs.
        path: Where it is mounted; a run is PATH/NAME.
        access: ReadWriteMany when pods on several nodes mount it, which a training on several nodes needs.
        storage_class: Of the claim, for `headwater k8s render namespace`; none: the cluster's default.
        size: Of the claim.
        write_rate: Bytes a second that all pods of a training together write to it.
        mirror: An object store (`s3://bucket/runs`, `gs://…`) that checkpoints and logs are copied to; a run's are
            in MIRROR/NAME. It becomes `train.checkpoint.mirror`.
        credentials: A Secret whose keys become environment variables (AWS_ACCESS_KEY_ID…); none where the service
            account has its own rights (workload identity).
    """

    claim: Name = "headwater-runs"
    path: str = Field(default="/runs", pattern=r"^(/[A-Za-z0-9._-]+)+$")
    access: Literal["ReadWriteMany", "ReadWriteOnce"] = "ReadWriteMany"
    storage_class: str | None = Field(default=None, min_length=1)
    size: Memory = "1Ti"
    write_rate: Memory = "500Mi"
    mirror: str | None = Field(default=None, pattern=r"^(s3|gs)://[^\s]+[^/\s]$")
    credentials: Name | None = None


class Resources(Section):
    """What a pod asks for besides GPUs.

    Attributes:
        cpu: Cores.
        memory: Host memory; request and limit alike, so that the node does not run out of it.
    """

    cpu: Quantity
    memory: Memory


class Network(Section):
    """How the processes of a training reach each other.

    Attributes:
        interface: Of NCCL's and gloo's sockets; none: their own choice.
        rdma: Resource name of the RDMA device plugin, for example `rdma/ib`; none: TCP.
        rdma_count: How many of them a pod asks for.
        hca: InfiniBand or RoCE adapters (NCCL_IB_HCA), for example `mlx5`; none: all.
        gid_index: Of RoCE v2 (NCCL_IB_GID_INDEX); none: NCCL's choice.
        annotations: Of the pods, for secondary networks (`k8s.v1.cni.cncf.io/networks`).
        env: Further variables of NCCL and torch.
    """

    interface: str | None = Field(default=None, pattern=r"^[\^=]?[A-Za-z0-9.,_-]+$")
    rdma: LabelKey | None = None
    rdma_count: Whole = Field(default=1, ge=1, le=64)
    hca: str | None = Field(default=None, pattern=r"^[\^=]?[A-Za-z0-9.,:_-]+$")
    gid_index: Whole | None = Field(default=None, ge=0, le=255)
    annotations: dict[str, str] = Field(default_factory=dict)
    env: dict[str, str] = Field(default_factory=dict)

    @field_validator("env")
    @classmethod
    def _not_ours(cls, env: dict[str, str]) -> dict[str, str]:
        for name in env:
            if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
                raise NotValid(f"names of environment variables, and {name!r} is none")
            if name.startswith("PET_") or name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
                raise NotValid(f"{name} is set by the launcher", "take it out")
        return env

    @model_validator(mode="after")
    def _rdma_only(self) -> Network:
        if self.rdma is None and (self.hca is not None or self.gid_index is not None):
            raise NotValid("hca and gid_index are for RDMA, and rdma names no resource",
                           "name the RDMA device plugin's resource in network.rdma")  # fmt: skip
        return self


class Spark(Section):
    """The Spark job of `documents`.

    Attributes:
        executors: How many.
        driver: Of the driver; memory is all of the pod's, for Java and Python.
        executor: Of one executor.
        python_share: Share of a pod's memory that Python gets (Spark's memory overhead); Java gets the rest.
        version: Of Spark in the image.
    """

    executors: Whole = Field(default=4, ge=1, le=10_000)
    driver: Resources = Resources(cpu="2", memory="8Gi")
    executor: Resources = Resources(cpu="4", memory="16Gi")
    python_share: float = Field(default=0.5, ge=0.1, le=0.9)
    version: str = Field(default="4.3.0", pattern=r"^4\.\d+\.\d+$")


class DataJobs(Section):
    """The Jobs of data stages that run on one machine.

    Attributes:
        resources: Of one Job's pod.
    """

    resources: Resources = Resources(cpu="8", memory="64Gi")


class Evaluation(Section):
    """The Jobs of `eval`.

    Attributes:
        resources: Of one Job's pod.
        gpus: Of one Job's pod; 0 evaluates on CPUs.
        schedule: When to look for new checkpoints (cron).
        gate_schedule: When to hold the run against `baseline`.
        baseline: Name of the run that the gate compares with; none: there is no gate.
        suite: Of the gate.
        data_dir: Folder of the tasks' data on the storage, absolute.
    """

    resources: Resources = Resources(cpu="8", memory="64Gi")
    gpus: Whole = Field(default=1, ge=0, le=16)
    schedule: str = "*/10 * * * *"
    gate_schedule: str = "0 6 * * *"
    baseline: Name | None = None
    suite: str = Field(default="ci", min_length=1)
    data_dir: str | None = Field(default=None, pattern=r"^/")

    @field_validator("schedule", "gate_schedule")
    @classmethod
    def _cron(cls, schedule: str) -> str:
        if len(schedule.split()) != 5 or not re.fullmatch(r"[\d*/,\- ]+", schedule):
            raise NotValid("five cron fields: minute hour day month weekday, for example '*/10 * * * *'")
        return schedule


class Cluster(Section):
    """The `cluster` section of a recipe. It says nothing of what is computed, only where.

    Attributes:
        namespace: Where everything is put.
        kind: What starts a training: a Kubeflow Trainer v2 `TrainJob`, a plain `JobSet`, or the legacy `PyTorchJob`.
        runtime: Of the TrainJob: a `TrainingRuntime` that comes with each job, or the `ClusterTrainingRuntime` that an
            administrator has put there (`headwater k8s render cluster`).
        images: See `Images`.
        nodes: Pods of a training, each on a node of its own.
        gpus_per_node: Processes of a pod, each with a GPU.
        cpu_only: Processes have no GPU: to try things out, with `train.device: cpu`.
        gpu: See `Gpu`.
        resources: What a training pod asks for besides GPUs.
        shared_memory: Size of /dev/shm, which NCCL and loaders use; a part of `resources.memory`.
        storage: See `Storage`.
        evictable: Whether a drain of a node may evict a pod of a training, which stops and restarts all of it.
        queue: Kueue's LocalQueue: a job starts when all of it fits. None: no Kueue.
        gang: Without Kueue: start all pods or none, by the scheduler plugin `coscheduling`.
        scheduler: Name of the scheduler that has the plugin.
        topology: Node label whose value the pods of a training should share, for example a rack or a block.
        priority: PriorityClass of training pods; data and evaluation have the namespace's default.
        node_selector: Labels that nodes must have.
        tolerate: Keys of taints that pods tolerate; that of the GPU resource is always among them.
        grace_seconds: How long a pod may take from SIGTERM to the end: it writes a checkpoint meanwhile.
        max_restarts: Restarts after losses that nobody announced (a node gone, memory); an eviction does not count.
        deadline_seconds: The whole job is stopped after; none: never.
        network: See `Network`.
        monitoring: Whether there is the Prometheus operator, and a Grafana that reads dashboards from ConfigMaps.
        monitoring_namespace: Where Prometheus runs.
        monitoring_pods: Labels of Prometheus's pods there, which alone may reach the metrics; none: all pods there.
        monitoring_labels: Labels by which Prometheus finds PodMonitors and PrometheusRules, for example
            `release: prometheus` of kube-prometheus-stack.
        runbook: Address of your copy of docs/runbook.md, which alerts link to; none: its path in the repository.
        data: See `DataJobs`.
        spark: See `Spark`.
        eval: See `Evaluation`.
    """

    namespace: Name = "headwater"
    kind: Kind = "trainjob"
    runtime: Literal["TrainingRuntime", "ClusterTrainingRuntime"] = "TrainingRuntime"
    images: Images = Images()
    nodes: Whole = Field(default=1, ge=1, le=10_000)
    gpus_per_node: Whole = Field(default=8, ge=1, le=64)
    cpu_only: bool = False
    gpu: Gpu = Gpu()
    resources: Resources = Resources(cpu="16", memory="256Gi")
    shared_memory: Memory = "32Gi"
    storage: Storage = Storage()
    evictable: bool = False
    queue: Name | None = None
    gang: Literal["none", "coscheduling"] = "none"
    scheduler: Name | None = None
    topology: LabelKey | None = None
    priority: Name | None = None
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    tolerate: tuple[LabelKey, ...] = ()
    grace_seconds: Whole = Field(default=600, ge=30, le=86_400)
    max_restarts: Whole = Field(default=3, ge=0, le=1000)
    deadline_seconds: Whole | None = Field(default=None, ge=60)
    network: Network = Network()
    monitoring: bool = True
    monitoring_namespace: Name = "monitoring"
    monitoring_pods: dict[LabelKey, LabelValue] = Field(
        default_factory=lambda: {"app.kubernetes.io/name": "prometheus"}
    )
    monitoring_labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    runbook: str | None = Field(default=None, min_length=1)
    data: DataJobs = DataJobs()
    spark: Spark = Spark()
    eval: Evaluation = Evaluation()

    @property
    def world_size(self) -> int:
        """Processes of a training."""
        return self.nodes * self.gpus_per_node

    @model_validator(mode="after")
    def _together(self) -> Cluster:
        if self.gang == "coscheduling" and self.queue is not None:
            raise NotValid("one of queue and gang: Kueue starts all of a job or nothing anyway", "take gang out")
        if self.nodes > 1 and self.storage.access != "ReadWriteMany":
            raise NotValid(
                f"storage.access ReadWriteMany: {self.nodes} nodes write to one run folder",
                "use a claim that several nodes can mount (NFS, Lustre, CephFS, EFS, Filestore)",
            )
        if self.runtime == "ClusterTrainingRuntime" and self.kind != "trainjob":
            raise NotValid(f"no runtime ClusterTrainingRuntime with kind {self.kind}: it is for a trainjob")
        return self
