import json
import random
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.core.buckets import bucket_names
from headwater.core.config import validate
from headwater.core.documents import DOCUMENTS, document_id, split_of
from headwater.core.errors import ConfigError, DataError
from headwater.core.figures import FIGURES, write_figures
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, read_manifest
from headwater.core.mixture import Mixture, available_tokens
from headwater.core.mixture_plan import plan_mixture
from headwater.core.sidecar import Sidecars
from headwater.core.verify.documents import DocumentIndex
from headwater.core.verify.findings import Findings
from headwater.core.verify.tokens import buckets_by_source, check_buckets, check_tokens
from headwater.core.verify.walk import Artifact
from headwater.data.tokenize import make_tokens
from headwater.data.tokenizer import make_tokenizer
from headwater.data.tokens.buckets import cut, inside
from headwater.data.tokens.config import BucketsConfig, TokenizerConfig, TokensConfig

SCORES = [5.0, 5.0, 5.0, 5.0, 1.25, 90.5, 7.0, 5.0, 5.0, 300.0, 2.0]
"""Of more ties than a bucket holds."""


def verdict(operator, detail):
    return {"operator": operator, "outcome": "keep", "reason": "", "detail": detail}


def write_documents(folder, row_group_size=3, files=2, unscored=0):
    """Documents of `web`, with a perplexity but for some, and a few of `code`."""
    layout, choose = RunLayout(folder), random.Random(3)
    writer = ArtifactWriter(layout.documents, kind="documents", name="documents", producer="test 1", config={})
    writer.begin()
    rows = []
    for place in range(4 * len(SCORES)):
        source, url = ("web" if place % 4 else "code"), f"http://w/{place}"
        text = " ".join(choose.choices(["river", "hills", "of", "rise", "1,234"], k=60))
        identifier = document_id(source, url, "x")
        detail = "" if place < unscored else f"{SCORES[place % len(SCORES)]:.2f}"
        rows.append({
            "id": identifier, "source": source, "url": url, "warc_file": "a", "warc_offset": 0, "payload_sha256": "",
            "text": text, "language": "en", "language_score": 1.0, "text_bytes": len(text.encode()),
            "split": split_of(identifier, 0.2),
            "verdicts": [verdict("pii", "99"), verdict("perplexity", detail)] if source == "web" else [],
        })  # fmt: skip
    rows.sort(key=lambda row: row["id"])
    size = -(-len(rows) // files)
    for number in range(files):
        table = pa.Table.from_pylist(rows[number * size : (number + 1) * size], DOCUMENTS)
        pq.write_table(table, layout.documents / f"part-{number:05d}.parquet", row_group_size=row_group_size)
    counts = {source: {"documents_out": sum(row["source"] == source for row in rows)} for source in ("code", "web")}
    writer.commit({"sources": counts})
    return layout, rows


def expected(rows, count):
    """Bucket → ids, by sorting all documents."""
    ranked = sorted((float(row["verdicts"][1]["detail"]), row["id"]) for row in rows if row["source"] == "web")
    borders = [len(ranked) * number // count for number in range(count + 1)]
    return [{identifier for _, identifier in ranked[a:b]} for a, b in pairwise(borders)]


@pytest.mark.parametrize("count", [2, 4, 7])
def test_buckets_are_exact_quantiles_with_ties_by_id_however_the_rows_are_cut(tmp_path, count):
    for name, cuts in (("a", {}), ("b", {"row_group_size": 50, "files": 1})):
        layout, rows = write_documents(tmp_path / name, **cuts)
        buckets = cut(layout.documents, "web", BucketsConfig(count=count))
        assert [bucket.name for bucket in buckets] == bucket_names("web", count)
        table = pa.Table.from_pylist([row for row in rows if row["source"] == "web"], DOCUMENTS)
        found = [set(table.filter(inside(bucket, table)).column("id").to_pylist()) for bucket in buckets]
        assert found == expected(rows, count)


def test_documents_without_a_figure_are_refused_or_go_where_they_are_told_to(tmp_path):
    layout, rows = write_documents(tmp_path / "run", unscored=9)
    with pytest.raises(DataError, match=r"6 documents of web have no figure of perplexity"):
        cut(layout.documents, "web", BucketsConfig())
    table = pa.Table.from_pylist([row for row in rows if row["source"] == "web"], DOCUMENTS)
    buckets = cut(layout.documents, "web", BucketsConfig(unscored=4))
    sizes = [table.filter(inside(bucket, table)).num_rows for bucket in buckets]
    assert sum(sizes) == 33 and sizes[3] == 33 - sum(sizes[:3]) == 27 - 27 * 3 // 4 + 6
    with pytest.raises(DataError, match="too few documents to be cut"):
        cut(layout.documents, "web", BucketsConfig(count=32, unscored=1))
    with pytest.raises(ConfigError, match="unscored"):
        validate(TokensConfig, {"buckets": {"web": {"count": 3, "unscored": 4}}}, "tokens")


def test_each_bucket_is_a_source_of_the_mixture_and_none_of_the_documents_is_lost(tmp_path):
    layout, rows = write_documents(tmp_path / "run")
    make_tokenizer(layout, TokenizerConfig(kind="char", vocab_size=300))
    make_tokens(layout, TokensConfig(workers=1))
    config = TokensConfig(workers=1, buckets={"web": BucketsConfig(count=3)})
    outcomes = make_tokens(layout, config)
    names = ["code", *bucket_names("web", 3)]
    assert sorted(outcomes) == names and sorted(path.name for path in layout.tokens_root.iterdir()) == names
    assert not outcomes["code"].fresh and not make_tokens(layout, config)["web-2of3"].fresh
    for name, ids in zip(names[1:], expected(rows, 3), strict=True):
        assert set(pq.read_table(layout.tokens(name) / "documents.parquet").column("id").to_pylist()) == ids
    assert read_manifest(layout.tokens("web-1of3")).config["bucket"] == {
        "of": "web", "number": 1, "by": "perplexity", "count": 3, "unscored": "error",
    }  # fmt: skip
    place = Sidecars(layout.tokens_root).place("web", min(expected(rows, 3)[2]))
    assert place is not None and place.source == "web-3of3"
    stages = [{"name": n, "share": 1 / 3, "weights": {n: 1}} for n in names[1:]]
    mixture = validate(Mixture, {"stages": stages}, "mixture")
    plan = plan_mixture(mixture, available_tokens(layout), 300, where="here")
    assert [[row.source for row in stage.sources] for stage in plan.stages] == [[name] for name in names[1:]]
    check(layout, rows, names, [])
    lost = layout.tokens("web-2of3") / "documents.parquet"
    pq.write_table(pq.read_table(lost).slice(1), lost)
    check(layout, rows, names, ["1 kept documents have no tokens"])
    with pytest.raises(ConfigError, match=r"tokens\.buckets names wbe, which has no documents"):
        make_tokens(layout, TokensConfig(buckets={"wbe": BucketsConfig()}))


def test_a_checkpoint_can_say_how_hard_documents_are(tmp_path):
    layout, rows = write_documents(tmp_path / "run")
    web = [row["id"] for row in rows if row["source"] == "web"]
    hard = {identifier: int(identifier[-2:], 16) / 8 for identifier in web}
    folder = tmp_path / "difficulty"

    def write(ids):
        writer = ArtifactWriter(folder, kind="figures", name="perplexity", producer="test 1", config={})
        writer.begin()
        table = pa.table({"id": ids, "figure": [hard[i] for i in ids]}, schema=FIGURES)
        assert write_figures(folder, [table.slice(5), table.slice(0, 5)]) == len(ids)
        writer.commit({})

    write(web)
    config = BucketsConfig(by="checkpoint", figures=str(folder), count=3)
    make_tokenizer(layout, TokenizerConfig(kind="char", vocab_size=300))
    make_tokens(layout, TokensConfig(workers=1, buckets={"web": config}))
    ranked = sorted(web, key=lambda identifier: (hard[identifier], identifier))
    for place, name in enumerate(bucket_names("web", 3)):
        found = set(pq.read_table(layout.tokens(name) / "documents.parquet").column("id").to_pylist())
        assert found == set(ranked[place * 11 : place * 11 + 11])
        manifest = read_manifest(layout.tokens(name))
        assert {parent.role for parent in manifest.parents} == {"documents", "tokenizer", "figures"}
        assert "figures" not in manifest.config["bucket"]  # a path, and the parent says which they are
    check(layout, rows, ["code", *bucket_names("web", 3)], [])
    write(web[3:])
    with pytest.raises(DataError, match=r"3 documents of web have no figure of checkpoint") as refused:
        make_tokens(layout, TokensConfig(workers=1, buckets={"web": config}))
    assert "headwater eval difficulty" in refused.value.hint
    (folder / "figures.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="was changed after it was written"):
        make_tokens(layout, TokensConfig(workers=1, buckets={"web": config}))
    with pytest.raises(ConfigError, match="by: checkpoint goes with figures"):
        validate(TokensConfig, {"buckets": {"web": {"by": "checkpoint"}}}, "tokens")


def check(layout, rows, names, messages):
    """What verify finds of the buckets."""
    index, findings = DocumentIndex(), Findings()
    for row in rows:
        index.kept.setdefault(row["source"], {})[row["id"]] = (row["split"], row["text_bytes"])
    artifacts = [Artifact(layout.tokens(n), f"tokens/{n}", read_manifest(layout.tokens(n)), None) for n in names]
    if not messages:
        for artifact in artifacts:
            check_tokens(artifact, index, findings)
    for buckets in buckets_by_source(artifacts):
        check_buckets(buckets, index, findings)
    assert [finding.problem for finding in findings.found] == messages, json.dumps(messages)
