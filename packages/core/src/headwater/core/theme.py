"""Colours of pages in light and dark, and the arithmetic that proves that their text can be read."""

from __future__ import annotations

LIGHT = {
    "bg": "#f6f8fb", "card": "#ffffff", "raised": "#f1f5f9", "line": "#dbe2ea", "grid": "#e6ebf1",
    "text": "#0f1b2d", "muted": "#52606f", "accent": "#0b63ce", "accent-soft": "#e5effc",
    "good": "#0a7a4b", "good-soft": "#e0f5ea", "warn": "#9a5b00", "warn-soft": "#fdf1dc",
    "bad": "#b42318", "bad-soft": "#fde8e6", "removed": "#e8a49c",
    "s1": "#1f77d0", "s2": "#0f9b8e", "s3": "#e0872b", "s4": "#8257d8", "s5": "#cf4a86", "s6": "#6d8f1a",
}  # fmt: skip
DARK = {
    "bg": "#0b111b", "card": "#121a27", "raised": "#1a2433", "line": "#2a3647", "grid": "#212c3b",
    "text": "#e8eef6", "muted": "#9dacbe", "accent": "#6cb0ff", "accent-soft": "#14294a",
    "good": "#4fd08f", "good-soft": "#0f2f22", "warn": "#f0b95a", "warn-soft": "#352709",
    "bad": "#ff8f85", "bad-soft": "#3c1815", "removed": "#8a4640",
    "s1": "#5aa9f8", "s2": "#3cc7b7", "s3": "#f2a654", "s4": "#a98bf2", "s5": "#f07fb0", "s6": "#a8c94e",
}  # fmt: skip

#: Pairs (text, background) that must reach 4.5:1, the AA level of WCAG 2.2 for body text.
TEXT_PAIRS = (
    ("text", "bg"), ("text", "card"), ("text", "raised"), ("muted", "bg"), ("muted", "card"), ("muted", "raised"),
    ("accent", "card"), ("accent", "accent-soft"), ("good", "good-soft"), ("warn", "warn-soft"), ("bad", "bad-soft"),
    ("bad", "card"), ("good", "card"), ("warn", "card"),
)  # fmt: skip
#: Pairs that must reach 3:1, the level for graphics.
GRAPHIC_PAIRS = tuple((f"s{index}", "card") for index in (1, 2, 4, 5))


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Contrast ratio, 1 to 21 (WCAG 2.2)."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def variables() -> str:
    """The CSS blocks that set the colours: the system's choice, unless `data-theme` says otherwise."""
    light = ";".join(f"--{name}:{value}" for name, value in LIGHT.items()) + ";color-scheme:light"
    dark = ";".join(f"--{name}:{value}" for name, value in DARK.items()) + ";color-scheme:dark"
    return (
        f":root{{{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f":root[data-theme=dark]{{{dark}}}\n"
    )
