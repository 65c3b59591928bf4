"""The items stage: writes down what the evaluation will ask, before any training document is chosen.

Decontamination and `headwater trace item` compare training documents with these texts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.core.item_parts import item_parts
from headwater.core.lock import exclusive
from headwater.core.manifest import ArtifactWriter, Manifest
from headwater.core.storage import file_sha256, json_digest, storage_errors
from headwater.eval import PRODUCER
from headwater.eval.data_dir import LocalTask, check_data_dir, leaf_tasks
from headwater.eval.tasks.local_data import read_items, split_files
from headwater.eval.tasks.packaged import ITEMS_FOLDER, MINI_TASKS, SCORED_SPLIT, read_split

ITEMS_FILE = "items.parquet"
_ROW_GROUP = 1024


@dataclass(frozen=True)
class ItemsResult:
    """What the stage made or found.

    Attributes:
        manifest: Manifest of the artifact.
        fresh: False when it was up to date.
        without: Tasks whose items are not known here, so that nothing can be compared with them.
    """

    manifest: Manifest
    fresh: bool
    without: list[str]


def write_items(
    folder: Path,
    tasks: Sequence[str],
    data_dir: Path | None = None,
    *,
    checksum_file: Path | None = None,
    include: Sequence[Path] = (),
) -> ItemsResult:
    """Writes the items artifact.

    Args:
        folder: The artifact's folder.
        tasks: Task and group names, as in `eval.tasks`.
        data_dir: Data folder of the real benchmarks.
        checksum_file: Checksums of the data folder; by default `SHA256SUMS` in it, if it is there.
        include: Folders of the user's own task files. Their names are known; their items are not.

    Raises:
        ConfigError: A name that is no task.
        EvalError: Data of a task is missing, changed, or cannot be read.
        StorageError: Another process is writing the folder, or the disk refused.
    """
    _refuse_unknown(tasks, include)
    local = leaf_tasks(tasks) if data_dir is not None else []
    if data_dir is not None:
        # Before the corpus is cleaned of them: what the evaluation will read has to be whole.
        check_data_dir(data_dir, local, checksum_file)
    with exclusive(folder):
        return _write(folder, tasks, local, data_dir)


def _refuse_unknown(tasks: Sequence[str], include: Sequence[Path]) -> None:
    others = [name for name in tasks if name not in MINI_TASKS and not leaf_tasks([name])]
    if others:
        from headwater.eval.harness.names import require_names

        require_names(others, include)


def _write(folder: Path, tasks: Sequence[str], local: Sequence[LocalTask], data_dir: Path | None) -> ItemsResult:
    mini = [name for name in tasks if name in MINI_TASKS]
    without = [name for name in tasks if name not in MINI_TASKS and not (data_dir and leaf_tasks([name]))]
    config: dict[str, Any] = {"tasks": list(tasks), "sources": _source_digests(mini, local, data_dir)}
    writer = ArtifactWriter(folder, kind="items", name="items", producer=PRODUCER, config=config)
    if (manifest := writer.up_to_date()) is not None:
        return ItemsResult(manifest, False, without)
    writer.begin()
    rows: list[dict[str, Any]] = []
    for name in mini:
        rows += _rows(name, read_split(name, SCORED_SPLIT))
    for task in local:
        assert data_dir is not None
        rows += _rows(task.name, read_items(data_dir, task.family, SCORED_SPLIT, task.subject))
    path = folder / ITEMS_FILE
    with storage_errors("write", path):
        _write_parquet(path, rows)
    counts = {name: sum(row["task"] == name for row in rows) for name in dict.fromkeys(row["task"] for row in rows)}
    manifest = writer.commit({"items": len(rows), "tasks": counts, "without_items": without}, files=[path])
    return ItemsResult(manifest, True, without)


def _rows(task: str, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "task": task,
            "index": index,
            "text": item_parts(fields).text,
            "fields_json": json.dumps(fields, sort_keys=True, ensure_ascii=False),
        }
        for index, fields in enumerate(items)
    ]


def _source_digests(mini: Sequence[str], local: Sequence[LocalTask], data_dir: Path | None) -> dict[str, str]:
    """What the items are read from, so that a changed file makes a new artifact; no paths, so that folders may move."""
    digests = {name: file_sha256(ITEMS_FOLDER / f"{name.removeprefix('headwater_')}.test.jsonl") for name in mini}
    for family in dict.fromkeys(task.family for task in local):
        assert data_dir is not None
        files = [split_files(data_dir, family, task.subject)[SCORED_SPLIT] for task in local if task.family == family]
        digests[family] = json_digest([file_sha256(path) for path in files if path.is_file()])
    return digests


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from headwater.core.documents import ITEMS

    table = pa.Table.from_pylist(rows, schema=ITEMS)
    pq.write_table(table, path, row_group_size=_ROW_GROUP, compression="zstd", store_schema=False)
