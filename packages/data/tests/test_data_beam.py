"""The Beam engine: the bytes of the local engine, on several runners; restarts; errors that say what happened."""

# ruff: noqa: E402 — without Beam the module is skipped before it imports what needs Beam

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

beam = pytest.importorskip("apache_beam", reason="Apache Beam is not installed: pip install 'headwater-data[beam]'")
from apache_beam.internal import cloudpickle
from apache_beam.runners.portability.fn_api_runner import worker_handlers

from headwater.core.config import load_section
from headwater.core.documents import VERDICT
from headwater.core.errors import ConfigError, DataError, StorageError
from headwater.core.layout import RunLayout
from headwater.data import steps
from headwater.data.config import DocumentsConfig
from headwater.data.documents import make_documents
from headwater.data.engines.arrow_files import ArrowPart, PartWriter
from headwater.data.engines.beam import load
from headwater.data.engines.beam.coder import ArrowBatchCoder
from headwater.data.engines.beam.engine import BeamEngine
from headwater.data.engines.beam.local_workers import loopback_only
from headwater.data.engines.beam.options import BeamConfig
from headwater.data.engines.beam.translate import Translation
from headwater.data.engines.failures import Failures

pytestmark = [pytest.mark.beam, pytest.mark.slow]
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests

IN_MEMORY = ("documents.engine.name=beam", "documents.engine.workers=1")
PROGRAM = "from headwater.core.cli import main; main()"


def make(run, recipe, *overrides):
    return make_documents(RunLayout(run), load_section("documents", DocumentsConfig, recipe, overrides))


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


_LOCAL: dict[str, str] = {}


@pytest.fixture
def expected(tiny):
    """What the local engine makes of the tiny run: every file, with the manifest."""
    if not _LOCAL:
        run, recipe = tiny("reference")
        make(run, recipe)
        _LOCAL.update(digests(run / "documents"))
    return _LOCAL


@pytest.mark.parametrize(
    "options",
    [
        (*IN_MEMORY,),
        (*IN_MEMORY, "documents.engine.beam.shuffle_partitions=3", "documents.engine.partition_bytes=1000"),
        (
            "documents.engine.name=beam",
            "documents.engine.workers=2",
            "documents.engine.beam.shuffle_partitions=4",
            "documents.engine.partition_bytes=7000",
        ),
    ],
    ids=["in-memory", "other-partitions", "two-processes"],
)
def test_beam_makes_the_bytes_of_the_local_engine(tiny, expected, options):
    run, recipe = tiny("beam")
    make(run, recipe, *options)
    assert digests(run / "documents") == expected


@pytest.fixture
def job_server(tmp_path):
    """Beam's job server and a pool of worker processes, each a process of its own; gives the pipeline options."""
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    bin_first = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    module = [sys.executable, "-m"]
    commands = [
        [*module, "apache_beam.runners.portability.local_job_service_main", "--port", str(ports[0]),
         "--staging_dir", str(tmp_path / "staging")],
        [*module, "apache_beam.runners.worker.worker_pool_main", "--service_port", str(ports[1])],
    ]  # fmt: skip
    with open(tmp_path / "servers.log", "wb") as log:
        servers = [
            subprocess.Popen(command, stdout=log, stderr=log, env=bin_first, start_new_session=True)
            for command in commands
        ]
    try:
        for port in ports:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
        yield [f"--job_endpoint=localhost:{ports[0]}", "--environment_type=EXTERNAL",
               f"--environment_config=localhost:{ports[1]}"]  # fmt: skip
    finally:
        for server in servers:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.mark.services
def test_a_job_server_with_separate_workers_makes_the_same_bytes(tiny, expected, job_server):
    run, recipe = tiny("portable")
    make(run, recipe, "documents.engine.name=beam", "documents.engine.beam.runner=PortableRunner",
         f"documents.engine.beam.options={json.dumps(job_server)}")  # fmt: skip
    assert digests(run / "documents") == expected


