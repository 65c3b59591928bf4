"""A data set of the Hugging Face Hub on loopback: the calls of its API that reading files makes, and no others."""

import hashlib
import http.server
import json
import threading
import urllib.parse
from contextlib import contextmanager

REPOSITORY = "me/corpus"


class Hub:
    """The files of one data set, by path; those of `large` are kept as the Hub keeps large ones."""

    def __init__(self):
        self.files, self.large, self.ranges = {}, set(), []

    def entry(self, path):
        content = self.files[path]
        entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        if path in self.large:
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry

    def entries(self, folder, recursive):
        """Files and folders below a folder; None where there is no such folder."""
        inside = [path for path in sorted(self.files) if path.startswith(f"{folder}/" if folder else "")]
        found = {}
        for path in inside:
            parts = path[len(folder) :].strip("/").split("/")
            for depth in range(1, len(parts)):
                above = "/".join([*folder.split("/"), *parts[:depth]]).strip("/")
                if recursive or depth == 1:
                    found[above] = {"type": "directory", "path": above, "size": 0, "oid": "0" * 40}
            if recursive or len(parts) == 1:
                found[path] = self.entry(path)
        return list(found.values()) if inside or not folder else None


@contextmanager
def serving(hub):
    """The address of a server with the data set, while it runs."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, value, status=200):
            self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def send(self, status, content, headers):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def missing(self, code):
            self.send(404, b"{}", {"X-Error-Code": code, "X-Error-Message": "not here"})

        def do_GET(self):
            path, _, query = self.path.partition("?")
            api, files = f"/api/datasets/{REPOSITORY}", f"/datasets/{REPOSITORY}/resolve/main/"
            if path in (api, f"{api}/revision/main"):
                self.answer({"id": REPOSITORY, "sha": "0" * 40, "siblings": []})
            elif path.startswith(f"{api}/tree/main"):
                folder = urllib.parse.unquote(path.removeprefix(f"{api}/tree/main")).strip("/")
                found = hub.entries(folder, "recursive=true" in query.lower())
                self.missing("EntryNotFound") if found is None else self.answer(found)
            elif path.startswith(files) and (name := urllib.parse.unquote(path.removeprefix(files))) in hub.files:
                self.content(hub.files[name])
            else:
                self.missing("EntryNotFound" if REPOSITORY in path else "RepoNotFound")

        def content(self, content):
            asked = self.headers.get("Range", "")
            if not asked:
                return self.send(200, content, {})
            hub.ranges.append(asked)
            first, last = asked.removeprefix("bytes=").split("-")
            part = content[int(first) : int(last) + 1 if last else None]
            stop = int(first) + len(part) - 1
            return self.send(206, part, {"Content-Range": f"bytes {first}-{stop}/{len(content)}"})

        def do_POST(self):
            body = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if self.path != f"/api/datasets/{REPOSITORY}/paths-info/main":
                return self.missing("RepoNotFound")
            found = [hub.entry(path) for path in body["paths"] if path in hub.files]
            return self.answer(found)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
