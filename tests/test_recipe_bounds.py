"""Every section's numbers have bounds, so that a slip of the finger is refused before anything starts."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pytest

from headwater.core.config import SECTIONS_GROUP, Base, resolve_recipe
from headwater.core.errors import ConfigError

SECTIONS = sorted(entry_points(group=SECTIONS_GROUP), key=lambda point: point.name)


def unbounded(schema: Any, path: str = "") -> list[str]:
    """Places of a JSON schema that take whole numbers of any size."""
    found: list[str] = []
    if isinstance(schema, dict):
        if schema.get("type") == "integer" and not {"maximum", "exclusiveMaximum", "enum"} & set(schema):
            found.append(path)
        for name, part in schema.items():
            found += unbounded(part, f"{path}.{name}")
    elif isinstance(schema, list):
        for place, part in enumerate(schema):
            found += unbounded(part, f"{path}.{place}")
    return found


@pytest.mark.parametrize("section", SECTIONS, ids=lambda point: point.name)
def test_every_whole_number_of_a_section_has_a_largest_value(section: EntryPoint):
    assert unbounded(section.load().model_json_schema()) == []


def test_the_seed_has_a_largest_value():
    assert unbounded(Base.model_json_schema()) == []


@pytest.mark.parametrize("path", ["sources.web.max_pages", "train.steps", "documents.rows_per_file"])
def test_an_absurd_number_is_refused_with_the_bound(path):
    with pytest.raises(ConfigError, match=rf"^{path} is not valid\n(?s:.)*less than or equal to 10{{15}}$"):
        resolve_recipe("recipes/tiny.yaml", [f"{path}={10**30}"])
