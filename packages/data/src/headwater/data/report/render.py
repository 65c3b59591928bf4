"""The page as one string: the template filled with figures and samples.

Every text on it comes from strangers. The template engine escapes all of it, what would turn the direction of writing
is made visible, URLs are no links, and a content security policy that admits no script and no request stands behind.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from headwater.core.console import size
from headwater.core.theme import variables
from headwater.data.funnel import DUPLICATES, alarm_message
from headwater.data.inspect.passages import visible
from headwater.data.report.gather import BINS_PER_DECADE, Figures, Share
from headwater.data.report.samples import OperatorSamples, Sample

_TEMPLATES = files("headwater.data.report") / "templates"
TOP_HOSTS, TOP_LANGUAGES = 25, 15
_MAKE_TEXT = ("extract", "conversation")


def render(figures: Figures, operators: list[OperatorSamples], kept: list[Sample], *, name: str, run: str) -> str:
    """The page.

    Args:
        figures: From `gather`.
        operators: From `samples_of`.
        kept: From `samples_of` too.
        name: Heading.
        run: The run folder, for the commands that the page names.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(count="{:,}".format, size=size, percent=percent, clean=visible)
    template = environment.from_string(_asset("page.html.j2"))
    funnel = figures.funnel
    alarms: list[dict[str, Any]] = funnel.get("duplicate_alarms", [])
    return template.render(
        figures=figures, funnel=funnel, total=funnel["total"], operators=operators, kept=kept, name=name, run=run,
        alarms=[alarm_message(alarm) for alarm in alarms],
        blamed=max(alarms[0]["steps"], key=alarms[0]["steps"].get) if alarms else "",
        style=Markup(variables() + _asset("page.css")),  # noqa: S704  our own files, not input
        sources=[source_rows(source, content) for source, content in funnel["sources"].items()],
        reasons=reasons(funnel), languages=top(figures.languages, TOP_LANGUAGES), hosts=top(figures.hosts, TOP_HOSTS),
        conversations=figures.conversations.ranked(),
        host_count=len(figures.hosts), histogram=histogram(figures.histogram), duplicates=duplicates(funnel),
        cluster_sizes=[(operator, f"{low}" if low == high else f"{low:,}–{high:,}", *numbers)
                       for (operator, low, high), numbers in figures.clusters.sizes.items()],
    )  # fmt: skip


def percent(share: float) -> str:
    """A share as people read it; what is not nothing never shows as 0%."""
    if 0 < share < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def source_rows(source: str, content: dict[str, Any]) -> dict[str, Any]:
    """A source's funnel, with the widths of its bars: bytes are of the text once it is extracted."""
    rows, first = content["operators"], content["documents_in"] or 1
    names = [row["operator"] for row in rows]
    after = next((place for place, name in enumerate(names) if name in _MAKE_TEXT), -1)
    base = (rows[after]["bytes_out"] if after >= 0 else content["bytes_in"]) or 1
    return {
        "name": source, **content,
        "rows": [
            {
                **row, "removed": row["documents_in"] - row["documents_out"],
                "documents_width": 100 * row["documents_out"] / first,
                "bytes_width": 100 * min(1.0, row["bytes_out"] / base) if place >= after else None,
                "reasons": sorted(row["rejected"].items(), key=lambda item: (-item[1], item[0])),
                "changes": sorted(row["changed"].items(), key=lambda item: (-item[1], item[0])),
            }
            for place, row in enumerate(rows)
        ],
    }  # fmt: skip


def reasons(funnel: dict[str, Any]) -> list[dict[str, Any]]:
    """Operator and reason, over all sources, most documents first."""
    sums: dict[tuple[str, str], dict[str, int]] = {}
    for source, content in funnel["sources"].items():
        for row in content["operators"]:
            for reason, count in row["rejected"].items():
                sums.setdefault((row["operator"], reason), {})[source] = count
    total = funnel["total"]["documents_in"] or 1
    rows = [
        {"operator": operator, "reason": reason, "count": sum(by.values()), "by": by, "share": sum(by.values()) / total}
        for (operator, reason), by in sums.items()
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["operator"], row["reason"]))


def top(shares: dict[str, Share], most: int) -> list[tuple[str, Share]]:
    """Those with most documents, and the rest as one."""
    ranked = sorted(shares.items(), key=lambda item: (-item[1].documents, item[0]))
    rest = [share for _, share in ranked[most:]]
    others = Share(sum(s.kept for s in rest), sum(s.rejected for s in rest), sum(s.kept_bytes for s in rest))
    return ranked[:most] + ([(f"{len(rest):,} others", others)] if rest else [])


def histogram(bins: dict[int, Share]) -> list[dict[str, Any]]:
    """One column a bin, with empty ones between, heights in percent of the highest."""
    if not bins:
        return []
    highest = max(share.documents for share in bins.values())
    columns: list[dict[str, Any]] = []
    for place in range(min(bins), max(bins) + 1):
        share = bins.get(place, Share())
        low, high = (10 ** (k / BINS_PER_DECADE) for k in (place, place + 1))
        columns.append({"low": size(low), "high": size(high), "share": share,
                        "tick": size(low) if place % BINS_PER_DECADE == 0 else "",
                        "kept": 100 * share.kept / highest, "rejected": 100 * share.rejected / highest})  # fmt: skip
    return columns


def duplicates(funnel: dict[str, Any]) -> list[dict[str, Any]]:
    """What each source lost as duplicates, and how much was expected at most where that was too much."""
    alarms = {alarm["source"]: alarm for alarm in funnel.get("duplicate_alarms", [])}
    rows: list[dict[str, Any]] = []
    for source, content in funnel["sources"].items():
        mine = [row for row in content["operators"] if row["operator"] in DUPLICATES]
        if mine:
            gone = {row["operator"]: row["documents_in"] - row["documents_out"] for row in mine}
            before = mine[0]["documents_in"]
            rows.append({"source": source, "of": before, "removed": sum(gone.values()), "steps": gone,
                         "share": sum(gone.values()) / (before or 1), "alarm": alarms.get(source)})  # fmt: skip
    return rows


def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
