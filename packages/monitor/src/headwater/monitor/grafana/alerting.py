"""The alert rules of `headwater.monitor.rules` as Grafana evaluates them itself, and where it sends them.

For those without an Alertmanager. The recording rules stay with Prometheus, which has to load them in either case.
"""

from __future__ import annotations

import re
from typing import Any

from headwater.monitor import rules
from headwater.monitor.grafana.build import PROMETHEUS_UID

GROUP = "headwater"
"""Name of the rule group."""
CONTACT = "Headwater"
"""Name of the contact point."""
_INTERVAL_SECONDS = 60


def contact_points(webhook: str | None, email: str | None) -> list[dict[str, Any]]:
    """Contact points as Grafana's provisioning API names their fields; those of one name are told together.

    Args:
        webhook: Where alerts are posted; may hold a secret.
        email: Address, or several with `;` between them.
    """
    settings: dict[str, dict[str, Any]] = {}
    if webhook is not None:
        settings["webhook"] = {"url": webhook, "httpMethod": "POST"}
    if email is not None:
        settings["email"] = {"addresses": email, "singleEmail": True}
    return [
        {"uid": f"headwater-{kind}", "name": CONTACT, "type": kind, "settings": its, "disableResolveMessage": False}
        for kind, its in settings.items()
    ]


def rule_group(folder_uid: str, runbook: str, contact: str | None) -> dict[str, Any]:
    """The alert rules as one group of Grafana's.

    Args:
        folder_uid: Grafana's folder that holds them.
        runbook: Address of the runbook; an alert's section follows after `#`.
        contact: Name of a contact point to send them to; none: what Grafana's notification policies say.
    """
    made = [_rule(alert, folder_uid, runbook, contact) for alert in rules.ALERTS]
    return {"title": GROUP, "folderUid": folder_uid, "interval": _INTERVAL_SECONDS, "rules": made}


def _rule(alert: rules.Alert, folder_uid: str, runbook: str, contact: str | None) -> dict[str, Any]:
    # As Prometheus does: whatever the expression returns is alerted on, be its value 0 or NaN; nothing returned is OK.
    every = "is_number($A) || is_nan($A) || is_inf($A)"
    asked = {"refId": "A", "datasourceUid": PROMETHEUS_UID, "relativeTimeRange": {"from": 600, "to": 0},
             "model": {"refId": "A", "expr": alert.expr, "instant": True, "range": False}}  # fmt: skip
    judged = {"refId": "B", "datasourceUid": "__expr__", "relativeTimeRange": {"from": 0, "to": 0},
              "model": {"refId": "B", "type": "math", "expression": every}}  # fmt: skip
    rule: dict[str, Any] = {
        "uid": alert.anchor, "title": alert.name, "ruleGroup": GROUP, "folderUID": folder_uid,
        "condition": "B", "data": [asked, judged], "for": alert.wait, "noDataState": "OK", "execErrState": "Error",
        "labels": {"severity": alert.severity}, "isPaused": False,
        "annotations": {"summary": re.sub(r"\$value\b", "$values.A.Value", alert.summary),
                        "runbook_url": f"{runbook}#{alert.anchor}"},
    }  # fmt: skip
    if contact is not None:
        rule["notification_settings"] = {"receiver": contact}
    return rule
