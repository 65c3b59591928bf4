"""Real API machinery admits what is rendered and refuses what is broken.

Custom resources go to a real API server (`crd_api`), core kinds to the published schemas of the Kubernetes API. Without
the server the custom resources' pod templates still go to those schemas.
"""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate
import pytest
from broken import BROKEN
from rendered import CASES, case, of_kind, pods

VERSION = "1.34"
CORE_GROUPS = ("", "apps", "batch", "policy", "networking.k8s.io", "rbac.authorization.k8s.io", "scheduling.k8s.io")

Manifest = dict[str, Any]


def is_core(manifest: Manifest) -> bool:
    return manifest["apiVersion"].rpartition("/")[0] in CORE_GROUPS


@pytest.mark.parametrize("name", CASES)
def test_core_kinds_follow_the_published_schemas(name):
    objects = [each for each in case(name) if is_core(each)]
    assert objects or name.startswith("cluster")
    for manifest in objects:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize("name", CASES)
def test_pods_of_custom_resources_follow_the_published_schemas(name):
    for manifest in case(name):
        for spec in pods(manifest):
            spec = copy.deepcopy(spec)
            for container in spec["containers"]:
                container.setdefault("image", "of-the-operator")  # Spark fills it in
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": spec}
            kubernetes_validate.validate(pod, VERSION, strict=True)


@pytest.mark.services
@pytest.mark.parametrize("name", CASES)
def test_the_api_server_admits_what_is_rendered(name, crd_api):
    custom = [each for each in case(name) if not is_core(each)]
    assert custom or name.startswith(("eval", "data, ", "namespace without"))
    for manifest in custom:
        assert crd_api.serves(manifest), f"HEADWATER_CRDS lacks {manifest['apiVersion']} {manifest['kind']}"
        assert crd_api.admit(manifest) is None


@pytest.mark.services
@pytest.mark.parametrize("name", BROKEN)
def test_the_api_server_refuses_what_is_broken(name, crd_api, record_property):
    rendered, kind, change, said = BROKEN[name]
    manifest = copy.deepcopy(of_kind(case(rendered), kind))
    assert crd_api.admit(manifest) is None  # it is the change that is refused
    change(manifest)
    answer = crd_api.admit(manifest)
    record_property("answer", answer)
    assert answer is not None, "the server admitted it"
    assert said in answer
