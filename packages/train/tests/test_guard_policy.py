"""The guard's decisions: from figures to verdicts, and the account of what was done."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.config import validate
from headwater.core.errors import ConfigError
from headwater.core.skips import Skips
from headwater.train.guard.config import GuardConfig
from headwater.train.guard.guard import SKIPS_WINDOW, Guard, Verdict
from headwater.train.guard.ledger import Ledger
from headwater.train.guard.stall import StallWatch


def config(**section: Any) -> GuardConfig:
    return validate(GuardConfig, section, "train.guard")


def losses(steps: int, seed: int = 0) -> list[float]:
    return (3 + 0.1 * np.random.default_rng(seed).standard_normal(steps)).tolist()


def follow(guard: Guard, values: list[float], start: int = 1, *, flush: int = 0) -> list[Verdict]:
    """As a trainer does: each step is sent before the last one is judged; every `flush` steps it is judged at once.

    The device leaves a step out when it is above the limit that was there when it was sent.
    """
    verdicts: list[Verdict] = []
    waiting: list[tuple[int, float, bool]] = []
    for step, loss in enumerate(values, start):
        refused = not math.isfinite(loss) or loss > guard.limits(step).loss
        waiting.append((step, loss, refused))
        while len(waiting) > (0 if flush and step % flush == 0 else 1):
            at, value, left_out = waiting.pop(0)
            verdicts.append(guard.judge(at, value, 1.0, refused=left_out))
    return verdicts + [guard.judge(at, value, 1.0, refused=left_out) for at, value, left_out in waiting]


def test_a_healthy_run_is_left_alone():
    assert {verdict.response for verdict in follow(Guard(config()), losses(2000))} == {"none"}


@given(st.integers(0, 50), st.integers(1, 9))
@settings(max_examples=15, deadline=None)
def test_when_figures_are_read_does_not_change_any_verdict(seed: int, flush: int):
    """Validations and checkpoints read early; whether a run has them must not change what it does."""
    values = losses(300, seed)
    values[150], values[151] = values[150] + 2, math.nan
    values[220:] = [value + 0.4 for value in values[220:]]
    late, early = Guard(config()), Guard(config())
    expected = follow(late, values)
    assert follow(early, values, flush=flush) == expected
    assert early.state_dict() == late.state_dict()
    assert {"skip", "rollback"} <= {verdict.response for verdict in expected}


@pytest.mark.parametrize("cut", [1, 70, 151, 152, 225])
def test_a_guard_goes_on_from_its_state(cut: int):
    values = losses(300)
    values[150], values[151] = values[150] + 2, math.nan
    values[220:] = [value + 0.4 for value in values[220:]]
    whole = follow(Guard(config()), values)
    first, second = Guard(config()), Guard(config())
    assert follow(first, values[:cut]) == whole[:cut]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert follow(second, values[cut:], cut + 1) == whole[cut:]


def test_a_validation_that_is_not_finite_is_trouble_since_the_one_before_it_also_after_a_resume():
    guard, resumed = Guard(config()), Guard(config())
    assert guard.judge_validation(40, 3.0) == Verdict("none", "", 40)
    resumed.load_state_dict(guard.state_dict())
    assert resumed.judge_validation(50, math.nan) == Verdict("rollback", "nonfinite", 41)


def test_skipping_that_does_not_help_becomes_a_rollback_to_before_the_first_skip():
    values = losses(100) + [math.nan] * 30
    verdicts = follow(Guard(config(skips=5)), values)
    assert [verdict.response for verdict in verdicts[100:106]] == ["skip"] * 5 + ["rollback"]
    assert (verdicts[105].cause, verdicts[105].onset) == ("skips", 101)
    sparse = losses(2000)
    for step in range(100, 2000, SKIPS_WINDOW // 4):
        sparse[step] = math.nan
    assert {verdict.response for verdict in follow(Guard(config(skips=5)), sparse)} == {"none", "skip"}


@pytest.mark.parametrize("response", ["report", "lower", "rollback", "halt", "off"])
def test_divergence_is_answered_as_the_policy_says(response: str):
    values = losses(200) + [value + 0.5 for value in losses(50, 1)]
    found = [verdict for verdict in follow(Guard(config(divergence={"respond": response})), values)
             if verdict.cause == "divergence"]  # fmt: skip
    assert [verdict.response for verdict in found[:1]] == ([] if response == "off" else [response])
    assert all(195 <= verdict.onset <= 206 for verdict in found[:1])


def test_one_rise_that_stays_lowers_the_learning_rate_once_and_the_next_again():
    values = losses(200) + [value + 0.5 for value in losses(200, 1)] + [value + 1 for value in losses(200, 2)]

    def answered(response: str) -> list[int]:
        guard = Guard(config(outlier={"respond": "off"}, divergence={"respond": response}))
        return [step for step, verdict in enumerate(follow(guard, values), 1) if verdict.response == response]

    assert len(answered("report")) > 6  # the same rise, until the window is past it
    assert [step // 200 for step in answered("lower")] == [1, 2]


def test_skipped_steps_do_not_shift_the_onset():
    values = losses(200) + [value + 0.5 for value in losses(50, 1)]
    for step in (201, 203):
        values[step] = math.nan
    found = next(verdict for verdict in follow(Guard(config()), values) if verdict.cause == "divergence")
    assert 195 <= found.onset <= 206


@pytest.mark.parametrize("kind", ["outlier", "gradient"])
def test_what_is_only_reported_is_not_left_out(kind: str):
    guard = Guard(config(**{kind: {"respond": "report"}}))
    for step, loss in enumerate(losses(100), 1):
        guard.judge(step, loss, 1.0 + loss / 100, refused=False)
    limits = guard.limits(101)
    assert math.inf in (limits.loss, limits.grad_norm) and min(limits.loss, limits.grad_norm) < math.inf
    high = {"outlier": (5.0, 1.03), "gradient": (3.0, 50.0)}[kind]
    assert guard.judge(101, *high, refused=False) == Verdict("report", kind, 101)  # type: ignore[arg-type]


def test_a_gradient_above_its_limit_is_named_as_that():
    guard = Guard(config())
    for step, loss in enumerate(losses(100), 1):
        guard.judge(step, loss, 1.0 + loss / 100, refused=False)
    assert guard.limits(101).grad_norm < 50.0
    assert guard.judge(101, 3.0, 50.0, refused=True) == Verdict("skip", "gradient", 101)
    assert guard.judge(102, math.nan, 50.0, refused=True) == Verdict("skip", "nonfinite", 102)
    assert guard.judge(103, 9.0, 1.0, refused=True) == Verdict("skip", "outlier", 103)
    assert guard.ledger.counts["skipped_steps"] == 3 and guard.ledger.counts["nonfinite_steps"] == 1


@pytest.mark.parametrize("response", ["rollback", "halt"])
def test_nonfinite_may_be_answered_at_once(response: str):
    guard = Guard(config(nonfinite=response))
    assert guard.judge(1, math.inf, 1.0, refused=True) == Verdict(response, "nonfinite", 1)  # type: ignore[arg-type]


def test_another_stage_of_the_mixture_is_another_level():
    """A rise of 0.5 where a stage begins is no spike; without the boundary it is."""
    values = losses(200) + [value + 0.5 for value in losses(100, 1)]
    staged = Guard(config(), begins=lambda step: step == 201)
    assert {verdict.response for verdict in follow(staged, values)} == {"none"}
    assert {verdict.response for verdict in follow(Guard(config()), values)} > {"none"}


def test_too_many_rollbacks_in_a_row_halt_and_one_far_away_begins_anew():
    policy = config(rollback={"at_most": 2, "within_steps": 100})
    ledger = Ledger()
    for step in (500, 560):
        assert ledger.in_a_row_at(step, policy) < 2
        ledger = ledger.rolled_back(step, (step, step + 5), policy)
    guard = Guard(policy)
    guard.ledger = ledger
    assert guard.judge_validation(600, math.inf).response == "halt"
    assert ledger.in_a_row_at(661, policy) == 0
    assert ledger.rolled_back(661, (900, 901), policy).in_a_row == 1


def test_windows_double_when_the_trouble_goes_on_where_the_last_one_ended():
    policy, ledger = config(), Ledger()
    window = ledger.window(100, 140, near=8)
    assert window == (100, 140)
    ledger = ledger.rolled_back(20, window, policy)
    # Position 100 is sample 140 now.
    assert ledger.window(100, 120, near=8) == (140, 160 + 40)
    assert ledger.window(150, 170, near=8) == (190, 210)
    ledger = ledger.rolled_back(21, ledger.window(100, 120, near=8), policy)
    assert ledger.skips == Skips(((100, 200),)) and ledger.counts["skipped_samples"] == 100
    assert ledger.window(100, 120, near=8) == (200, 220 + 60)


def test_the_learning_rate_is_lowered_from_the_second_rollback_on_and_for_as_long_as_is_said():
    policy = config(learning_rate={"factor": 0.5, "steps": 50})
    ledger = Ledger().rolled_back(100, (0, 1), policy)
    assert ledger.factor(90) == 1.0
    ledger = ledger.rolled_back(101, (1, 2), policy)
    assert [ledger.factor(step) for step in (1, 151, 152)] == [0.5, 0.5, 1.0]
    ledger = ledger.lowered(140, policy, since=142)
    assert [ledger.factor(step) for step in (141, 142, 151, 152, 191, 192)] == [0.5, 0.25, 0.25, 0.5, 0.5, 1.0]
    once = Ledger().lowered(140, config(learning_rate={"steps": 1}), since=142)
    assert [once.factor(step) for step in (141, 142, 143)] == [1.0, 0.5, 1.0]
    for_good = Ledger().lowered(140, config(learning_rate={"factor": 0.3}), since=142)
    assert for_good.factor(10**9) == 0.3
    assert Ledger().lowered(1, config(learning_rate={"factor": 1}), since=3) == Ledger()
    assert Ledger.of(json.loads(json.dumps(ledger.as_json()))) == ledger


@pytest.mark.parametrize(
    ("section", "key"),
    [({"outlier": {"respond": "rollback"}}, "outlier.respond"), ({"skips": 64}, "skips"), ({"spike": 1}, "spike"),
     ({"learning_rate": {"factor": 0}}, "learning_rate.factor"), ({"nonfinite": "off"}, "nonfinite")],
)  # fmt: skip
def test_a_policy_that_cannot_be_is_refused(section: dict[str, Any], key: str):
    with pytest.raises(ConfigError, match=rf"train\.guard\.{key}"):
        config(**section)


def test_a_response_that_is_misspelt_is_told_all_there_are():
    with pytest.raises(ConfigError, match=r"(?s)divergence\.respond is not valid.*off.*report.*lower.*rollback.*halt"):
        config(divergence={"respond": "lowr"})
    assert config(divergence={"respond": False}).divergence.respond == "off"  # what YAML makes of the word


def test_a_stall_is_told_once_until_there_is_life_again():
    now, told = [0.0], []
    watch = StallWatch(10.0, told.append, clock=lambda: now[0])
    assert watch.check() == 10.0
    for time, expected in ((9.0, 0), (10.0, 1), (25.0, 1)):
        now[0] = time
        watch.check()
        assert len(told) == expected
    watch.beat()
    now[0] = 34.0
    assert watch.check() == 1.0
    now[0] = 36.0
    watch.check()
    assert told == [10.0, 11.0]


def test_a_stall_watch_watches_by_itself():
    import threading

    told = threading.Event()
    with StallWatch(0.001, lambda seconds: told.set()):
        assert told.wait(30)


@pytest.mark.parametrize("section", ["outlier", "gradient", "divergence", "stall"])
def test_off_is_a_word_that_yaml_reads_as_false(section: str) -> None:
    import yaml

    from headwater.train.guard.config import GuardConfig

    config = GuardConfig.model_validate(yaml.safe_load(f"{section}: {{respond: off}}"))
    assert getattr(config, section).respond == "off"
