import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.config import validate
from headwater.core.errors import ConfigError
from headwater.core.mixture import Mixture, parse_tokens
from headwater.core.mixture_plan import plan_mixture


def mixture(**fields):
    return validate(Mixture, fields, "mixture")


def plan(available, tokens, **fields):
    return plan_mixture(mixture(**fields), available, tokens, where="the test")


def drawn(result):
    return {row.source: row.drawn for row in result.sources}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("2B", 2 * 10**9), ("1.2T", 12 * 10**11), ("300m", 3 * 10**8), ("5_000", 5000), ("7k", 7000), (12, 12)],
)
def test_tokens_are_read_as_people_write_them(text, tokens):
    assert parse_tokens(text) == tokens


@pytest.mark.parametrize("text", ["", "B", "many", "2 billions", "nanB", "1e30T"])
def test_what_is_no_number_of_tokens_is_refused(text):
    with pytest.raises(ConfigError, match="tokens"):
        mixture(stages=[{"name": "a", "tokens": text, "weights": {"web": 1}}])


def test_static_weights_are_drawn_in_proportion():
    result = plan({"web": 1000, "code": 1000}, 1000, weights={"web": 3, "code": 1})
    assert drawn(result) == {"web": 750, "code": 250} and not result.remainders
    assert [row.epochs for row in result.sources] == [0.25, 0.75]


@pytest.mark.parametrize(("alpha", "expected"), [(1, [100, 900]), (0.5, [250, 750]), (0, [500, 500])])
def test_temperature_is_a_power_of_the_size(alpha, expected):
    assert list(drawn(plan({"code": 100, "web": 900}, 1000, alpha=alpha)).values()) == expected


def test_a_capped_source_is_seen_as_often_as_it_may_and_the_others_give_the_rest_by_weight():
    result = plan(
        {"a": 10_000, "b": 10_000, "rare": 100}, 1000, weights={"a": 3, "b": 1, "rare": 4}, max_epochs={"rare": 2}
    )
    assert drawn(result) == {"a": 600, "b": 200, "rare": 200}
    rare = result.sources[2]
    assert rare.capped and rare.epochs == 2 and rare.moved == -300
    assert result.remainders == ({"stage": "all", "source": "rare", "tokens": 300, "to": {"a": 225, "b": 75}},)


def test_a_source_that_takes_over_can_reach_its_own_cap():
    result = plan({"a": 1000, "b": 100, "c": 50}, 400, weights={"a": 1, "b": 1, "c": 2}, max_epochs=1)
    assert drawn(result) == {"a": 250, "b": 100, "c": 50}


def test_caps_hold_over_all_stages_together():
    stages = [{"name": n, "share": 0.5, "weights": {"big": 1, "small": 1}} for n in ("one", "two")]
    result = plan({"big": 10_000, "small": 60}, 200, stages=stages, max_epochs={"small": 1})
    assert [drawn(stage) for stage in result.stages] == [{"big": 50, "small": 50}, {"big": 90, "small": 10}]
    assert [stage.sources[1].epochs for stage in result.stages] == [50 / 60, 1.0]
    assert result.remainders[0]["stage"] == "two" and result.remainders[0]["to"] == {"big": 40}


def test_stages_with_tokens_need_no_total_and_contradict_another_one():
    stages = [
        {"name": "one", "tokens": "1k", "weights": {"web": 1}}, {"name": "two", "tokens": 500, "alpha": 0.5}
    ]  # fmt: skip
    assert plan({"web": 900, "code": 900}, None, stages=stages).tokens == 1500
    with pytest.raises(ConfigError, match=r"not those of the run(?s:.)*1,500"):
        plan({"web": 900, "code": 900}, 2000, stages=stages)


def test_an_impossible_plan_says_how_much_there_is():
    with pytest.raises(ConfigError, match=r"cannot give 1,000 tokens(?s:.)*300 tokens under mixture.max_epochs"):
        plan({"a": 100, "b": 50}, 1000, weights={"a": 1, "b": 1}, max_epochs=2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one"),
        ({"weights": {"a": 1}, "alpha": 0.5}, "exactly one"),
        ({"weights": {"a": 0}}, "weight of a must be"),
        ({"weights": {"a": float("inf")}}, "weights.a"),
        ({"alpha": 2}, "alpha"),
        ({"weights": {"a": 1}, "max_epochs": 0}, "max_epochs"),
        ({"stages": [{"name": "x", "share": 0.5, "weights": {"a": 1}}]}, "sum to 1"),
        ({"stages": [{"name": "x", "weights": {"a": 1}}]}, "either a share or tokens"),
        ({"stages": [{"name": "x", "share": 1}]}, "either weights or alpha"),
    ],
)
def test_what_is_no_mixture_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        mixture(**fields)


def test_unknown_and_empty_sources_are_named():
    with pytest.raises(ConfigError, match=r"source webb(?s:.)*did you mean web\?"):
        plan({"web": 10}, 10, weights={"webb": 1})
    with pytest.raises(ConfigError, match="source code has no training tokens"):
        plan({"web": 10, "code": 0}, 10, weights={"web": 1, "code": 1})


@given(
    available=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10**12), min_size=1),
    tokens=st.integers(1, 10**13), alpha=st.floats(0, 1), cap=st.floats(0.1, 100),
)  # fmt: skip
def test_a_plan_gives_all_tokens_within_the_caps_or_is_refused(available, tokens, alpha, cap):
    most = sum(count * cap for count in available.values())
    try:
        result = plan(available, tokens, alpha=alpha, max_epochs=cap)
    except ConfigError:
        assert most < tokens + 1
        return
    assert sum(row.drawn for row in result.sources) == tokens
    assert all(row.drawn <= row.available * cap * (1 + 1e-9) + 1 for row in result.sources)
