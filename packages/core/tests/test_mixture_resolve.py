"""What a run trains on: temperatures, caps and stages as weights and whole samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.config import dump_yaml, read_recipe, validate
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter
from headwater.core.mixture import Mixture, available_tokens
from headwater.core.mixture_resolve import mixture_order, recorded_mixture, resolve_mixture, resolve_order
from headwater.core.run import ModelShape, RunInfo, StageInfo

SEQ = 10


def mixture(**fields):
    return validate(Mixture, fields, "mixture")


def make(root, **tokens):
    layout = RunLayout(root)
    for name, count in tokens.items():
        writer = ArtifactWriter(layout.tokens(name), kind="tokens", name=name, producer="test 1", config={})
        writer.begin()
        writer.commit({"train_tokens": count})
    return layout


@pytest.fixture
def run(tmp_path):
    return make(tmp_path, web=900, code=100)


def resolved(run, samples, **fields):
    return resolve_mixture(run, mixture(**fields), samples=samples, seq_len=SEQ)


def stage(name, share, **weights):
    return {"name": name, "share": share, "weights": weights}


def test_a_temperature_and_caps_become_weights(run):
    assert available_tokens(run) == {"code": 100, "web": 900}
    same = mixture(weights={"web": 1, "code": 1})
    assert resolve_mixture(run, same, samples=50, seq_len=SEQ) is same
    assert resolved(run, 50, alpha=0.5, block=50).normalised() == {"code": 0.25, "web": 0.75}
    assert resolved(run, 100, weights={"web": 1, "code": 1}, max_epochs={"code": 1}).normalised() == {
        "code": 0.1, "web": 0.9
    }  # fmt: skip
    order = resolve_order(run, resolved(run, 50, alpha=0.5), seq_len=SEQ, seed=1)
    assert (order.quota("web"), order.quota("code")) == (750, 250)
    with pytest.raises(ConfigError, match="gives no weights by itself"):
        resolve_order(run, mixture(alpha=0.5), SEQ, 1)


def test_stages_become_whole_samples_and_a_recipe_of_their_own(run, tmp_path):
    stages = [stage("main", 0.9, web=3, code=1), {"name": "cool", "share": 0.1, "alpha": 0.5}]
    found = resolved(run, 205, stages=stages)
    assert [part.tokens for part in found.stages] == [1840, 210]  # 184.5 samples round to 184
    assert [part.weights for part in found.stages] == [{"web": 3, "code": 1}, {"web": 0.75, "code": 0.25}]
    assert resolve_mixture(run, found, samples=205, seq_len=SEQ) is found
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_yaml({"name": "x", "mixture": found.model_dump(mode="json")}))
    assert validate(Mixture, read_recipe(path)["mixture"], "mixture") == found
    order = resolve_order(run, found, SEQ, 7)
    assert [(part.name, part.samples) for part in order.stages] == [("main", 184), ("cool", 21)]
    assert found.normalised() == pytest.approx({"web": 0.75, "code": 0.25})


def test_stages_in_tokens_fit_a_run_of_whole_steps(run):
    stages = [{"name": "main", "tokens": 900, "weights": {"web": 1}}, {"name": "cool", "tokens": 99, "alpha": 1}]
    assert [part.tokens for part in resolved(run, 100, stages=stages).stages] == [900, 100]
    with pytest.raises(ConfigError, match=r"not those of the run(?s:.)*999(?s:.)*1,200"):
        resolved(run, 120, stages=stages)


def test_a_stage_without_a_whole_sample_is_refused(run):
    with pytest.raises(ConfigError, match=r"stage cool is too small for one sample"):
        resolved(run, 100, stages=[stage("main", 0.997, web=1), stage("cool", 0.003, code=1)])


def test_a_source_without_tokens_is_named(run):
    with pytest.raises(ConfigError, match=r"source webb(?s:.)*did you mean web"):
        resolved(run, 100, stages=[stage("main", 1.0, webb=1)])


def test_a_capped_source_that_would_be_less_than_a_sample_of_a_block_is_refused_with_the_block_that_is_enough(run):
    fields = {"weights": {"web": 1, "code": 1}, "max_epochs": {"code": 1}}
    with pytest.raises(ConfigError, match=r"too small for the source code(?s:.)*set mixture.block to 10000 or more"):
        resolved(run, 100_000, **fields)
    found = resolved(run, 100_000, **fields, block=10_000)
    assert resolve_order(run, found, SEQ, 0).drawn("code", 100_000) <= 11


@given(
    sizes=st.lists(st.integers(200, 20_000), min_size=2, max_size=4),
    shares=st.lists(st.integers(1, 10), min_size=1, max_size=3),
    weights=st.lists(st.lists(st.floats(0.1, 10), min_size=4, max_size=4), min_size=3, max_size=3),
    cap=st.floats(0.2, 6), samples=st.integers(100, 6000), block=st.sampled_from([50, 333, 1000]),
)  # fmt: skip
def test_a_cap_holds_over_all_stages_to_one_sample_a_stage(
    tmp_path_factory, sizes, shares, weights, cap, samples, block
):
    available = {f"s{number}": size for number, size in enumerate(sizes)}
    run = make(tmp_path_factory.mktemp("run"), **available)
    stages = [
        stage(str(number), share / sum(shares), **dict(zip(available, weights[number], strict=False)))
        for number, share in enumerate(shares)
    ]
    try:
        found = resolved(run, samples, stages=stages, max_epochs={"s0": cap}, block=block)
    except ConfigError:
        return  # too little, or too small a block
    order = mixture_order(found, available, SEQ, 1)
    assert order.drawn("s0", samples) * SEQ <= cap * available["s0"] + len(stages) * SEQ
    assert sum(order.drawn(name, samples) for name in found.normalised()) == samples


def test_a_checkpoint_records_the_mixture_it_was_trained_on(run):
    found = resolved(run, 205, stages=[stage("main", 0.9, web=3, code=1), stage("cool", 0.1, code=1)])
    info = RunInfo(
        step=1, samples=8, seq_len=SEQ, global_batch=8, seed=1, steps_planned=25, tokenizer_digest="t", tokens={},
        model=ModelShape(dim=8, ffn_dim=8, n_layers=1, n_heads=1, n_kv_heads=1, vocab_size=9, rope_theta=1e4,
                         norm_eps=1e-5, max_seq_len=8),
        weights=found.normalised(), block=found.block, order_digest="o", weights_digest="w", config={},
        stages=[StageInfo(name=part.name, samples=(part.tokens or 0) // SEQ, weights=part.weights)
                for part in found.stages],
    )  # fmt: skip
    again = recorded_mixture(RunInfo.model_validate_json(info.dump()))
    assert again == found
    assert recorded_mixture(info.model_copy(update={"stages": []})).weights == found.normalised()