@pytest.mark.parametrize(("stage", "marks"), [("filter", 3), ("finish", 1)])
def test_kill_9_of_the_driver_then_the_same_command(tiny, expected, monkeypatch, stage, marks):
    run, recipe = tiny("killed")
    options = [*IN_MEMORY, "documents.engine.partition_bytes=2000", "documents.engine.beam.shuffle_partitions=6"]
    command = [sys.executable, "-c", PROGRAM, "data", "run", "--recipe", str(recipe), "--run", str(run), *options]
    messages = run / "messages.log"
    with open(messages, "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 300
    work = run / "documents" / "_work"
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(work.glob(f"*-beam/*/{stage}/*.done"))) >= marks:
            break
    assert process.poll() is None, messages.read_text()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "documents" / "manifest.json").exists()
    counts = [json.loads(mark.read_bytes()) for mark in work.glob("*-beam/*/filter/*.done")]
    finished = sum(count["kept"] + count["rejected"] for count in counts)
    assert finished == 60 if stage == "finish" else finished > 0

    filtered = []
    real = steps.Filter.__call__
    monkeypatch.setattr(
        steps.Filter, "__call__", lambda self, batch: (filtered.append(batch.num_rows), real(self, batch))[1]
    )
    make(run, recipe, *options)
    assert sum(filtered) == 60 - finished
    assert digests(run / "documents") == expected


# The engine itself.

PLACED = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("warc_file", pa.string()),
        pa.field("warc_offset", pa.int64()),
        pa.field("key", pa.binary()),
        pa.field("verdicts", pa.list_(VERDICT)),
    ]
)


def placed(count, first=0):
    rows = [
        {"source": "web", "warc_file": "w.warc.gz", "warc_offset": i, "key": bytes([i % 5, 0]), "verdicts": []}
        for i in range(first, first + count)
    ]
    return pa.Table.from_pylist(rows, schema=PLACED)


@pytest.fixture
def units(tmp_path):
    """Readers that workers can open: files of `PLACED`."""
    parts = []
    for number in range(3):
        path = tmp_path / f"unit-{number}.arrow"
        writer = PartWriter(path, PLACED)
        writer.write(placed(20, first=20 * number))
        writer.finish()
        parts.append(ArrowPart(str(path)))
    return parts


@dataclass(frozen=True)
class Fail:
    """Raises at one document."""

    error: str
    offset: int = 33
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"rows": PLACED})

    def __call__(self, batch):
        if self.offset in batch.column("warc_offset").to_pylist():
            if self.error == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.error == "storage":
                raise StorageError("cannot read the model", found="no file", hint="train it")
            raise ZeroDivisionError("by nothing")
        return {"rows": batch}


@dataclass(frozen=True)
class Same:
    output: pa.Schema = PLACED

    def __call__(self, groups):
        return groups


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_back_whole_with_its_document(tmp_path, units, workers):
    with BeamEngine(tmp_path / "work", workers=workers) as engine:
        data = engine.read(units, PLACED)
        with pytest.raises(StorageError) as caught:
            engine.map_batches("models", data, Fail("storage"))
    assert str(caught.value).splitlines() == [
        "cannot read the model (step models, unit 00-0000001; document web/w.warc.gz at offset 33)",
        "  found:    no file",
        "  to do:    train it",
    ]


def test_an_unforeseen_error_names_its_type_and_finished_units_stay(tmp_path, units):
    with (
        BeamEngine(tmp_path / "work") as engine,
        pytest.raises(DataError, match="ZeroDivisionError: by nothing") as caught,
    ):
        engine.map_batches("divide", engine.read(units, PLACED), Fail("division", offset=59))
    assert "document web/w.warc.gz at offset 59" in str(caught.value)
    assert len(list(tmp_path.glob("work/*/divide/*.done"))) == 2
    assert not list(tmp_path.glob("work/*/divide/*.tmp"))


def test_a_worker_that_is_killed_is_an_error_and_not_a_wait_without_end(tmp_path, units):
    program = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("beam_test", {__file__!r})
