"""Stands before the API server for custom resources, so that kubectl finds a whole cluster.

The custom resources' server has no list of its groups and no core kinds. This gives the list, passes custom resources
on, and keeps core kinds itself, each held against the published schemas.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml
from crd_api import CrdApi

CORE = {
    "v1": {"configmaps": "ConfigMap", "namespaces": "Namespace", "pods": "Pod"},
    "apps/v1": {"deployments": "Deployment"},
    "batch/v1": {"jobs": "Job", "cronjobs": "CronJob"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
}
VERBS = ["get", "list", "patch", "delete", "create"]


def _root(version: str) -> str:
    return f"/api/{version}" if "/" not in version else f"/apis/{version}"


def _status(code: int, message: str) -> tuple[int, dict[str, Any]]:
    status = "Success" if code < 400 else "Failure"
    return code, {"kind": "Status", "apiVersion": "v1", "status": status, "message": message, "code": code}


class Front:
    """The server, at `url`. As a context manager it runs until the end."""

    def __init__(self, api: CrdApi) -> None:
        self._api = api
        self.kept: dict[tuple[str, str, str], dict[str, Any]] = {}
        front = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                code, answer = front.answer(self.command, self.path, body, self.headers.get("Content-Type") or "")
                text = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PATCH = do_DELETE = do_POST = _answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Front:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, dict[str, Any]]:
        place = urlsplit(path)
        found = self._discovery(place.path)
        if found is not None:
            return 200, found
        version = next((each for each in CORE if place.path.startswith(f"{_root(each)}/")), None)
        if version is None:
            return self._api.request(method, path, body or None, kind or "application/json")
        return self._core(method, version, place.path, parse_qs(place.query), body)

    def _discovery(self, path: str) -> dict[str, Any] | None:
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            custom = [self._api.request("GET", f"/apis/{group}")[1] for group in self._api.groups()]
            groups = [{"groupVersion": each, "version": each.split("/")[1]} for each in CORE if "/" in each]
            core = [{"name": each["groupVersion"].split("/")[0], "versions": [each], "preferredVersion": each}
                    for each in groups]  # fmt: skip
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [*custom, *core]}
        if path == "/openapi/v3":
            paths: dict[str, Any] = self._api.request("GET", path)[1]["paths"]
            return {
                "paths": paths | {_root(each)[1:]: {"serverRelativeURL": f"/openapi/v3{_root(each)}"} for each in CORE}
            }
        for version, kinds in CORE.items():
            if path == _root(version):
                resources = [
                    {"name": name, "singularName": "", "namespaced": kind != "Namespace", "kind": kind, "verbs": VERBS}
                    for name, kind in kinds.items()
                ]
                return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
            if path == f"/openapi/v3{_root(version)}":
                return {"openapi": "3.0.0", "info": {"title": "core", "version": "1"}, "components": {}, "paths": {
                    f"{_root(version)}/namespaces/{{namespace}}/{name}/{{name}}": {"patch": {
                        "parameters": [{"name": "fieldValidation", "in": "query"}],
                        "x-kubernetes-group-version-kind": _gvk(version, kind),
                    }} for name, kind in kinds.items()
                }}  # fmt: skip
        return None

    def _core(
        self, method: str, version: str, path: str, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        parts = path.removeprefix(f"{_root(version)}/").split("/")
        resource, name = parts[2], parts[3] if len(parts) > 3 else ""
        key = (version, resource, name)
        if method == "PATCH":
            manifest: dict[str, Any] = yaml.load(body, Loader=yaml.CSafeLoader)
            assert query["fieldValidation"] == ["Strict"]
            try:
                kubernetes_validate.validate(manifest, "1.34", strict=True)
            except kubernetes_validate.ValidationError as error:
                return _status(422, str(error))
            if "dryRun" not in query:
                self.kept[key] = manifest
            return 200, manifest
        if method == "GET" and not name:
            items = [each for (*place, _), each in self.kept.items() if place == [version, resource]]
            wanted = dict(part.split("=") for part in query.get("labelSelector", [""])[0].split(",") if "=" in part)
            items = [each for each in items if wanted.items() <= each["metadata"]["labels"].items()]
            return 200, {
                "kind": f"{CORE[version][resource]}List",
                "apiVersion": version,
                "metadata": {},
                "items": items,
            }
        if key not in self.kept:
            return _status(404, f"{resource} {name} not found")
        if method == "DELETE":
            del self.kept[key]
            return _status(200, "deleted")
        return 200, self.kept[key]


def _gvk(version: str, kind: str) -> dict[str, str]:
    group, _, number = version.rpartition("/")
    return {"group": group, "version": number, "kind": kind}
