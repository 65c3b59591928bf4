"""pass@k: the estimate, the sandbox behind it, and the refusal without one."""

import itertools

import pytest

from headwater.core.errors import EvalError
from headwater.eval.sandbox import Availability, availability
from headwater.eval.tasks import code
from headwater.eval.tasks.packaged import MINI_TASKS, read_split

needs_sandbox = pytest.mark.skipif(not availability().ok, reason=f"no sandbox: {availability().reason}")
PROBLEMS = read_split(MINI_TASKS[2], "test")


@pytest.mark.parametrize(("total", "k"), [(1, 1), (5, 1), (5, 2), (6, 5)])
def test_the_estimate_is_the_share_of_draws_with_a_right_program(total, k):
    for right in range(total + 1):
        draws = list(itertools.combinations([True] * right + [False] * (total - right), k))
        assert code._estimate(total, right, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_more_draws_than_programs_are_refused():
    with pytest.raises(EvalError, match="at least 3 programs"):
        code._estimate(2, 1, 3)


@needs_sandbox
def test_every_known_solution_passes():
    failed = [
        row["task_id"]
        for row in PROBLEMS
        if not code.solves(row["prompt"] + row["canonical_solution"], f"{row['test']}\ncheck({row['entry_point']})")
    ]
    assert failed == []


@needs_sandbox
@pytest.mark.parametrize("body", ["    pass\n", "    return 3\n", "    return [] if 0 else ''\n"])
def test_no_lazy_solution_passes(body):
    passed = [
        row["task_id"]
        for row in PROBLEMS
        if code.solves(row["prompt"] + body, f"{row['test']}\ncheck({row['entry_point']})")
    ]
    assert passed == []


@needs_sandbox
def test_every_known_solution_with_its_numbers_changed_fails():
    """The tests of each problem notice a small mistake: one constant or comparison of the solution is changed."""
    unnoticed = []
    changes = [
        ("1", "2"), (" < ", " <= "), (" > ", " < "), ("+", "-"), ("sorted(set(", "list(("), ("zip(*rows)", "rows"),
        ('"/"', '"."'), ("-places", "places"), (".lower()", ""), ("// 2", "// 3"), ("min(", "max("),
        ("return not stack", "return True"), (".partition", ".rpartition"),
    ]  # fmt: skip
    for row in PROBLEMS:
        mutants = [row["canonical_solution"].replace(old, new) for old, new in changes]
        mutants = [mutant for mutant in mutants if mutant != row["canonical_solution"]]
        tests = f"{row['test']}\ncheck({row['entry_point']})"
        if not mutants or all(code.solves(row["prompt"] + mutant, tests) for mutant in mutants[:3]):
            unnoticed.append(row["task_id"])
    assert unnoticed == []


@needs_sandbox
def test_the_score_is_the_mean_over_problems():
    good, bad, tests = "def f(): return 1", "def f(): return 2", "assert f() == 1"
    assert code.pass_at_k([tests, tests], [[good], [bad]], [1]) == {"pass@1": 0.5}
    assert code.pass_at_k([tests], [[good, bad]], [1, 2]) == {"pass@1": 0.5, "pass@2": 1.0}


def test_without_a_sandbox_nothing_runs_and_the_reason_is_told(monkeypatch):
    monkeypatch.setattr(code, "availability", lambda: Availability(False, "there is no bwrap program"))
    monkeypatch.setattr(code, "solves", lambda *_: pytest.fail("a program was run"))
    assert not code.code_tasks_available().ok
    with pytest.raises(EvalError, match="there is no bwrap program"):
        code.pass_at_k(["assert True"], [["pass"]], [1])
