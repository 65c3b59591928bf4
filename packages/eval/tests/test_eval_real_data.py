"""The real MMLU, GSM8K and HumanEval from a local folder, where there is one."""

import json
from pathlib import Path

import pytest

from headwater.core.config import validate
from headwater.core.layout import RunLayout
from headwater.eval.config import EvalConfig
from headwater.eval.stage import run_eval

DATA = Path(__file__).parents[3].parent / "shared" / "eval-data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no benchmark data in {DATA}"),
]


def test_mmlu_gsm8k_and_humaneval_from_a_folder(finished_run, tmp_path):
    config = validate(
        EvalConfig,
        {"tasks": ["mmlu", "gsm8k", "humaneval"], "limit": 1, "max_gen_tokens": 8, "bits_per_byte": False},
        "eval",
    )
    run = RunLayout(finished_run.root)
    done = run_eval(run, config, data_dir=DATA, output=tmp_path / "out")
    rows = {(row.task, row.filter): row for row in done.results.tasks if "gold" not in row.metric}
    mmlu = rows["mmlu", "none"]
    assert (mmlu.group, mmlu.items, mmlu.chance) == (True, 57, 0.25)
    assert len({row.task for row in done.results.tasks if row.task.startswith("mmlu_") and not row.group}) == 57
    gsm8k = rows["gsm8k", "strict-match"]
    assert (gsm8k.few_shot, gsm8k.version, gsm8k.truncated) == (5, "3.0", 1)
    refused = [row.task for row in done.results.refused]
    assert ("humaneval", "create_test") in rows or refused == ["humaneval"]
    (sample,) = [json.loads(line) for line in (tmp_path / "out/samples/mmlu_anatomy.jsonl").read_text().splitlines()]
    assert len(sample["logprobs"]) == 4
    assert set(done.manifest.config["data_files"]) == {"mmlu", "gsm8k", "humaneval"}
    assert not run_eval(run, config, data_dir=DATA, output=tmp_path / "out").fresh
