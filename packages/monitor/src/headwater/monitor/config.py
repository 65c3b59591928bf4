"""The recipe's `report` section."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headwater.core.config import Section


class Report(Section):
    """How the report page looks.

    Attributes:
        title: Heading of the page; the recipe's name when empty.
        theme: Colours at first sight. `auto` follows the reader's system; the page has a switch in any case.
    """

    title: str = Field(default="", max_length=120)
    theme: Literal["auto", "light", "dark"] = "auto"
