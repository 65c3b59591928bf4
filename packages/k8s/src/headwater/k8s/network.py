"""Network policies: nothing is allowed that is not written here."""

from __future__ import annotations

from headwater.k8s.config import Cluster
from headwater.k8s.naming import COMPONENT, PART_OF, labels, of_run
from headwater.k8s.pods import METRICS, Object

LINK_LOCAL = "169.254.0.0/16"
"""Where clouds serve credentials: a node's, which a pod has no business with, or the pod's own."""

NODE_LOCAL_DNS = "169.254.20.10"
"""Where NodeLocal DNSCache listens, which no pod selector matches."""


def _policy(name: str, namespace: str, marks: dict[str, str], spec: Object) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": marks}, "spec": spec,
    }  # fmt: skip


def _ports(*numbers: int) -> list[Object]:
    return [{"protocol": "TCP", "port": number} for number in numbers]


def _outside(*numbers: int) -> Object:
    return {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [LINK_LOCAL]}}], "ports": _ports(*numbers)}


def _in(namespace: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


def _any_of(*components: str) -> Object:
    return {"matchExpressions": [{"key": COMPONENT, "operator": "In", "values": list(components)}]}


def of_namespace(cluster: Cluster) -> list[Object]:
    """What holds for all pods of the namespace."""
    of_metrics: Object = {
        "podSelector": {"matchLabels": PART_OF},
        "policyTypes": ["Ingress"],
        "ingress": [{
            "from": [_in(cluster.monitoring_namespace) | {"podSelector": {"matchLabels": cluster.monitoring_pods}}],
            "ports": [{"protocol": "TCP", "port": METRICS}],
        }],
    }  # fmt: skip
    servers = [
        _in("kube-system") | {"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}},
        {"ipBlock": {"cidr": f"{NODE_LOCAL_DNS}/32"}},
    ]
    names: Object = {
        "podSelector": {"matchLabels": PART_OF},
        "policyTypes": ["Egress"],
        "egress": [{"to": servers, "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}],
    }  # fmt: skip
    # The API server, whose address no policy can name: of Spark's driver and of what makes Jobs for checkpoints.
    api: Object = {
        "podSelector": _any_of("data-driver", "dispatch"), "policyTypes": ["Egress"], "egress": [_outside(443, 6443)],
    }  # fmt: skip
    found = [
        _policy("default-deny", cluster.namespace, PART_OF, {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        _policy("names", cluster.namespace, PART_OF, names),
        _policy("api-server", cluster.namespace, PART_OF, api),
    ]
    return [*found, _policy("metrics", cluster.namespace, PART_OF, of_metrics)] if cluster.monitoring else found


def of_training(cluster: Cluster, run: str) -> Object:
    """Pods of a run's training reach each other, and the object store where there is one."""
    egress: list[Object] = [{"to": [{"podSelector": {"matchLabels": of_run(run, "train")}}]}]
    if cluster.storage.mirror:
        egress.append(_outside(443))
        if cluster.storage.credentials is None:  # the pod's own rights come from the cloud's metadata service
            egress.append({"to": [{"ipBlock": {"cidr": LINK_LOCAL}}], "ports": _ports(80, 988)})
    return _policy(f"{run}-train", cluster.namespace, labels(run, "train"), {
        "podSelector": {"matchLabels": of_run(run, "train")},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": of_run(run, "train")}}]}],
        "egress": egress,
    })  # fmt: skip


def of_data(cluster: Cluster, run: str, *, crawls: bool) -> Object:
    """The driver and the executors of a run's Spark job reach each other; a crawl reaches the web.

    Args:
        cluster: The `cluster` section.
        run: The run's name.
        crawls: Whether sources are fetched.
    """
    both = {"matchLabels": of_run(run)} | _any_of("data", "data-driver")
    egress: list[Object] = [{"to": [{"podSelector": both}]}]
    if crawls:
        egress.append(_outside(80, 443))
    return _policy(f"{run}-data", cluster.namespace, labels(run, "data"), {
        "podSelector": both,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": both}]}],
        "egress": egress,
    })  # fmt: skip
