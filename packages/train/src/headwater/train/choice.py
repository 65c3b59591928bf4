"""Sections of a recipe that there are several kinds of, chosen by their `name`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import Discriminator


def by_name(what: str, *names: str) -> Discriminator:
    """Chooses among sections that are tagged with their names; one without a name is of the first.

    Args:
        what: What the sections are of, for the type of error.
        *names: The tags.
    """

    def name_of(value: Any) -> Any:
        if isinstance(value, Mapping):
            return cast("Mapping[str, Any]", value).get("name", names[0])
        return getattr(value, "name", names[0])

    *most, last = names
    return Discriminator(
        name_of, custom_error_type=f"{what}_name", custom_error_message=f"name: {', '.join(most)} or {last}"
    )
