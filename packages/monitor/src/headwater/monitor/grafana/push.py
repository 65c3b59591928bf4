"""Bringing a Grafana server to what Headwater says: folder, data sources, dashboards, alerts. Nothing is deleted.

Each thing is read first. What is as it should be is left alone, so that a second push changes nothing; what is not is
shown as a difference.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from headwater.core.errors import StorageError
from headwater.monitor.dashboards import BOARDS
from headwater.monitor.grafana.alerting import contact_points, rule_group
from headwater.monitor.grafana.build import Board, as_json
from headwater.monitor.grafana.provision import FOLDER, datasources
from headwater.monitor.grafana.server import Server, grafana_errors, read

FOLDER_UID = "headwater"
_MESSAGE = "headwater monitor grafana push"
"""In the history of a dashboard."""
_HIDDEN = "[REDACTED]"
"""What Grafana shows in place of a secret, and what we show in place of an address, which may hold a key."""
_ADDRESSES = ("url", "addresses")


@dataclass(frozen=True)
class Wanted:
    """What is to be pushed.

    Attributes:
        prometheus: Address of Prometheus as Grafana reaches it; none: data sources are left alone.
        alertmanager: Address of Alertmanager as Grafana reaches it.
        alert_rules: Whether Grafana is to evaluate the alert rules itself.
        runbook: Address of the runbook, for the alert rules.
        webhook: Where alerts are posted; may hold a secret.
        email: Where alerts are sent.
    """

    prometheus: str | None = None
    alertmanager: str | None = None
    alert_rules: bool = False
    runbook: str = ""
    webhook: str | None = None
    email: str | None = None


@dataclass(frozen=True)
class Change:
    """What became of one thing, or would.

    Attributes:
        kind: For example `dashboard`.
        name: Its title.
        action: What was done.
        difference: Unified diff from what was there to what is wanted, without secrets; empty but for updates.
    """

    kind: str
    name: str
    action: Literal["create", "update", "keep"]
    difference: str


@dataclass(frozen=True)
class _Thing:
    """One thing on the server.

    Attributes:
        kind: For people.
        name: Its title.
        wanted: As it should be.
        read: What is there, and as it should be compared; none: it is not there.
        create: Makes it.
        update: Changes what `read` returned.
    """

    kind: str
    name: str
    wanted: dict[str, Any]
    read: Callable[[], tuple[dict[str, Any], dict[str, Any]] | None]
    create: Callable[[], object]
    update: Callable[[dict[str, Any]], object]


def push(server: Server, wanted: Wanted, *, dry_run: bool = False) -> Iterable[Change]:
    """Brings the server to what is wanted, one thing after the other.

    Args:
        server: Of `server.connect`.
        wanted: What is to be there.
        dry_run: Whether to tell only; nothing is written then.

    Yields:
        What was done, in order.

    Raises:
        StorageError: The server refused or cannot be reached; what came before is done.
        ConfigError: grafana-foundation-sdk is not installed.
    """
    for thing in _things(server, wanted):
        found = thing.read()
        if found is None:
            if not dry_run:
                with grafana_errors(server, f"create the {thing.kind} {thing.name}"):
                    thing.create()
            yield Change(thing.kind, thing.name, "create", "")
        elif found[1] == thing.wanted:
            yield Change(thing.kind, thing.name, "keep", "")
        else:
            if not dry_run:
                with grafana_errors(server, f"update the {thing.kind} {thing.name}"):
                    thing.update(found[0])
            yield Change(thing.kind, thing.name, "update", _difference(found[1], thing.wanted))


def _things(server: Server, wanted: Wanted) -> Iterable[_Thing]:
    yield _folder(server)
    if wanted.prometheus is not None:
        # Alertmanager first: the other names it.
        for source in reversed(datasources(wanted.prometheus, wanted.alertmanager)):
            yield _datasource(server, source)
    for board in BOARDS:
        yield _dashboard(server, board)
    points = contact_points(wanted.webhook, wanted.email)
    for point in points:
        yield _contact_point(server, point)
    if wanted.alert_rules:
        yield _rules(server, rule_group(FOLDER_UID, wanted.runbook, points[0]["name"] if points else None))


def _folder(server: Server) -> _Thing:
    wanted = {"uid": FOLDER_UID, "title": FOLDER}

    def look() -> tuple[dict[str, Any], dict[str, Any]] | None:
        found = read(server, f"the folder {FOLDER}", server.api.folder.get_folder, FOLDER_UID)
        return None if found is None else (found, _part(found, wanted))

    return _Thing(
        "folder", FOLDER, wanted, look, lambda: server.api.folder.create_folder(FOLDER, FOLDER_UID),
        lambda found: server.api.folder.update_folder(FOLDER_UID, FOLDER, found.get("version")),
    )  # fmt: skip


def _datasource(server: Server, wanted: dict[str, Any]) -> _Thing:
    name, uid = wanted["name"], wanted["uid"]

    def look() -> tuple[dict[str, Any], dict[str, Any]] | None:
        found = read(server, f"the data source {name}", server.api.datasource.get_datasource_by_uid, uid)
        if found is None:
            return None
        part = _part(found, wanted)
        if found.get("readOnly") and part != wanted:
            raise StorageError(f"the data source {name} cannot be changed", found="Grafana provisions it from a file",
                               hint="change it there, or push without --prometheus")  # fmt: skip
        return found, part

    def update(found: dict[str, Any]) -> None:  # what others set stays, for example how Prometheus is logged in to
        settings = {**found.get("jsonData", {}), **wanted["jsonData"]}
        server.api.datasource.update_datasource_by_uid(uid, {**found, **wanted, "jsonData": settings})

    return _Thing("data source", name, wanted, look, lambda: server.api.datasource.create_datasource(wanted), update)


def _dashboard(server: Server, board: Board) -> _Thing:
    wanted = {"folderUid": FOLDER_UID, "dashboard": json.loads(as_json(board))}

    def look() -> tuple[dict[str, Any], dict[str, Any]] | None:
        found = read(server, f"the dashboard {board.title}", server.api.dashboard.get_dashboard, board.uid)
        if found is None:
            return None
        its = {key: value for key, value in found["dashboard"].items() if key not in ("id", "version")}
        part = {"folderUid": found["meta"].get("folderUid", ""), "dashboard": its}
        if found["meta"].get("provisioned") and part != wanted:
            raise StorageError(f"the dashboard {board.title} cannot be changed",
                               found="Grafana provisions it from a file",
                               hint="bring the file up to date: headwater monitor grafana provision")  # fmt: skip
        return found, part

    def write(version: int | None) -> None:
        # With its version Grafana refuses when somebody saved it after it was read.
        board_there = wanted["dashboard"] | ({} if version is None else {"version": version})
        request = {"dashboard": board_there, "folderUid": FOLDER_UID, "overwrite": False, "message": _MESSAGE}
        server.api.dashboard.update_dashboard(request)

    return _Thing("dashboard", board.title, wanted, look, lambda: write(None),
                  lambda found: write(found["dashboard"].get("version", 0)))  # fmt: skip


def _contact_point(server: Server, wanted: dict[str, Any]) -> _Thing:
    alerting, name = server.api.alertingprovisioning, wanted["name"]

    def look() -> tuple[dict[str, Any], dict[str, Any]] | None:
        points = read(server, f"the contact point {name}", alerting.get_contactpoints, name)
        found = next((point for point in points or () if point.get("uid") == wanted["uid"]), None)
        return None if found is None else (found, _part(found, wanted))

    return _Thing(
        f"{wanted['type']} contact point", name, wanted, look, lambda: alerting.create_contactpoint(wanted),
        lambda _: alerting.update_contactpoint(wanted["uid"], wanted),
    )  # fmt: skip


def _rules(server: Server, wanted: dict[str, Any]) -> _Thing:
    alerting, name = server.api.alertingprovisioning, wanted["title"]

    def look() -> tuple[dict[str, Any], dict[str, Any]] | None:
        found = read(server, f"the alert rules {name}", alerting.get_rule_group, FOLDER_UID, name)
        return None if found is None else (found, _part(found, wanted))

    def write(_: object = None) -> None:
        alerting.update_rule_group(FOLDER_UID, name, wanted)

    return _Thing("alert rules", name, wanted, look, write, write)


def _part(found: Any, wanted: Any) -> Any:
    """What was found, without what nothing was said of: Grafana adds fields of its own."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return {key: _part(found[key], value) for key, value in wanted.items() if key in found}
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return [_part(*pair) for pair in zip(found, wanted, strict=True)]
    return found


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    return "\n".join(difflib.unified_diff(_lines(found), _lines(wanted), "on the server", "wanted", lineterm="", n=2))


def _lines(value: dict[str, Any]) -> list[str]:
    return json.dumps(_without_secrets(value), indent=1, sort_keys=True, ensure_ascii=False).splitlines()


def _without_secrets(value: dict[str, Any]) -> dict[str, Any]:
    if "settings" not in value:
        return value
    settings = value["settings"].items()
    return value | {"settings": {key: _HIDDEN if key in _ADDRESSES else each for key, each in settings}}
