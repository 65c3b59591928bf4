"""Kubernetes' own apiextensions-apiserver with etcd, on loopback, and a folder of CustomResourceDefinitions.

Two environment variables say where they are; `crd_server/README.md` says where to get them:

    HEADWATER_CRD_SERVER   folder with apiextensions-apiserver, and etcd unless it is on the PATH
    HEADWATER_CRDS         folder with the operators' CustomResourceDefinitions, as YAML
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml

from headwater.core.ports import free_port

WAIT_SECONDS = 120


def crd_folder() -> Path | None:
    value = os.environ.get("HEADWATER_CRDS")
    return Path(value) if value else None


def _program(name: str) -> str | None:
    folder = os.environ.get("HEADWATER_CRD_SERVER")
    return shutil.which(name, path=folder) or shutil.which(name) if folder else None


class CrdApi:
    """The server. As a context manager it runs until the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._places: dict[tuple[str, str], tuple[str, bool]] = {}
        self.port = 0

    @staticmethod
    def missing() -> str | None:
        """Why there can be no server here; none when there can."""
        if _program("apiextensions-apiserver") is None or _program("etcd") is None:
            return "HEADWATER_CRD_SERVER names no folder with apiextensions-apiserver and etcd"
        folder = crd_folder()
        if folder is None or not any(folder.glob("*.yaml")):
            return "HEADWATER_CRDS names no folder of CustomResourceDefinitions"
        return None

    def __enter__(self) -> CrdApi:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def _start(self) -> None:
        peers, clients, self.port = free_port(), free_port(), free_port()
        self._run("etcd", [
            f"--data-dir={self._folder}/etcd", f"--listen-client-urls=http://127.0.0.1:{clients}",
            f"--advertise-client-urls=http://127.0.0.1:{clients}", f"--listen-peer-urls=http://127.0.0.1:{peers}",
            "--unsafe-no-fsync",
        ])  # fmt: skip
        # One certificate is the client and its own authority; its organisation has every right.
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/O=system:masters/CN=test", "-keyout", "client.key", "-out", "client.crt"],
            cwd=self._folder, check=True, capture_output=True,
        )  # fmt: skip
        kubeconfig = self._folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(self.kubeconfig(f"https://127.0.0.1:{self.port}")))
        off = ["NamespaceLifecycle", "MutatingAdmissionWebhook", "ValidatingAdmissionWebhook",
               "ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"]  # fmt: skip
        self._run("apiextensions-apiserver", [
            f"--etcd-servers=http://127.0.0.1:{clients}", f"--secure-port={self.port}", "--bind-address=127.0.0.1",
            f"--cert-dir={self._folder}/certificates", f"--client-ca-file={self._folder}/client.crt",
            "--authentication-skip-lookup", f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}",
            "--enable-priority-and-fairness=false",
            f"--disable-admission-plugins={','.join(off)}",
        ])  # fmt: skip
        # /readyz waits for services of a core API server, which there is none of.
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        self._until(lambda: self.request("GET", definitions)[0] == 200, "the server is not ready")
        for path in sorted((crd_folder() or Path()).glob("*.yaml")):
            for document in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader):
                if document and document.get("kind") == "CustomResourceDefinition":
                    self._load(document)
        for group, kind in self._places:
            self._until(lambda g=group, k=kind: self._established(g, k), f"{group} {kind} is not established")

    def kubeconfig(self, url: str) -> dict[str, Any]:
        """A kubeconfig that reaches the server, or what stands before it, with every right."""
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "test", "user": {"client-certificate": f"{self._folder}/client.crt",
                                                "client-key": f"{self._folder}/client.key"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }  # fmt: skip

    def _run(self, name: str, arguments: list[str]) -> None:
        program = _program(name)
        assert program is not None
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes.append(subprocess.Popen([program, *arguments], stdout=log, stderr=log))

    def _until(self, reached: Any, otherwise: str) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                if reached():
                    return
            except OSError:
                pass
            if time.monotonic() > end or any(process.poll() is not None for process in self._processes):
                logs = "\n".join(path.read_text()[-2000:] for path in self._folder.glob("*.log"))
                raise RuntimeError(f"{otherwise}\n{logs}")
            time.sleep(0.2)

    def groups(self) -> list[str]:
        """API groups that it serves."""
        return sorted({group for group, _ in self._places})

    def request(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> tuple[int, dict[str, Any]]:
        """One request: its status and what was answered."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # our own server, on loopback
        context.load_cert_chain(self._folder / "client.crt", self._folder / "client.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        try:
            text = body if body is None or isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": kind})
            response = connection.getresponse()
            answer = response.read().decode()
        finally:
            connection.close()
        return response.status, json.loads(answer) if answer.startswith("{") else {"message": answer}

    def _load(self, definition: dict[str, Any]) -> None:
        spec = definition["spec"]
        definition["metadata"].setdefault("annotations", {}).setdefault(
            "api-approved.kubernetes.io", "unapproved, test"
        )
        # No controller converts between versions here.
        spec.pop("conversion", None)
        status, answer = self.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        assert status == 201, answer.get("message")
        self._places[spec["group"], spec["names"]["kind"]] = (spec["names"]["plural"], spec["scope"] == "Namespaced")

    def _established(self, group: str, kind: str) -> bool:
        plural, _ = self._places[group, kind]
        _, answer = self.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{group}")
        conditions = answer.get("status", {}).get("conditions", [])
        return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)

    def serves(self, manifest: dict[str, Any]) -> bool:
        """Whether the server knows the kind."""
        return (manifest["apiVersion"].rpartition("/")[0], manifest["kind"]) in self._places

    def admit(self, manifest: dict[str, Any]) -> str | None:
        """Asks the server to make an object, strictly, without storing it; none, or why it refused."""
        group, _, version = manifest["apiVersion"].rpartition("/")
        plural, namespaced = self._places[group, manifest["kind"]]
        place = f"/apis/{group}/{version}/"
        place += f"namespaces/{manifest['metadata']['namespace']}/{plural}" if namespaced else plural
        status, answer = self.request("POST", f"{place}?dryRun=All&fieldValidation=Strict", manifest)
        return None if status == 201 else str(answer.get("message"))
