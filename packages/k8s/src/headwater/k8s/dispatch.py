"""Inside the cluster: a Job for each checkpoint that has no evaluation yet."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, cast

from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact
from headwater.k8s.evaluation import at_step
from headwater.k8s.kubectl import ClusterError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = 30.0


class ApiServer:
    """The Kubernetes API as a pod sees it (REST, with the service account's token).

    Args:
        url: Its address.
        token: The account's.
        authority: File with the certificate of the API server's authority; none: plain HTTP on loopback.
    """

    def __init__(self, url: str, token: str, authority: Path | None) -> None:
        self._url, self._token = url.rstrip("/"), token
        self._context = ssl.create_default_context(cafile=str(authority)) if authority else None

    @classmethod
    def of_pod(cls) -> ApiServer:
        """That of the pod's own cluster.

        Raises:
            ConfigError: This is no pod, or its account's token is not mounted.
        """
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        token = SERVICE_ACCOUNT / "token"
        if not host or not token.is_file():
            raise ConfigError("this is no pod with a service account", expected=f"KUBERNETES_SERVICE_HOST and {token}",
                              hint="`headwater k8s submit eval` sets it up in the cluster")  # fmt: skip
        address = f"[{host}]" if ":" in host else host
        return cls(f"https://{address}:{port}", token.read_text().strip(), SERVICE_ACCOUNT / "ca.crt")

    def create_job(self, job: dict[str, Any]) -> bool:
        """Makes a Job; false when there is one of that name.

        Raises:
            ClusterError: The server refused, or cannot be reached.
        """
        place = f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs?fieldValidation=Strict"
        request = urllib.request.Request(  # noqa: S310 (https, or loopback)
            self._url + place, method="POST", data=json.dumps(job).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=self._context):  # noqa: S310
                return True
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            if error.code == 409:
                return False
            raise ClusterError(
                f"the API server refused the Job {job['metadata']['name']}", found=_message(said)
            ) from error
        except OSError as error:
            raise ClusterError("the API server cannot be reached", found=str(error),
                               hint="look at the network policy api-server") from error  # fmt: skip


def _message(said: str) -> str:
    try:
        status = cast("dict[str, Any]", json.loads(said))
    except ValueError:
        return said[:500]
    return str(status.get("message", said))


def dispatch(run: RunLayout, text: str, server: ApiServer) -> list[int]:
    """Makes a Job for each finished checkpoint that has neither an evaluation nor a Job.

    Args:
        run: The run folder.
        text: The Job, as `evaluation.render` writes it.
        server: Where to make it.

    Returns:
        The steps for which there is a Job now that was not there before.

    Raises:
        ClusterError: As `ApiServer.create_job`.
    """
    made: list[int] = []
    for folder in sorted(run.checkpoints.glob("step-*")) if run.checkpoints.is_dir() else []:
        step = int(folder.name.removeprefix("step-"))
        if is_artifact(folder) and not is_artifact(run.eval_of(step)) and server.create_job(at_step(text, step)):
            made.append(step)
    return made
