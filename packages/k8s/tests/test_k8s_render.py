"""What the manifests mean: security, restarts, networks, and the recipe that goes into the pods."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from rendered import CASES, case, of_kind, pods, render

from headwater.core.config import Base, load_section, validate
from headwater.eval.gate_cli import EXIT
from headwater.k8s import restarts
from headwater.k8s.evaluation import VERDICTS, at_step
from headwater.train.config import TrainConfig, identity
from headwater.train.session import STALLED, TERMINATED

TRAININGS = [name for name, (part, _) in CASES.items() if part == "train"]


def training_pods(name: str) -> list[dict[str, Any]]:
    return [spec for manifest in case(name) for spec in pods(manifest)]


@pytest.mark.parametrize("name", CASES)
def test_pods_keep_to_the_restricted_profile(name):
    """Pod Security Standards, "restricted", by its own list of controls."""
    for manifest in case(name):
        for spec in pods(manifest):
            assert not {"hostNetwork", "hostPID", "hostIPC"} & {key for key, value in spec.items() if value}
            security = spec["securityContext"]
            assert security["runAsNonRoot"] is True and security["runAsUser"] != 0
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            for volume in spec["volumes"]:
                allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
                assert set(volume) - {"name"} <= allowed
            for container in spec["containers"]:
                own = container["securityContext"]
                assert own["allowPrivilegeEscalation"] is False
                assert own["capabilities"] == {"drop": ["ALL"]}
                assert own["readOnlyRootFilesystem"] is True
                assert not any("hostPort" in port for port in container.get("ports", []))


@pytest.mark.parametrize("name", CASES)
def test_every_mount_has_its_volume_and_every_file_its_config_map(name):
    objects = case(name)
    maps = {each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"}
    for manifest in objects:
        for spec in pods(manifest):
            volumes = {volume["name"]: volume for volume in spec["volumes"]}
            for container in spec["containers"]:
                assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
            for volume in volumes.values():
                named = [volume.get("configMap", {}).get("name")]
                named += [source["configMap"]["name"] for source in volume.get("projected", {}).get("sources", [])]
                assert {each for each in named if each} <= maps


def test_the_namespace_enforces_the_profile_and_has_no_cluster_wide_rights():
    objects = case("namespace")
    labels = of_kind(objects, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    kinds = {each["kind"] for each in objects}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    roles = {each["metadata"]["name"]: each["rules"] for each in objects if each["kind"] == "Role"}
    assert set(roles) == {"headwater-spark", "headwater-dispatch"}
    assert roles["headwater-dispatch"] == [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}]
    verbs = {verb for rules in roles.values() for rule in rules for verb in rule["verbs"]}
    resources = {resource for rules in roles.values() for rule in rules for resource in rule["resources"]}
    assert "*" not in verbs | resources and "secrets" not in resources


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_asks_for_all_its_gpus_and_starts_a_process_for_each(name):
    objects = case(name)
    job = objects[-2]
    text = json.dumps(job)
    if job["kind"] == "TrainJob":
        trainer = job["spec"]["trainer"]
        nodes, command, limits = trainer["numNodes"], trainer["command"], trainer["resourcesPerNode"]["limits"]
    elif job["kind"] == "JobSet":
        spec = job["spec"]["replicatedJobs"][0]["template"]["spec"]
        assert spec["parallelism"] == spec["completions"]
        container = spec["template"]["spec"]["containers"][0]
        nodes, command, limits = spec["parallelism"], container["command"], container["resources"]["limits"]
    else:
        replicas = job["spec"]["pytorchReplicaSpecs"]
        nodes = sum(each["replicas"] for each in replicas.values())
        container = replicas["Master"]["template"]["spec"]["containers"][0]
        command, limits = container["command"], container["resources"]["limits"]
    recipe = yaml.safe_load(of_kind(objects, "ConfigMap")["data"]["recipe.yaml"])
    config = validate(TrainConfig, recipe["train"], "train")
    processes = int(command[command.index("--processes") + 1])
    assert nodes * processes == nodes * int(limits["nvidia.com/gpu"]) == config.parallel.world_size
    assert of_kind(objects, "PodDisruptionBudget")["spec"]["minAvailable"] in (nodes, nodes - 1)
    assert ("kueue.x-k8s.io/queue-name" in text) == ("coscheduling" not in name and "one node" not in name)


@pytest.mark.parametrize("name", ["trainjob", "jobset", "pytorchjob", "cluster"])
def test_a_trainings_pods_have_shared_memory_and_time_to_write_a_checkpoint(name):
    (spec, *more) = training_pods(name)
    assert all(each == spec for each in more)  # master and workers
    mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    volume = next(each for each in spec["volumes"] if each["name"] == mounts["/dev/shm"])
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Gi"}
    assert spec["terminationGracePeriodSeconds"] == 300


def test_pods_train_what_the_recipe_trains(tmp_path):
    """The recipe in the pods is the local one, but for where things are written."""
    from rendered import RECIPE

    text = of_kind(case("trainjob"), "ConfigMap")["data"]["recipe.yaml"]
    (tmp_path / "recipe.yaml").write_text(text)
    local = load_section("train", TrainConfig, RECIPE)
    there = load_section("train", TrainConfig, tmp_path / "recipe.yaml")
    assert identity(there) == identity(local)
    assert there.checkpoint.mirror == "s3://models/headwater/llama-7b"
    assert there.metrics == {"prometheus": {"host": "0.0.0.0", "port": 9464}}
    assert there.guard.stall.respond == "exit"
    recipe = yaml.safe_load(text)
    assert set(recipe) == {*Base.model_fields, "mixture", "train"}  # what the image can read


def test_a_stall_that_the_recipe_wants_reported_is_reported():
    text = of_kind(render("train", ("train.guard.stall.respond=report",)), "ConfigMap")["data"]["recipe.yaml"]
    assert yaml.safe_load(text)["train"]["guard"]["stall"]["respond"] == "report"


def test_a_changed_recipe_is_another_config_map():
    names = {of_kind(render("train", (f"train.steps={steps}",)), "ConfigMap")["metadata"]["name"] for steps in (10, 20)}
    assert len(names) == 2


def test_the_exit_codes_are_the_trainers_and_the_gates():
    assert restarts.AGAIN == TERMINATED
    assert set(VERDICTS) == {EXIT["NO-GO"], EXIT["INCONCLUSIVE"]}


def outcome(code: int | None, *, disrupted: bool = False) -> str:
    """What becomes of a training when a pod ends, by the rules of Job and JobSet and the messages that Job writes."""
    jobset = of_kind(case("jobset"), "JobSet")["spec"]
    job = jobset["replicatedJobs"][0]["template"]["spec"]
    reason, message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    assert job["backoffLimit"] == 0
    for index, rule in enumerate(job["podFailurePolicy"]["rules"]):
        codes = rule.get("onExitCodes", {}).get("values", [])
        if code in codes or (disrupted and "onPodConditions" in rule):
            # pkg/controller/job/pod_failure_policy.go
            cause = f"Container node for pod headwater/x failed with exit code {code}" if code in codes and not (
                disrupted and "onPodConditions" in rule
            ) else "Pod headwater/x has condition DisruptionTarget"  # fmt: skip
            reason, message = "PodFailurePolicy", f"{cause} matching {rule['action']} rule at index {index}"
            assert rule["action"] == "FailJob"
            break
    policy = jobset["failurePolicy"]
    for rule in policy["rules"]:
        patterns = rule.get("onJobFailureMessagePatterns", [".*"])
        if reason in rule["onJobFailureReasons"] and any(re.search(pattern, message) for pattern in patterns):
            return rule["action"]
    return "RestartJobSet"


@pytest.mark.parametrize(
    ("code", "disrupted", "becomes"),
    [
        (75, False, "RestartJobSetAndIgnoreMaxRestarts"),
        (75, True, "RestartJobSetAndIgnoreMaxRestarts"),
        (137, True, "RestartJobSetAndIgnoreMaxRestarts"),
        (None, True, "RestartJobSetAndIgnoreMaxRestarts"),
        (137, False, "RestartJobSet"),
        (76, False, "RestartJobSet"),
        (STALLED, False, "RestartJobSet"),
        (139, False, "RestartJobSet"),
        (1, False, "FailJobSet"),
        (2, False, "FailJobSet"),
    ],
)
def test_evictions_start_again_and_bugs_stop(code, disrupted, becomes):
    assert outcome(code, disrupted=disrupted) == becomes


def test_the_legacy_operator_is_told_in_its_own_codes():
    command = of_kind(case("pytorchjob"), "PyTorchJob")["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"][
        "containers"
    ][0]["command"]
    # It starts a pod again from 128 on.
    assert int(command[command.index("--again-code") + 1]) >= 128


def allows(policy: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector takes a pod's labels."""
    same = all(labels.get(key) == value for key, value in policy.get("matchLabels", {}).items())
    return same and all(labels.get(each["key"]) in each["values"] for each in policy.get("matchExpressions", []))


