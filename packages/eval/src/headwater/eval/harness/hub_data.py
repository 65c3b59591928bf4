"""Data sets of the Hugging Face hub in a folder: pulled once, checked by checksums, read without a network.

    DIR/hub/<owner>--<name>/<configuration>/<split>.parquet, DIR/SHA256SUMS

lm-eval's tasks, its own and those of users, read their data with `datasets.load_dataset`. While tasks are loaded, that
call is answered from the folder, whatever the task; while data is pulled, what it gives is written there.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq

from headwater.core.errors import EvalError
from headwater.core.storage import atomic_write, json_digest, storage_errors

FOLDER = "hub"
# Arguments that say how something is read, not what.
_HOW = ("cache_dir", "keep_in_memory", "token", "trust_remote_code", "download_mode", "verification_mode", "num_proc")


class HubFolder:
    """Data sets in a data folder.

    Args:
        data_dir: The data folder; `hub` in it need not exist.
    """

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir.expanduser().resolve() / FOLDER

    def place(self, path: str, name: str | None, given: Mapping[str, Any]) -> Path:
        """Where the splits of a data set lie."""
        more = {key: value for key, value in given.items() if key not in _HOW and value is not None}
        mark = f"-{json_digest(more)[:12]}" if more else ""
        safe = path.strip("./").replace("/", "--")
        return self.root / safe / f"{(name or 'default').replace('/', '--')}{mark}"

    @contextmanager
    def answering(self, *, hub: bool) -> Generator[None]:
        """Data sets that are here are read from here, others by `datasets` itself.

        Args:
            hub: Whether the hub is allowed; otherwise a data set that it would come from is an error that names it.
        """
        if not self.root.is_dir():
            yield
            return
        inner = datasets.load_dataset

        def load(path: str, name: str | None = None, *rest: Any, **given: Any) -> Any:
            split = given.pop("split", None)
            folder = self.place(path, name, given)
            if folder.is_dir():
                return self._read(folder, split)
            if split is not None:
                given["split"] = split
            try:
                return inner(path, name, *rest, **given)
            except (ConnectionError, FileNotFoundError) as error:
                if hub:
                    raise
                raise FileNotFoundError(f"{self.root} has no {folder.relative_to(self.root)}") from error

        with _replaced(load):
            yield

    @contextmanager
    def recording(self) -> Generator[list[Path]]:
        """Data sets that are loaded meanwhile are written here; gives the list of their folders."""
        inner, written = datasets.load_dataset, list[Path]()

        def load(path: str, name: str | None = None, *rest: Any, **given: Any) -> Any:
            split = given.get("split")
            found = inner(path, name, *rest, **given)
            folder = self.place(path, name, {key: value for key, value in given.items() if key != "split"})
            for each, rows in ({str(split): found} if split is not None else found).items():
                self._write(folder / f"{each}.parquet", rows)
            written.append(folder)
            return found

        with _replaced(load):
            yield written

    @staticmethod
    def _write(path: Path, rows: Any) -> None:
        import io

        if not isinstance(rows, datasets.Dataset):
            raise EvalError(f"{path.parent.name} is no table of items", found=type(rows).__name__)
        target = io.BytesIO()
        rows.to_parquet(target)
        with storage_errors("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, target.getvalue())

    @staticmethod
    def _read(folder: Path, split: str | None) -> Any:
        files = {file.stem: file for file in sorted(folder.glob("*.parquet"))}
        if split is not None and split not in files:
            raise EvalError(f"{folder} has no split {split}", found=", ".join(files), hint="pull the data again")
        found: dict[Any, datasets.Dataset] = {}
        for name, file in files.items():
            if split in (None, name):
                try:
                    # Read into memory: `datasets` would leave a copy in its cache.
                    found[name] = datasets.Dataset(pq.read_table(file))  # pyright: ignore[reportArgumentType]
                except (OSError, ValueError) as error:
                    raise EvalError(
                        f"cannot read {file}: {error}", hint="check it: headwater eval data verify DIR"
                    ) from error
        return found[split] if split is not None else datasets.DatasetDict(found)  # pyright: ignore[reportCallIssue, reportArgumentType]


@contextmanager
def _replaced(load: Any) -> Generator[None]:
    inner = datasets.load_dataset
    datasets.load_dataset = load
    try:
        yield
    finally:
        datasets.load_dataset = inner
