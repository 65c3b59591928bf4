"""`headwater verify`: a whole run passes; whatever is changed, missing or added is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from synthetic_run import SyntheticRun, write_run

from headwater.core.documents import REJECTED, document_id
from headwater.core.errors import ManifestError
from headwater.core.manifest import ArtifactWriter, parent_of, read_manifest, read_volatile
from headwater.core.verify.report import Verification, verify_run
from headwater.core.verify_cli import verify

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> SyntheticRun:
    return write_run(tmp_path_factory.mktemp("verify") / "run")


@pytest.fixture
def run(original: SyntheticRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original.layout.root, tmp_path / "run"))


def all_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def named(result: Verification) -> set[str]:
    return {finding.file or finding.artifact for finding in result.errors}


def remake(folder: Path, change: Callable[[Path], object], counters: dict[str, object] | None = None) -> None:
    """Commits an artifact again after a change, as a faulty stage would have written it."""
    old = read_manifest(folder)
    contents = {entry.path: (folder / entry.path).read_bytes() for entry in old.files}
    parents = [parent_of(folder, (folder / p.path).resolve(), p.role) for p in old.parents]
    writer = ArtifactWriter(
        folder, kind=old.kind, name=old.name, producer=old.producer, config=old.config, parents=parents
    )
    writer.begin()
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    change(folder)
    writer.commit({**old.counters, **(counters or {})}, files=[folder / path for path in contents])


def test_a_whole_run_is_verified(run: Path):
    result = verify_run(run)
    assert result.findings == []
    assert result.kinds == {
        "raw": 2, "items": 1, "documents": 1, "tokenizer": 1, "tokens": 2, "training": 1, "checkpoint": 2, "eval": 1,
        "report": 1,
    }  # fmt: skip
    listed = [path for path in all_files(run) if path.name not in ("manifest.json", "volatile.json", "recipe.yaml")]
    assert result.files == len(listed)
    assert result.bytes == sum(path.stat().st_size for path in listed)


@pytest.mark.parametrize("where", [0.5, 0.999])
def test_one_flipped_bit_in_any_file_is_found_and_named(original: SyntheticRun, run: Path, where: float):
    names = [path.relative_to(run) for path in all_files(run)]
    assert len(names) == 57
    for name in names:
        path = run / name
        content = bytearray(path.read_bytes())
        content[int(len(content) * where)] ^= 1
        path.write_bytes(content)
        result = verify_run(run)
        assert name.as_posix() in named(result), f"a flipped bit in {name} was not found"
        path.write_bytes((original.layout.root / name).read_bytes())
    assert verify_run(run).findings == []


@pytest.mark.parametrize("file", ["documents/manifest.json", "train/volatile.json", "recipe.yaml"])
def test_bytes_all_over_a_manifest_and_the_recipe_count(run: Path, file: str):
    path = run / file
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 0x20  # turns letters into the other case and spaces into NUL
        path.write_bytes(changed)
        assert file in named(verify_one(run)), f"byte {place} of {file}"


def verify_one(run: Path) -> Verification:
    """Verifies without hashing the data files again: the bytes tried are those of manifests."""
    from headwater.core.layout import RunLayout
    from headwater.core.verify.findings import Findings
    from headwater.core.verify.recipe import check_recipe
    from headwater.core.verify.walk import walk

    findings = Findings()
    check_recipe(RunLayout(run), walk(RunLayout(run), findings), findings)
    return Verification(str(run), 0, 0, 0, {}, findings.found)


def test_white_space_in_a_manifest_is_found(run: Path):
    path = run / "tokens/web/manifest.json"
    path.write_bytes(path.read_bytes() + b"\n")
    (finding,) = verify_run(run).errors
    assert finding.file == "tokens/web/manifest.json"
    assert "values are the same" in finding.problem


def test_a_missing_file_is_found_and_named(original: SyntheticRun, run: Path):
    for path in all_files(run):
        if path.name == "recipe.yaml":
            continue  # stages may be run one by one, without a resolved recipe
        content = path.read_bytes()
        path.unlink()
        name = path.relative_to(run).as_posix()
        assert name in named(verify_run(run)), f"{name} is missing, and nothing was said"
        path.write_bytes(content)


def test_a_missing_parent_is_named_by_its_children(run: Path):
    shutil.rmtree(run / "tokenizer")
    problems = {(f.artifact, f.problem) for f in verify_run(run).errors}
    assert ("tokens/web", "its parent tokenizer is missing") in problems
    assert ("train", "its parent tokenizer is missing") in problems


def test_a_parent_that_was_made_again_is_named(run: Path):
    remake(run / "tokenizer", lambda folder: (folder / "tokenizer.json").write_text("{}\n"))
    errors = verify_run(run).errors
    assert {f.artifact for f in errors if "was made from another tokenizer" in f.problem} >= {
        "tokens/web",
        "tokens/code",
    }


def test_an_edited_config_is_found_in_each_place(run: Path):
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("seq_len: 16", "seq_len: 32"))
    config = run / "train/config.yaml"
    config.write_text(config.read_text().replace("steps: 12", "steps: 13"))
    manifest = run / "train/manifest.json"
    manifest.write_text(manifest.read_text().replace('"steps": 12', '"steps": 13'))
    assert named(verify_run(run)) >= {"recipe.yaml", "train/manifest.json"}
    manifest.write_text(manifest.read_text().replace('"steps": 13', '"steps": 12'))
    assert named(verify_run(run)) == {"recipe.yaml", "train/config.yaml"}


def test_a_stage_run_with_other_settings_than_the_recipe_is_a_warning(run: Path):
    from headwater.core.verify.recipe import seal

    recipe = run / "recipe.yaml"
    recipe.write_text(seal(recipe.read_text().split("\n", 1)[1].replace("seq_len: 16", "seq_len: 32")))
    result = verify_run(run)
    assert result.errors == []
    (warning,) = result.findings
    assert (warning.artifact, warning.found, warning.expected) == ("train", "16", "32")
    assert "train.seq_len" in warning.problem


def test_a_run_that_starts_from_another_one_is_verified_with_it(run: Path, tmp_path: Path):
    other = write_run(tmp_path / "other", name="other", steps_done=12).layout
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("tokens", "tokenizer", "documents"):
        (linked / name).symlink_to(run / name, target_is_directory=True)
    shutil.copytree(run / "train", linked / "train")
    for folder in (linked / "train", *sorted((linked / "train" / "checkpoints").iterdir())):
        old = read_manifest(folder)
        parents = [parent_of(folder, linked / p.role, p.role) for p in old.parents]
        parents.append(parent_of(folder, other.checkpoint(12), "init"))
        writer = ArtifactWriter(
            folder, kind=old.kind, name=old.name, producer=old.producer, config=old.config, parents=parents
        )
        writer.commit(old.counters, files=[folder / entry.path for entry in old.files],
                      volatile=[folder / entry.path for entry in read_volatile(folder).files])  # fmt: skip
    result = verify_run(linked)
    assert result.findings == []
    assert result.kinds == {"raw": 4, "items": 2, "documents": 2, "tokenizer": 2, "tokens": 4, "training": 1,
                            "checkpoint": 3}  # fmt: skip
    remake(other.tokens("web"), lambda folder: (folder / "documents.parquet").write_bytes(b""))
    assert {finding.artifact for finding in verify_run(linked).errors} >= {"../other/tokens/web"}


def test_a_file_that_no_manifest_lists_is_a_warning(run: Path):
    (run / "documents/part-00009.parquet").write_bytes(b"what is this")
    (run / "notes.txt").write_text("mine")
    for page in ("documents.html", "eval.html"):
        (run / page).write_text("a page can be drawn again at any time")
    result = verify_run(run)
    assert result.errors == []
    assert {f.file for f in result.findings} == {"documents/part-00009.parquet", "notes.txt"}


def test_unfinished_work_is_a_warning(run: Path):
    shutil.rmtree(run / "report")
    ArtifactWriter(run / "report", kind="report", name="report", producer="x", config={}).begin()
    result = verify_run(run)
    assert result.errors == []
    assert [(f.artifact, f.problem) for f in result.findings] == [("report", "is not finished")]


@pytest.mark.parametrize(
    ("folder", "counters", "problem"),
    [
        ("documents", {"documents_out": 3}, "counts documents_out wrongly"),
        ("documents", {"documents_in": 0}, "counts documents_in wrongly"),
        ("documents", {"sources": {"web": {"bytes_out": 1}}}, "counts bytes_out of web wrongly"),
        ("tokens/web", {"train_tokens": 5}, "counts train_tokens wrongly"),
        ("train", {"steps": 99}, "counts steps wrongly"),
    ],
)
def test_a_wrong_counter_is_found(run: Path, folder: str, counters: dict[str, object], problem: str):
    remake(run / folder, lambda _: None, counters)
    assert (folder, problem) in {(f.artifact, f.problem) for f in verify_run(run).errors}


def _edit_run(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=1, sort_keys=True) + "\n")

    return edit


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seed": 8}, "order_digest does not follow"),
        ({"weights": {"web": 0.5, "code": 0.5}}, "order_digest does not follow"),
        ({"samples": 31}, "samples is not what so many steps take"),
        ({"tokenizer_digest": "0" * 64}, "names another tokenizer"),
        ({"tokens": {"web": "0" * 64}}, "names another tokens/web"),
        ({"schema_version": 2}, "another schema version"),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_found(run: Path, change: dict[str, object], problem: str):
    remake(run / "train/checkpoints/step-00000008", _edit_run(**change))
    found = [f for f in verify_run(run).errors if f.artifact == "train/checkpoints/step-00000008"]
    assert any(problem in f.problem for f in found), found


def test_a_funnel_that_does_not_add_up_is_found(run: Path):
    def miscount(folder: Path) -> None:
        funnel = json.loads((folder / "funnel.json").read_text())
        funnel["sources"]["web"]["operators"][1]["rejected"] = {"overlap": 2}
        (folder / "funnel.json").write_text(json.dumps(funnel))

    remake(run / "documents", miscount)
    (finding,) = [f for f in verify_run(run).errors if f.file == "documents/funnel.json"]
    assert finding.problem == "counts rejected of web at decontaminate wrongly"
    assert (finding.found, finding.expected) == ("{'overlap': 2}", "{'overlap': 1}")


def test_losses_with_a_gap_are_found(run: Path):
    def drop(folder: Path) -> None:
        lines = (folder / "losses.jsonl").read_text().splitlines(keepends=True)
        (folder / "losses.jsonl").write_text("".join(lines[:3] + lines[4:]))

    remake(run / "train", drop)
    (finding,) = [f for f in verify_run(run).errors if f.file == "train/losses.jsonl"]
    assert (finding.found, finding.expected) == ("step 5", "step 4")


def test_losses_of_other_samples_are_found(run: Path):
    def shift(folder: Path) -> None:
        path = folder / "losses.jsonl"
        path.write_text(path.read_text().replace('"samples": [8, 12]', '"samples": [9, 13]'))

    remake(run / "train", shift)
    (finding,) = [f for f in verify_run(run).errors if f.file == "train/losses.jsonl"]
    assert (finding.found, finding.expected) == ("samples [9, 13]", "samples [8, 12]")


def test_a_step_that_was_fed_other_tokens_is_found(run: Path):
    def swap(folder: Path) -> None:
        path = folder / "losses.jsonl"
        first, second, *rest = (json.loads(line) for line in path.read_text().splitlines())
        first["fed"], second["fed"] = second["fed"], first["fed"]
        path.write_text("".join(json.dumps(row) + "\n" for row in (first, second, *rest)))

    remake(run / "train", swap)
    found = [f.problem for f in verify_run(run).errors if f.file == "train/losses.jsonl"]
    assert found == [f"step {step} was fed other tokens than the order of samples takes" for step in (1, 2)]


def test_a_sidecar_that_disagrees_with_the_index_is_found(run: Path):
    def shift(folder: Path) -> None:
        table = pq.read_table(folder / "documents.parquet")
        rows = table.to_pylist()
        rows[1]["token_start"] += 1
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / "documents.parquet")

    remake(run / "tokens/code", shift)
    assert any("token_start of train document" in f.problem for f in verify_run(run).errors)


def test_a_record_that_could_not_be_read_is_known_by_its_place(run: Path):
    folder = run / "documents"

    def unreadable(_: Path) -> None:
        path = folder / "rejected" / "part-00000.parquet"
        rows = pq.read_table(path).to_pylist()
        place = f"{rows[0]['warc_file']}:{rows[0]['warc_offset']}"
        rows[0] |= {"url": "", "payload_sha256": "", "id": document_id(rows[0]["source"], place, "")}
        pq.write_table(pa.Table.from_pylist(rows, schema=REJECTED), path)

    remake(folder, unreadable)
    assert not any("an id that does not follow" in finding.problem for finding in verify_run(run).errors)


def test_a_kept_document_without_tokens_is_found(run: Path):
    import pyarrow.parquet as pq

    def add_from_rejected(folder: Path) -> None:
        kept = pq.read_table(folder / "part-00001.parquet")
        more = pq.read_table(folder / "rejected/part-00000.parquet").select(kept.schema.names)
        import pyarrow as pa

        pq.write_table(pa.concat_tables([kept, more]), folder / "part-00001.parquet")

    remake(run / "documents", add_from_rejected)
    problems = {(f.artifact, f.problem) for f in verify_run(run).errors}
    assert ("tokens/web", "1 kept documents have no tokens") in problems
    assert ("documents", "counts documents_out wrongly") in problems


def test_a_folder_without_artifacts_is_refused(tmp_path: Path):
    with pytest.raises(ManifestError, match="not a run folder"):
        verify_run(tmp_path)
    with pytest.raises(ManifestError, match="not a run folder"):
        verify_run(tmp_path / "none")


def test_the_command_names_the_file_and_exits_with_1(run: Path):
    runner = CliRunner()
    good = runner.invoke(verify, [str(run)])
    assert good.exit_code == 0
    assert good.stdout.startswith("verify: verified: 12 artifacts")
    path = run / "raw/web/00000.warc.gz"
    path.write_bytes(path.read_bytes()[:-1])
    bad = runner.invoke(verify, [str(run)])
    assert bad.exit_code == 1
    assert "error: raw/web/00000.warc.gz: has another size than when it was written" in bad.stdout
    assert "NOT VERIFIED: 1 finding" in bad.stdout
    value = json.loads(runner.invoke(verify, [str(run), "--json"]).stdout)
    assert value["ok"] is False
    assert value["findings"][0]["file"] == "raw/web/00000.warc.gz"