@pytest.mark.parametrize("name", ["jobset", "data", "data, collect", "data, the line in one pod"])
def test_network_policies_and_budgets_select_the_pods(name):
    objects = case(name)
    labels = [
        each["metadata"]["labels"]
        for manifest in objects
        for each in templates(manifest)
        if "labels" in each["metadata"]
    ]
    assert labels
    for manifest in objects:
        if manifest["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
            selector = manifest["spec"].get("podSelector") or manifest["spec"]["selector"]
            assert all(allows(selector, each) for each in labels)
    for policy in case("namespace"):
        if policy["kind"] == "NetworkPolicy" and policy["metadata"]["name"] in ("names", "metrics"):
            assert all(allows(policy["spec"]["podSelector"], each) for each in labels)


def templates(value: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if isinstance(value, dict):
        if "spec" in value and "metadata" in value and "containers" in value["spec"]:
            found.append(value)
        for part in value.values():
            found += templates(part)
    elif isinstance(value, list):
        for part in value:
            found += templates(part)
    return found


def test_a_pod_that_may_talk_to_kubernetes_is_allowed_to():
    """Only the driver and the dispatcher have a token, and only they reach the API server."""
    selector = next(
        each["spec"]["podSelector"] for each in case("namespace")
        if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == "api-server"
    )  # fmt: skip
    with_token = 0
    for name in CASES:
        for manifest in case(name):
            for pod in templates(manifest):
                if "securityContext" not in pod["spec"]:
                    continue  # a patch of one
                token = pod["spec"]["automountServiceAccountToken"]
                with_token += token
                assert token == allows(selector, pod["metadata"]["labels"])
    assert with_token


def eval_job() -> dict[str, Any]:
    """The Job that the dispatcher makes for step 500."""
    text = of_kind([each for each in case("eval") if "eval-job.json" in each.get("data", {})], "ConfigMap")["data"]
    return at_step(text["eval-job.json"], 500)


def test_a_job_for_a_step_writes_where_the_watcher_would():
    job = eval_job()
    assert job["metadata"]["name"] == "llama-7b-eval-500"
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[command.index("--checkpoint") + 1] == "500"
    assert command[command.index("--output") + 1] == "/runs/llama-7b/evals/step-00000500"


def test_a_verdict_is_final_and_an_eviction_is_not():
    gate = next(each for each in case("eval") if each["metadata"]["name"].endswith("-gate"))
    rules = gate["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert rules[-1]["action"] == "FailJob" and set(rules[-1]["onExitCodes"]["values"]) == {1, 2, 3, 4}


SERVING = {"trainjob": {"train"}, "jobset": {"train"}, "pytorchjob": {"train"}, "data": {"data-driver"},
           "data, items": set(), "data, collect": {"data"}, "data, documents in one pod": {"data"},
           "data, the line in one pod": {"data"}, "eval": {"eval-scores"}}  # fmt: skip


@pytest.mark.parametrize("name", SERVING)
def test_what_serves_metrics_does_so_where_the_pod_monitor_looks_and_the_policy_allows(name):
    namespace = case("namespace")
    (endpoint,) = of_kind(namespace, "PodMonitor")["spec"]["podMetricsEndpoints"]
    policy = next(each["spec"] for each in namespace if each["metadata"]["name"] == "metrics")
    component = "app.kubernetes.io/component"
    served = set()
    for manifest in case(name):
        for pod in templates(manifest):
            (container,) = pod["spec"]["containers"]
            ports = [each["containerPort"] for each in container.get("ports", []) if each["name"] == endpoint["port"]]
            labels = pod["metadata"].get("labels", {})
            if not ports:
                continue
            assert ports == [9464]
            served.add(labels.get(component) or "train")  # a TrainJob adds its runtime's labels
            if labels.get(component):
                assert allows(policy["podSelector"], labels)
    assert served == SERVING[name]
    # And the command listens there, which it does nowhere else.
    text = json.dumps(case(name))
    if SERVING[name] - {"train"}:
        assert '"--metrics-port", "9464", "--metrics-host", "0.0.0.0"' in text
    off = json.dumps(render(CASES[name][0], (*CASES[name][1], "cluster.monitoring=false")))
    assert "0.0.0.0" not in off.replace("0.0.0.0/0", "") and "eval-scores" not in off
    assert '"metrics"' not in off or name == "trainjob" or SERVING[name] == {"train"}


def test_prometheus_alone_reaches_the_metrics():
    policies = [each["spec"] for each in case("namespace") if each["kind"] == "NetworkPolicy"]
    ways_in = [(way, each["podSelector"]) for each in policies for way in each.get("ingress", [])]
    ((way, who),) = ways_in
    assert who == {"matchLabels": {"app.kubernetes.io/part-of": "headwater"}}
    assert way["ports"] == [{"protocol": "TCP", "port": "metrics"}]
    assert way["from"] == [{
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
    }]  # fmt: skip


@pytest.mark.parametrize(
    ("component", "job"),
    [("train", "headwater-train"), ("data-driver", "headwater-data"), ("data", "headwater-data"),
     ("eval-scores", "headwater-eval")],
)  # fmt: skip
def test_a_target_has_the_same_labels_whatever_its_pod_is_called(component, job):
    """The relabelings, applied as Prometheus does (prometheus.io/docs, relabel_config)."""
    (endpoint,) = of_kind(case("namespace"), "PodMonitor")["spec"]["podMetricsEndpoints"]
    found = []
    for pod in ("llama-7b-node-0-0-x7k2p", "llama-7b-node-0-0-q9d4m"):
        labels = {
            "pod": pod, "container": "node", "endpoint": "metrics", "namespace": "headwater", "job": "x/y",
            "__meta_kubernetes_pod_label_app_kubernetes_io_instance": "llama-7b",
            "__meta_kubernetes_pod_label_app_kubernetes_io_component": component,
        }  # fmt: skip
        for rule in endpoint["relabelings"]:
            regex = re.compile(rule.get("regex", "(.*)"))
            value = ";".join(labels.get(each, "") for each in rule.get("sourceLabels", []))
            match rule.get("action", "replace"):
                case "keep":
                    assert regex.fullmatch(value)
                case "labeldrop":
                    labels = {key: each for key, each in labels.items() if not regex.fullmatch(key)}
                case "replace":
                    made = regex.fullmatch(value)
                    assert made is not None
                    labels[rule["targetLabel"]] = rule.get("replacement", "$1").replace("$1", made.group(1))
        found.append({key: value for key, value in labels.items() if not key.startswith("__")})
    assert found[0] == found[1] == {"instance": "llama-7b", "job": job, "namespace": "headwater"}


def programs(value: Any) -> list[list[str]]:
    """Every headwater command in a manifest, and in the Job that the dispatcher makes."""
    if isinstance(value, dict):
        value = {key: json.loads(part) if key == "eval-job.json" else part for key, part in value.items()}
        own = [value["command"][1:]] if value.get("command", [""])[0] == "headwater" else []
        own += [value["arguments"]] if "arguments" in value else []
        return own + [each for part in value.values() for each in programs(part)]
    return [each for part in value for each in programs(part)] if isinstance(value, list) else []


@pytest.mark.parametrize("name", CASES)
def test_every_command_in_a_pod_is_one_that_the_program_takes(name, tmp_path):
    """Parsed, not run: an option that was renamed would end every pod with 2."""
    from headwater.core.cli import headwater

    part, overrides = CASES[name]
    recipe = [f"cluster.eval.data_dir={tmp_path}"] if part in ("eval", "data items", "data line") else []
    seen = 0
    for manifest in render(part, (*overrides, *recipe)):
        for file, text in manifest["data"].items() if manifest["kind"] == "ConfigMap" else ():
            (tmp_path / file).write_text(text)
        for words in programs(manifest):
            words = [word.replace("/etc/headwater", str(tmp_path)).replace("{step}", "100") for word in words]
            while words not in ([], ["--help"]):  # `launch` starts another
                ours = [*words[: words.index("--")], "--", "x"] if "--" in words else words
                command = headwater
                while hasattr(command, "get_command"):
                    command, ours = command.get_command(None, ours[0]), ours[1:]
                    assert command is not None, words
                command.make_context(words[0], list(ours))
                words = words[words.index("--") + 2 :] if "--" in words else []
                seen += 1
    assert seen or part in ("namespace", "cluster")  # those have no pods


def test_a_pod_of_one_stage_has_what_its_image_can_read():
    for stage, image, sections in (
        ("items", "eval", {"eval"}), ("collect", "data", {"sources", "documents", "tokenizer", "tokens"}),
    ):  # fmt: skip
        config, _, job = case(f"data, {stage}")
        (container,) = job["spec"]["template"]["spec"]["containers"]
        (text,) = config["data"].values()
        assert set(yaml.safe_load(text)) == {*Base.model_fields, *sections}
        assert container["image"] == f"registry.example.org/headwater/{image}:0.1.0"
        assert container["resources"]["limits"] == {"cpu": "8", "memory": "64Gi"}
        assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"


def test_stages_in_one_pod_come_one_after_the_other_and_any_bug_ends_it():
    job = of_kind(case("data, the line in one pod"), "Job")
    spec = job["spec"]["template"]["spec"]
    assert [each["name"] for each in spec["initContainers"]] == ["items", "collect", "documents", "tokenizer"]
    assert [each["command"][2] for each in (*spec["initContainers"], *spec["containers"])] == [
        "items", "collect", "run", "tokenizer", "tokenize",
    ]  # fmt: skip
    rule = job["spec"]["podFailurePolicy"]["rules"][-1]
    assert rule == {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2]}}


def test_only_a_stage_that_fetches_reaches_the_network():
    def ways_out(name: str) -> list[Any]:
        return [way for way in of_kind(case(name), "NetworkPolicy")["spec"]["egress"] if "ports" in way]

    assert ways_out("data, collect") and not ways_out("data, tokens")


def test_a_single_pod_ends_at_sigterm():
    """As process 1 a command would not hear it."""
    for name in ("eval", "data, tokens"):
        for pod in templates(case(name)):
            assert pod["spec"]["shareProcessNamespace"] is True


def test_processes_share_the_cores_of_their_pod():
    """Torch alone would start a thread a core of the node in each process."""

    def threads(*specs: dict[str, Any]) -> set[str]:
        containers = [container for spec in specs for container in spec["containers"]]
        return {each["value"] for one in containers for each in one["env"] if each["name"] == "OMP_NUM_THREADS"}

    for name in ("trainjob", "jobset", "pytorchjob"):
        assert threads(*training_pods(name)) == {str(96 // 8)}
    assert threads(eval_job()["spec"]["template"]["spec"]) == {"8"}


def test_an_evicted_executor_has_the_grace_period_to_hand_its_shuffle_files_on():
    properties = of_kind(case("data"), "SparkApplication")["spec"]["sparkConf"]
    # Spark writes its own over a pod template's.
    assert properties["spark.kubernetes.executor.terminationGracePeriodSeconds"] == "300s"
    assert properties["spark.storage.decommission.shuffleBlocks.enabled"] == "true"


def test_a_registry_that_asks_is_told_by_the_accounts_that_pods_have():
    objects = render("namespace", ("cluster.images.pull_secret=registry",))
    accounts = {each["metadata"]["name"]: each for each in objects if each["kind"] == "ServiceAccount"}
    assert all(each["imagePullSecrets"] == [{"name": "registry"}] for each in accounts.values())
    used = {spec["serviceAccountName"] for name in ("trainjob", "eval") for spec in training_pods(name)}
    assert used <= set(accounts)
    assert not any("imagePullSecrets" in each for each in case("namespace"))


def test_only_pods_with_gpus_have_the_runtime_class():
    def classes(part: str) -> set[Any]:
        objects = render(part, ("cluster.gpu.runtime_class=nvidia",))
        return {spec.get("runtimeClassName") for manifest in objects for spec in pods(manifest)}

    assert classes("train") == {"nvidia"}
    assert classes("data") == {None}
    assert classes("eval") == {"nvidia", None}  # the gate, and what starts Jobs


def test_rules_and_dashboards_are_those_of_the_monitor():
    from headwater.monitor import rules
    from headwater.monitor.grafana.provision import dashboard_config_maps

    objects = case("namespace")
    assert of_kind(objects, "PrometheusRule")["spec"] == yaml.safe_load(rules.as_yaml())
    maps = [each for each in objects if each["kind"] == "ConfigMap"]
    assert maps and maps == dashboard_config_maps("headwater")  # those of `headwater monitor grafana configmap`


def test_alerts_link_to_the_runbook_that_the_recipe_names():
    (rule,) = [
        each for each in render("namespace", ("cluster.runbook=https://wiki/r",)) if each["kind"] == "PrometheusRule"
    ]
    urls = [each["annotations"]["runbook_url"] for each in rule["spec"]["groups"][1]["rules"]]
    assert urls and all(url.startswith("https://wiki/r#") for url in urls)
