import re
from pathlib import Path

import yaml

from headwater.core.config import validate
from headwater.data.collect.sources import SourcesConfig
from headwater.data.config import DocumentsConfig

PAGE = Path(__file__).resolve().parents[4] / "docs" / "data-sources.md"


def test_the_recipe_of_the_documentation_is_valid():
    recipe = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1])
    sources = validate(SourcesConfig, recipe["sources"], "sources").root
    documents = validate(DocumentsConfig, recipe["documents"], "documents")
    assert set(sources) == set(documents.sources)
    assert {source.format for source in sources.values()} == {
        "jsonl", "parquet", "hf", "warc", "wet", "mediawiki", "pdf", "latex", "html", "code"
    }  # fmt: skip
