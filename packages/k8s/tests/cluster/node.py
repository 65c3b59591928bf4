"""The first process of the test cluster: prepares its namespaces, starts every server, ends with its standard input.

It runs in network, mount and process namespaces of its own (see `cluster.py`): bridges, packet rules and mounts go when
it goes, and all processes, containers too.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

ADDRESS = "10.88.0.1"
"""Of the node and of the API server."""

PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
KUBERNETES = "10.96.0.1"
"""Cluster address of the service `kubernetes`."""

SOCKET = "/run/containerd/containerd.sock"

# What the kubelet sets where it differs, for the whole machine: it reads and writes these files instead.
SYSCTLS = {
    "vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}  # fmt: skip

CONTAINERD = """\
version = 2
root = "{binaries}/containerd"
state = "/run/containerd"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/headwater/pause:0.1.0"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{binaries}/cni"
conf_dir = "{state}/cni"
"""

CNI = """\
{{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {{"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": {{"type": "host-local", "dataDir": "/run/cni", "ranges": [[{{"subnet": "{pods}"}}]],
              "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}
"""

KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: false}}, x509: {{clientCAFile: {state}/ca.crt}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupRoot: {cgroup}
clusterDNS: [{address}]
clusterDomain: cluster.local
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
failSwapOn: false
imageGCHighThresholdPercent: 100
resolvConf: {state}/resolv.conf
volumePluginDir: {state}/volume-plugins
"""


def call(*command: str) -> None:
    """Runs a command that has to succeed."""
    subprocess.run(command, check=True)


def prepare(binaries: Path, state: Path, cgroup: str) -> None:
    """Mounts, network and settings of the node."""
    for folder in ("/run", "/var/log", "/var/lib"):
        call("mount", "-t", "tmpfs", "tmpfs", folder)
    for name, value in SYSCTLS.items():
        file = state / "sysctl" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value)
        call("mount", "--bind", str(file), f"/proc/sys/{name}")
    call("ip", "link", "set", "lo", "up")
    call("ip", "link", "add", "node0", "type", "bridge")
    call("ip", "address", "add", f"{ADDRESS}/24", "dev", "node0")
    call("ip", "link", "set", "node0", "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    # What kube-proxy would do for the one service that pods ask for.
    to_server = ["-d", KUBERNETES, "-p", "tcp", "--dport", "443", "-j", "DNAT", "--to-destination", f"{ADDRESS}:6443"]
    for chain in ("PREROUTING", "OUTPUT"):
        call("iptables", "-t", "nat", "-A", chain, *to_server)
    for controller in Path("/sys/fs/cgroup").iterdir():
        if (controller / "cgroup.procs").is_file():
            group = controller / cgroup.lstrip("/")
            group.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (group / name).is_file():
                    (group / name).write_text((controller / name).read_text())
    (state / "cni").mkdir(exist_ok=True)
    (state / "cni" / "10-pods.conflist").write_text(CNI.format(pods=PODS))
    (state / "containerd.toml").write_text(CONTAINERD.format(state=state, socket=SOCKET, binaries=binaries))
    (state / "kubelet.yaml").write_text(KUBELET.format(state=state, address=ADDRESS, cgroup=cgroup))
    (state / "resolv.conf").write_text("")


def servers(state: Path) -> dict[str, list[str]]:
    """Name → command of every server."""
    return {
        "etcd": [
            "etcd", f"--data-dir={state}/etcd", "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
        ],
        "containerd": ["containerd", "--config", f"{state}/containerd.toml"],
        "kube-apiserver": [
            "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--secure-port=6443",
            f"--advertise-address={ADDRESS}", f"--service-cluster-ip-range={SERVICES}",
            f"--tls-cert-file={state}/server.crt", f"--tls-private-key-file={state}/server.key",
            f"--client-ca-file={state}/ca.crt", f"--kubelet-client-certificate={state}/admin.crt",
            f"--kubelet-client-key={state}/admin.key", "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={state}/accounts.pub",
            f"--service-account-signing-key-file={state}/accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC",
        ],
        "kube-controller-manager": [
            "kube-controller-manager", f"--kubeconfig={state}/kubeconfig", "--leader-elect=false",
            f"--service-account-private-key-file={state}/accounts.key", f"--root-ca-file={state}/ca.crt",
            f"--flex-volume-plugin-dir={state}/volume-plugins",
        ],
        "kube-scheduler": ["kube-scheduler", f"--kubeconfig={state}/kubeconfig", "--leader-elect=false"],
        "kubelet": [
            "kubelet", f"--config={state}/kubelet.yaml", f"--kubeconfig={state}/kubeconfig",
            f"--root-dir={state}/kubelet", f"--cert-dir={state}/kubelet-certificates", "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{SOCKET}", "--hostname-override=node", f"--node-ip={ADDRESS}",
        ],
        "names": [sys.executable, str(Path(__file__).with_name("names.py")), ADDRESS, str(state)],
    }  # fmt: skip


def main() -> None:
    binaries, state, cgroup = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    os.environ["PATH"] = f"{binaries}/bin:{os.environ['PATH']}"
    os.environ["LD_LIBRARY_PATH"] = f"{binaries}/lib"
    os.environ["XTABLES_LIBDIR"] = f"{binaries}/lib/xtables"
    prepare(binaries, state, cgroup)
    commands = servers(state)
    running = {_start(name, command, state): name for name, command in commands.items()}
    while not select.select([sys.stdin], [], [], 0.5)[0]:  # it ends when the test that started it does
        while ended := _ended():
            name = running.pop(ended[0], None)  # none: a container's shim
            if name is not None:  # as systemd would; some give up when the API server takes long to start
                print(f"{name} ended: status {ended[1]}", flush=True)
                running[_start(name, commands[name], state)] = name


def _start(name: str, command: list[str], state: Path) -> int:
    """Starts a server; its process's number."""
    with (state / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log).pid


def _ended() -> tuple[int, int] | None:
    """A child that has ended, and its status."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


if __name__ == "__main__":
    main()
