"""A real cluster of one node for tests: Kubernetes 1.20, kubelet and containerd, in namespaces of their own.

HEADWATER_CLUSTER names the folder that `build.sh` filled. It needs root and the first version of control groups. What
the cluster changes of network, mounts and processes is in namespaces that end with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml
from image import content_digest, write_images, write_layer
from node import ADDRESS, KUBERNETES, SOCKET

SERVER = f"https://{ADDRESS}:6443"
GROUPS = Path("/sys/fs/cgroup")
WAIT_SECONDS = 300
"""For what a quiet machine does within seconds."""


def folder() -> Path | None:
    """Where the binaries are."""
    value = os.environ.get("HEADWATER_CLUSTER")
    return Path(value).resolve() if value else None


def missing() -> str | None:
    """Why there can be no cluster here; none when there can."""
    found = folder()
    if found is None or not (found / "bin" / "kubelet").is_file():
        return "HEADWATER_CLUSTER names no folder with what packages/k8s/tests/cluster/build.sh builds"
    if os.geteuid() != 0:
        return "a kubelet needs root"
    if not (GROUPS / "memory" / "cgroup.procs").is_file():
        return "this kubelet needs the first version of control groups"
    return None


class Cluster:
    """The cluster. As a context manager it runs until the end.

    Args:
        state: Folder for everything that it writes, on a disk that overlayfs can lie on.

    Attributes:
        storage: The folder behind the one PersistentVolume.
    """

    def __init__(self, state: Path) -> None:
        self.state, self.storage = state, state / "storage"
        self._group = f"/headwater-{uuid.uuid4().hex[:8]}"
        self._binaries = folder() or Path()
        self._node: subprocess.Popen[str] | None = None
        self._log: TextIO | None = None

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._node is not None and self._node.stdin is not None:
            self._node.stdin.close()
            self._node.wait()
        if self._log is not None:
            self._log.close()
        for controller in GROUPS.iterdir():
            _remove_group(controller / self._group.lstrip("/"))
        for name in ("kubelet", "etcd"):
            shutil.rmtree(self.state / name, ignore_errors=True)

    def _start(self) -> None:
        for path in (self.state, self.storage):
            path.mkdir(parents=True, exist_ok=True)
        self._certificates()
        self._log = (self.state / "node.log").open("w")
        namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private"]
        node = [sys.executable, str(Path(__file__).with_name("node.py"))]
        self._node = subprocess.Popen(
            ["unshare", *namespaces, "--", *node, str(self._binaries), str(self.state), self._group],
            stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, text=True,
        )  # fmt: skip
        self.until(lambda: self._quiet("ctr", "--address", SOCKET, "version"), "containerd does not answer")
        self._import_images()
        self.until(lambda: self._quiet("kubectl", "get", "--raw=/readyz"), "the API server is not ready")
        self.until(self._is_ready, "the node is not ready")
        self.apply([{
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "runs"},
            "spec": {"capacity": {"storage": "1Ti"}, "accessModes": ["ReadWriteMany"],
                     "hostPath": {"path": str(self.storage)}},
        }])  # fmt: skip

    def _certificates(self) -> None:
        """One authority, the server's certificate, that of a client with every right, and the key of accounts."""
        names = [f"IP:{ADDRESS}", f"IP:{KUBERNETES}", "IP:127.0.0.1", "DNS:kubernetes", "DNS:kubernetes.default",
                 "DNS:kubernetes.default.svc", "DNS:kubernetes.default.svc.cluster.local"]  # fmt: skip
        key = ["-newkey", "rsa:2048", "-nodes"]  # Spark's client knows no other kind without a library of its own
        self._openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=test", "-keyout", "ca.key", "-out", "ca.crt")
        for name, subject in (("server", "/CN=kubernetes"), ("admin", "/O=system:masters/CN=admin")):
            (self.state / f"{name}.ext").write_text(f"subjectAltName={','.join(names)}\n")
            self._openssl("req", *key, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
            self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                          "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.crt")  # fmt: skip
        self._openssl("genrsa", "-out", "accounts.key", "2048")
        self._openssl("rsa", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")
        server = {"server": SERVER, "certificate-authority": f"{self.state}/ca.crt"}
        user = {"client-certificate": f"{self.state}/admin.crt", "client-key": f"{self.state}/admin.key"}
        (self.state / "kubeconfig").write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": server}], "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }))  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.state, check=True, capture_output=True)

    def _import_images(self) -> None:
        """Puts the images into containerd's store, which stays with the binaries: they are two gigabytes."""
        root, stamp = self._binaries / "rootfs.tar", self._binaries / "images"
        content = content_digest(root)
        if stamp.is_file() and stamp.read_text() == content:
            return
        layer, images = self.state / "layer.tar", self.state / "images.tar"
        write_layer(layer)
        write_images(images, [root, layer])
        layer.unlink()
        self.call("ctr", "--address", SOCKET, "--namespace", "k8s.io", "images", "import", str(images))
        images.unlink()
        stamp.write_text(content)

    def _is_ready(self) -> bool:
        nodes = json.loads(self.call("kubectl", "get", "nodes", "--output=json"))["items"]
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in nodes for condition in node["status"]["conditions"]
        )  # fmt: skip

    def command(self, *command: str) -> list[str]:
        """A command as it has to be started to be in the cluster's network."""
        assert self._node is not None
        children = Path(f"/proc/{self._node.pid}/task/{self._node.pid}/children").read_text().split()
        if not children:
            raise RuntimeError(f"the cluster has ended\n{self.said()}")
        mounts = ["--mount"] if command[0] == "ctr" else []  # containerd's socket is there; /proc is the cluster's own
        return ["nsenter", f"--target={children[0]}", "--net", *mounts, *command]

    @property
    def environment(self) -> dict[str, str]:
        """For commands in the cluster."""
        paths = f"{self._binaries}/bin:{os.environ['PATH']}"
        return os.environ | {"PATH": paths, "KUBECONFIG": f"{self.state}/kubeconfig"}

    def call(self, *command: str, stdin: str | None = None, check: bool = True) -> str:
        """What a command says, run in the cluster's network.

        Args:
            command: The command and its arguments.
            stdin: What it reads.
            check: Whether it has to succeed.
        """
        done = subprocess.run(
            self.command(*command), input=stdin, env=self.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}")
        return done.stdout

    def _quiet(self, *command: str) -> bool:
        done = subprocess.run(self.command(*command), env=self.environment, capture_output=True, check=False)
        return done.returncode == 0

    def apply(self, objects: Sequence[dict[str, Any]]) -> str:
        """Applies manifests; what kubectl said."""
        return self.call("kubectl", "apply", "--filename=-", stdin=yaml.safe_dump_all(objects))

    def get(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """Objects of a kind that have some labels."""
        arguments = ["get", kind, f"--namespace={namespace}", f"--selector={selector}", "--output=json"]
        return json.loads(self.call("kubectl", *arguments))["items"]

    def until(
        self, reached: Callable[[], bool], otherwise: str, seconds: float = WAIT_SECONDS,
        more: Callable[[], str] = lambda: "",
    ) -> None:  # fmt: skip
        """Waits for something.

        Args:
            reached: Whether it has come; a RuntimeError is no.
            otherwise: What to say when it does not come, before what the servers said.
            seconds: How long to wait.
            more: What else to say then.
        """
        end = time.monotonic() + seconds
        while True:
            reason = ""
            try:
                if reached():
                    return
            except RuntimeError as error:
                reason = str(error)
            if time.monotonic() > end or (self._node is not None and self._node.poll() is not None):
                raise RuntimeError(f"{otherwise}\n{reason}\n{more()}\n{self.said()}")
            time.sleep(0.1)

    def said(self) -> str:
        """The end of every server's log."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-1500:]}" for path in sorted(self.state.glob("*.log")))


def _remove_group(group: Path) -> None:
    """Removes a control group and those below it, which have no processes any more."""
    if not group.is_dir():
        return
    for path in [*sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True), group]:
        for _ in range(50):  # the kernel lets go of it a moment after its last process
            try:
                path.rmdir()
                break
            except OSError:
                time.sleep(0.1)
