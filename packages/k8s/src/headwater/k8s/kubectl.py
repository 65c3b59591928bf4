"""kubectl, which knows how to reach the user's clusters and to prove who they are."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from headwater.core.errors import ConfigError, HeadwaterError

SPARK = "sparkapplications.sparkoperator.k8s.io"


class ClusterError(HeadwaterError):
    """The cluster refused something, or cannot be reached."""


class Kubectl:
    """kubectl, for one cluster and namespace.

    Args:
        namespace: The namespace.
        context: Of the kubeconfig; none: the current one.

    Raises:
        ConfigError: It is not installed.
    """

    def __init__(self, namespace: str, context: str | None = None) -> None:
        program = shutil.which("kubectl")
        if program is None:
            raise ConfigError(
                "kubectl was not found", hint="install it, or print the manifests: headwater k8s render …"
            )
        self._command = [program, *(["--context", context] if context else []), "--namespace", namespace]

    def apply(self, manifests: str, *, dry_run: bool = False) -> str:
        """Applies manifests on the server, which checks every field; what it said.

        Args:
            manifests: YAML.
            dry_run: The server does everything but store them.

        Raises:
            ClusterError: The server refused, or cannot be reached.
        """
        arguments = ["apply", "--server-side", "--field-manager=headwater", "--validate=strict", "--filename=-"]
        return self._run([*arguments, "--dry-run=server"] if dry_run else arguments, manifests)

    def get(self, kinds: Sequence[str], selector: str) -> str:
        """A table of the objects of some kinds that have some labels.

        Raises:
            ClusterError: As `apply`.
        """
        return self._of_kinds("get", kinds, selector, "--output=wide")

    def delete(self, kinds: Sequence[str], selector: str, *, wait: bool) -> str:
        """Deletes the objects of some kinds that have some labels; what was deleted, empty for nothing.

        Raises:
            ClusterError: As `apply`.
        """
        said = self._of_kinds("delete", kinds, selector, f"--wait={str(wait).lower()}")
        return "" if said.strip() == "No resources found" else said

    def _of_kinds(self, what: str, kinds: Sequence[str], selector: str, option: str) -> str:
        """Without Spark's operator, whose part spark-submit does then, objects of its kind are not asked for."""
        arguments = [f"--selector={selector}", "--ignore-not-found", option]
        try:
            return self._run([what, ",".join(kinds), *arguments])
        except ClusterError as error:
            if f'resource type "{SPARK.partition(".")[0]}"' not in str(error.found):
                raise
        return self._run([what, ",".join(kind for kind in kinds if kind != SPARK), *arguments])

    def logs(self, selector: str, *, follow: bool, tail: int) -> int:
        """Passes on what pods print; kubectl's exit code."""
        arguments = ["logs", f"--selector={selector}", "--all-containers", "--prefix", f"--tail={tail}",
                     "--max-log-requests=100", *(["--follow"] if follow else [])]  # fmt: skip
        return subprocess.run([*self._command, *arguments], check=False).returncode

    def _run(self, arguments: Sequence[str], given: str | None = None) -> str:
        result = subprocess.run([*self._command, *arguments], input=given, capture_output=True, text=True, check=False)
        if result.returncode:
            said = _words(result.stderr) or result.stdout.strip()
            raise ClusterError(f"kubectl {arguments[0]} failed", found=said, hint=_advice(said))
        return result.stdout


def _words(said: str) -> str:
    """What kubectl says to people: once, and without its log, where there is more than that."""
    lines = list(dict.fromkeys(said.strip().splitlines()))
    return "\n".join([line for line in lines if not _LOG.match(line)] or lines)


_CONTEXTS = "look at `kubectl config get-contexts`, and name one with --context"
_LOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d")  # of klog
_ADVICE = {
    "no matches for kind": "the cluster lacks that custom resource: install its operator, or set cluster.kind to "
    "trainjob, jobset or pytorchjob, whichever it has, and cluster.monitoring to false without the Prometheus operator",
    "doesn't have a resource type": "the cluster lacks that custom resource: cluster.kind has to be one that it has",
    "namespaces": "make it first: headwater k8s submit namespace",
    "field is immutable": "a job cannot be changed: headwater k8s cancel it, or give another --name",
    "connect": _CONTEXTS,
    'context "': _CONTEXTS,
    "config file": _CONTEXTS,
    "forbidden": "ask for a Role in the namespace; headwater needs no cluster-wide rights",
}


def _advice(said: str) -> str | None:
    return next((advice for part, advice in _ADVICE.items() if part in said), None)
