"""Common Crawl as a source of a recipe."""

from collect_site import serve
from test_collect_common_crawl import COUNT, CRAWL, Archive

from headwater.core.config import validate
from headwater.data.collect.collect import collect
from headwater.data.collect.sources import SourcesConfig


def sources(**given):
    return validate(SourcesConfig, {"cc": {"kind": "common-crawl", "crawl": CRAWL, "rate": 0, **given}}, "sources").root


def test_a_recipe_fetches_captures(tmp_path):
    archive = Archive(tmp_path / "server")
    with serve(archive) as site:
        url = f"http://127.0.0.1:{site.port}"
        where = {"pattern": "example.org/*", "index_url": url, "data_url": url}
        first = collect("cc", sources(**where)["cc"], tmp_path / "out")
        assert (tmp_path / "out/cc-00000.warc.gz").read_bytes() == b"".join(archive.members)
        assert first.manifest.counters["records"] == COUNT
        asked = len(site.log)
        assert not collect("cc", sources(**where)["cc"], tmp_path / "out").fresh and len(site.log) == asked
        fewer = collect("cc", sources(**where, limit=3)["cc"], tmp_path / "out")
        assert fewer.fresh and fewer.manifest.counters["records"] == 3
