"""Numbers as people read them."""

from __future__ import annotations

import math


def count(value: float | None) -> str:
    """12,345"""
    return "—" if value is None else f"{round(value):,}"


def short(value: float | None) -> str:
    """Three significant figures with a magnitude suffix: 950, 12.3k, 4.56M."""
    if value is None or not math.isfinite(value):
        return "—"
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit * 0.9995:
            scaled = value / limit
            digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
            text = f"{scaled:.{digits}f}"
            return (text.rstrip("0").rstrip(".") if "." in text else text) + suffix
    return f"{value:.3g}" if value != round(value) else f"{value:.0f}"


def bytes_(value: float | None) -> str:
    """12.3 MB (decimal units)."""
    if value is None:
        return "—"
    for limit, suffix in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= limit:
            return f"{value / limit:.{1 if abs(value) < 100 * limit else 0}f} {suffix}"
    return f"{value:.0f} B"


def percent(value: float | None, digits: int = 1) -> str:
    """0.1234 as 12.3%."""
    return "—" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}%"


def fixed(value: float | None, digits: int = 3) -> str:
    """A decimal number, or a dash when there is none."""
    return "—" if value is None else f"{value:.{digits}f}" if math.isfinite(value) else str(value)


def signed(value: float | None, digits: int = 1) -> str:
    """A difference of shares in points, with its sign: 0.012 as +1.2."""
    if value is None or not math.isfinite(value):
        return "—"
    points = round(100 * value, digits)
    return f"{points:+.{digits}f}".replace("-", "−") if points else f"{0:.{digits}f}"


def general(value: float | None) -> str:
    """Four significant figures, scientific where needed: learning rates, gradient norms."""
    return "—" if value is None else f"{value:.4g}"


def plural(number: float, noun: str, many: str | None = None) -> str:
    """`1 document`, `2,000 documents`."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"
