"""A server on loopback that answers as Grafana's HTTP API is documented to, and keeps what it is told.

What it takes from the documentation: bearer tokens (401), rights (403), `uid`s, folders with versions, dashboards whose
version has to be the latest (412), provisioned dashboards and data sources that cannot be written (400, 403), names of
data sources that are taken (409), contact points whose secrets come back as `[REDACTED]`, and rule groups that are
replaced as a whole; each answer holds fields that the caller never sent.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "glsa_aSecretOfTheTest"


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code, self.body = code, {"message": message, **more}


class GrafanaServer:
    """Its state is in plain dictionaries, for tests to look at and to change."""

    def __init__(self, prefix: str = "") -> None:
        self.folders: dict[str, dict[str, Any]] = {}
        self.datasources: dict[str, dict[str, Any]] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.points: dict[str, dict[str, Any]] = {}
        self.groups: dict[tuple[str, str], dict[str, Any]] = {}
        self.requests: list[str] = []
        self.before: Callable[[str], None] = lambda request: None
        """Called with METHOD and path before each answer; may raise `Refused`, or wait."""
        self._prefix = prefix
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                path = urlsplit(self.path)
                request = f"{self.command} {path.path.removeprefix(server._prefix)}"
                server.requests.append(request)
                try:
                    if not path.path.startswith(server._prefix + "/api/"):
                        raise Refused(404, "Not found")
                    if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                        raise Refused(401, "Invalid API key")
                    server.before(request)
                    status, said = server.answer(request, parse_qs(path.query), body)
                except Refused as refused:
                    status, said = refused.code, refused.body
                content = said if isinstance(said, str) else json.dumps(said)
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if isinstance(said, str) else "application/json")
                self.send_header("Content-Length", str(len(content.encode())))
                self.end_headers()
                self.wfile.write(content.encode())

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}{self._prefix}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def written(self) -> list[str]:
        """Requests that change something."""
        return [request for request in self.requests if not request.startswith("GET")]

    def answer(self, request: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        for pattern, method in ROUTES:
            if found := re.fullmatch(pattern, request):
                return method(self, *found.groups(), query=query, body=body)
        raise Refused(404, "Not found")

    def get_folder(self, uid: str, **_: Any) -> tuple[int, Any]:
        if uid not in self.folders:
            raise Refused(404, "folder not found", status="not-found")
        return 200, self.folders[uid]

    def post_folder(self, *, body: Any, **_: Any) -> tuple[int, Any]:
        if body["uid"] in self.folders:
            raise Refused(409, "a folder with the same uid already exists")
        self.folders[body["uid"]] = {**body, "id": len(self.folders) + 1, "version": 1, "canEdit": True, "url": "/x"}
        return 200, self.folders[body["uid"]]

    def put_folder(self, uid: str, *, body: Any, **_: Any) -> tuple[int, Any]:
        found = self.get_folder(uid)[1]
        if body.get("version") != found["version"]:
            raise Refused(412, "the folder has been changed by someone else", status="version-mismatch")
        found.update(title=body["title"], version=found["version"] + 1)
        return 200, found

    def get_datasource(self, uid: str, **_: Any) -> tuple[int, Any]:
        if uid not in self.datasources:
            raise Refused(404, "Data source not found")
        return 200, self.datasources[uid]

    def post_datasource(self, *, body: Any, **_: Any) -> tuple[int, Any]:
        if any(each["name"] == body["name"] for each in self.datasources.values()):
            raise Refused(409, "data source with the same name already exists")
        more = {"id": len(self.datasources) + 1, "orgId": 1, "version": 1, "readOnly": False, "secureJsonFields": {}}
        self.datasources[body["uid"]] = {**body, **more}
        return 200, {"datasource": self.datasources[body["uid"]], "message": "Datasource added"}

    def put_datasource(self, uid: str, *, body: Any, **_: Any) -> tuple[int, Any]:
        found = self.get_datasource(uid)[1]
        if found["readOnly"]:
            raise Refused(403, "Cannot update read-only data source")
        self.datasources[uid] = {**body, "version": found["version"] + 1}
        return 200, {"datasource": self.datasources[uid], "message": "Datasource updated"}

    def get_dashboard(self, uid: str, **_: Any) -> tuple[int, Any]:
        if uid not in self.dashboards:
            raise Refused(404, "Dashboard not found")
        return 200, self.dashboards[uid]

    def post_dashboard(self, *, body: Any, **_: Any) -> tuple[int, Any]:
        uid, folder = body["dashboard"]["uid"], body.get("folderUid", "")
        if folder and folder not in self.folders:
            raise Refused(400, "folder not found")
        found = self.dashboards.get(uid)
        if found and found["meta"]["provisioned"]:
            raise Refused(400, "Cannot save provisioned dashboard")
        if found and not body.get("overwrite") and body["dashboard"].get("version") != found["dashboard"]["version"]:
            raise Refused(412, "The dashboard has been changed by someone else", status="version-mismatch")
        version = found["dashboard"]["version"] + 1 if found else 1
        stored = {**body["dashboard"], "id": len(self.dashboards) + 1, "version": version}
        meta = {"folderUid": folder, "provisioned": False, "slug": "x", "version": version}
        self.dashboards[uid] = {"dashboard": stored, "meta": meta}
        return 200, {"uid": uid, "version": version, "status": "success"}

    def get_points(self, *, query: Any, **_: Any) -> tuple[int, Any]:
        names = query.get("name")
        points = [point for point in self.points.values() if not names or point["name"] in names]
        return 200, [
            {**point, "settings": {**point["settings"], **({"password": "[REDACTED]"} if "password" in point["settings"]
                                                           else {})}, "provenance": "api"}
            for point in points
        ]  # fmt: skip

    def post_point(self, *, body: Any, **_: Any) -> tuple[int, Any]:
        self.points[body["uid"]] = body
        return 202, body

    def put_point(self, uid: str, *, body: Any, **_: Any) -> tuple[int, Any]:
        if uid not in self.points:
            raise Refused(404, "contact point not found")
        self.points[uid] = body
        return 202, {"message": "contactpoint updated"}

    def get_group(self, folder: str, name: str, **_: Any) -> tuple[int, Any]:
        if (folder, name) not in self.groups:
            raise Refused(404, "rule group not found")
        return 200, self.groups[folder, name]

    def put_group(self, folder: str, name: str, *, body: Any, **_: Any) -> tuple[int, Any]:
        for rule in body["rules"]:
            receiver = rule.get("notification_settings", {}).get("receiver")
            if receiver and not any(point["name"] == receiver for point in self.points.values()):
                raise Refused(400, f"receiver {receiver} does not exist")
        kept = [{**rule, "id": n, "orgID": 1, "provenance": "api", "updated": "2026"}
                for n, rule in enumerate(body["rules"], start=1)]  # fmt: skip
        self.groups[folder, name] = {**body, "rules": kept}
        return 200, self.groups[folder, name]


ROUTES: tuple[tuple[str, Callable[..., tuple[int, Any]]], ...] = (
    (r"GET /api/folders/(\S+)", GrafanaServer.get_folder),
    (r"POST /api/folders", GrafanaServer.post_folder),
    (r"PUT /api/folders/(\S+)", GrafanaServer.put_folder),
    (r"GET /api/datasources/uid/(\S+)", GrafanaServer.get_datasource),
    (r"POST /api/datasources", GrafanaServer.post_datasource),
    (r"PUT /api/datasources/uid/(\S+)", GrafanaServer.put_datasource),
    (r"GET /api/dashboards/uid/(\S+)", GrafanaServer.get_dashboard),
    (r"POST /api/dashboards/db", GrafanaServer.post_dashboard),
    (r"GET /api/v1/provisioning/contact-points", GrafanaServer.get_points),
    (r"POST /api/v1/provisioning/contact-points", GrafanaServer.post_point),
    (r"PUT /api/v1/provisioning/contact-points/(\S+)", GrafanaServer.put_point),
    (r"GET /api/v1/provisioning/folder/(\S+)/rule-groups/(\S+)", GrafanaServer.get_group),
    (r"PUT /api/v1/provisioning/folder/(\S+)/rule-groups/(\S+)", GrafanaServer.put_group),
)