module = importlib.util.module_from_spec(spec)
sys.modules["beam_test"] = module
spec.loader.exec_module(module)
with module.BeamEngine(module.Path({str(tmp_path / "work")!r}), workers=2) as engine:
    parts = [module.ArrowPart(path) for path in {[part.path for part in units]!r}]
    engine.map_batches("heavy", engine.read(parts, module.PLACED), module.Fail("killed"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "a process that was killed by signal 9" in done.stderr, done.stderr
    assert "documents.engine.workers" in done.stderr


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"options": ["--direct_num_wrokers=2"]}, "--direct_num_workers"),
        ({"options": ["--direct_num_workers=two"]}, "invalid int value"),
        ({"options": ["--direct_running_mode=many"]}, "multi_processing"),
        ({"runner": "FlinkRuner"}, "did you mean FlinkRunner"),
        ({"runner": "nowhere.at.all.Runner"}, "cannot be used"),
    ],
)
def test_mistakes_in_the_options_are_refused_before_anything_starts(tmp_path, config, match):
    with pytest.raises(ConfigError, match=match):
        BeamEngine(tmp_path, BeamConfig(**config))


@pytest.mark.parametrize("option", ["direct_num_workers=2", "--runner=FlinkRunner"])
def test_the_recipe_checks_the_form_of_options(tiny, option):
    _, recipe = tiny()
    with pytest.raises(ConfigError, match=r"documents\.engine\.beam\.options"):
        load_section("documents", DocumentsConfig, recipe, [f"documents.engine.beam.options=[{option}]"])


def test_options_of_a_job_server_are_passed_on_unchecked(tmp_path):
    engine = BeamEngine(tmp_path, BeamConfig(job_server_options=("--parallelism=64",)))
    assert "--parallelism=64" in engine.runner.pipeline().options._flags


def test_without_beam_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        load.open_beam(tmp_path, BeamConfig(), 1)


def test_shuffles_carry_arrow_batches_under_numbers_and_nothing_pickled(tmp_path, units):
    engine = BeamEngine(tmp_path / "work")
    data = engine.read(units, PLACED)
    joined = engine.join(data, data, left_on="key", right_on="key", prefix="r_")
    group = engine.group_by_key("same", engine.union([data, engine.derive(joined, Keep())]), ["key"], [], Same())
    pipeline = engine.runner.pipeline()
    Translation(pipeline, Failures(str(tmp_path)), {}).add(group.step)
    proto, context = pipeline.to_runner_api(return_context=True)
    steps_found = {each.unique_name: each for each in proto.components.transforms.values()}
    batch, number = ArrowBatchCoder(), beam.coders.VarIntCoder()
    pair = beam.coders.TupleCoder
    wanted = {"same/shuffle": pair((number, batch)), "join-1/shuffle": pair((number, pair((number, batch))))}
    for name, coder in wanted.items():
        (collection,) = steps_found[name].inputs.values()
        assert context.coders[proto.components.pcollections[collection].coder_id] == coder
    (root,) = proto.root_transform_ids
    top = [proto.components.transforms[each].unique_name for each in proto.components.transforms[root].subtransforms]
    assert {name.split("/")[0] for name in top} == {"read-1", "join-1", "same"}


@dataclass(frozen=True)
class Keep:
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"rows": PLACED})

    def __call__(self, batch):
        return {"rows": batch.select(PLACED.names)}


@pytest.mark.parametrize("rows", [(0, 20), (0, 0), (3, 11)])
def test_a_batch_comes_out_of_its_coder_as_it_went_in(rows):
    (batch,) = placed(20).to_batches()
    batch = batch.slice(*rows)
    coder = ArrowBatchCoder()
    encoded = coder.encode(batch)
    again = coder.decode(encoded)
    assert again.equals(batch) and again.schema.equals(batch.schema) and coder.encode(again) == encoded


def test_beams_own_servers_listen_on_loopback_only():
    with loopback_only():
        server = worker_handlers.grpc.server(worker_handlers.thread_pool_executor.shared_unbounded_instance())
        port = server.add_insecure_port("[::]:0")
        server.start()
        found = []
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:]:
                address, listening = line.split()[1], line.split()[3] == "0A"
                if listening and int(address.rpartition(":")[2], 16) == port:
                    found.append(address.rpartition(":")[0])
        server.stop(0)
    assert found and set(found) <= {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
