"""HeadwaterLM against lm-eval's own `hf` model, on the same weights and the same tasks."""

import json

import numpy as np
import pytest
import torch

from headwater.core.errors import ConfigError, EvalError
from headwater.eval.checkpoint import load
from headwater.eval.harness.environment import prepare
from headwater.eval.tokenizer import load_tokenizer

prepare(hub=False)

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.evaluator import evaluate  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from tokenizers import Tokenizer, processors  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

from headwater.eval.harness.model import HeadwaterLM  # noqa: E402
from headwater.eval.harness.run import group_scores, run_task  # noqa: E402
from headwater.eval.harness.tasks import load_tasks  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loaded(finished_run):
    return load(finished_run.checkpoint(20))


@pytest.fixture
def lm(finished_run, loaded):
    # 700 tokens cut every task into several batches.
    return HeadwaterLM(
        loaded.model, load_tokenizer(finished_run.tokenizer, loaded.run), max_length=256, batch_tokens=700
    )


@pytest.fixture(scope="module")
def hf(finished_run, in_transformers):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(finished_run.tokenizer / "tokenizer.json"),
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    model = in_transformers(finished_run.checkpoint(20))
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=256, backend="causal")


def _samples(lm, task_folder, name):
    task = load_tasks([name], [task_folder], hub=False, sandbox_problem=None).tasks[name]
    task.set_fewshot_seed(1234)
    return evaluate(lm=lm, task_dict={"tasks": {name: task}, "groups": {}}, bootstrap_iters=0)


@pytest.mark.parametrize("name", ["test_letters", "test_words"])
def test_choices_and_log_probabilities_are_those_of_hf(lm, hf, test_tasks, name):
    ours, theirs = _samples(lm, test_tasks, name), _samples(hf, test_tasks, name)
    assert ours["results"][name]["acc,none"] == theirs["results"][name]["acc,none"]
    for mine, other in zip(ours["samples"][name], theirs["samples"][name], strict=True):
        assert mine["prompt_hash"] == other["prompt_hash"]
        a, b = np.array(mine["resps"], dtype=float).squeeze(1), np.array(other["resps"], dtype=float).squeeze(1)
        assert np.abs(a[:, 0] - b[:, 0]).max() <= 1e-3
        assert (a[:, 1] == b[:, 1]).all()
        assert a[:, 0].argmax() == b[:, 0].argmax()


def test_generations_are_those_of_hf(lm, hf, test_tasks):
    ours, theirs = _samples(lm, test_tasks, "test_generate"), _samples(hf, test_tasks, "test_generate")
    mine = [sample["resps"][0][0] for sample in ours["samples"]["test_generate"]]
    other = [sample["resps"][0][0] for sample in theirs["samples"]["test_generate"]]
    assert mine == other
    assert len(set(mine)) > 1


def _instances(kind, arguments):
    return [Instance(kind, {}, args, 0, ("task", index, 1)) for index, args in enumerate(arguments)]


def test_rolling_log_probability_is_that_of_hf(lm, hf, build):
    texts = [(build.prose(seed, sentences),) for seed, sentences in ((1, 2), (2, 60), (3, 11))]
    ours = lm.loglikelihood_rolling(_instances("loglikelihood_rolling", texts))
    theirs = hf.loglikelihood_rolling(_instances("loglikelihood_rolling", texts), disable_tqdm=True)
    assert np.allclose(ours, theirs, atol=1e-2, rtol=1e-6)


def test_truncated_and_empty_contexts_as_hf_and_counted(lm, hf, build):
    pairs = [(build.prose(1, 90), " the river"), ("", "The river"), ("Sea and  ", "stone"), (build.prose(2, 2), " x")]
    ours = lm.loglikelihood(_instances("loglikelihood", pairs))
    theirs = hf.loglikelihood(_instances("loglikelihood", pairs), disable_tqdm=True)
    assert np.abs(np.array(ours)[:, 0] - np.array(theirs)[:, 0]).max() <= 1e-3
    assert dict(lm.truncated) == {"task": {0}}


@pytest.fixture
def begun(finished_run, in_transformers, tmp_path):
    """A Hugging Face folder whose tokenizer begins every text with a token of its own, and both models of it."""
    inner = Tokenizer.from_file(str(finished_run.tokenizer / "tokenizer.json"))
    begin, end = inner.id_to_token(300), inner.id_to_token(301)
    inner.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, 300)]
    )
    in_transformers(finished_run.checkpoint(20)).save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=begin, eos_token=end, pad_token=end).save_pretrained(
        tmp_path
    )
    ours = HeadwaterLM(load(tmp_path).model, load_tokenizer(tmp_path), max_length=256, batch_tokens=700)
    return ours, HFLM(pretrained=str(tmp_path), batch_size=4, max_length=256, dtype="float32", device="cpu")


def test_what_a_models_own_tokenizer_begins_texts_with_is_there_as_with_hf(begun, build):
    ours, hf = begun
    assert (ours.text.begin_id, ours.eot_token_id) == (300, 301) == (hf.prefix_token_id, hf.eot_token_id)
    pairs = [(build.prose(1, 3), " the river"), ("", "The river"), ("Sea and  ", "stone"), (build.prose(2, 90), " x")]
    mine = ours.loglikelihood(_instances("loglikelihood", pairs))
    theirs = hf.loglikelihood(_instances("loglikelihood", pairs), disable_tqdm=True)
    assert np.abs(np.array(mine)[:, 0] - np.array(theirs)[:, 0]).max() <= 1e-3
    texts = [(build.prose(3, 4),), (build.prose(4, 60),)]
    mine = ours.loglikelihood_rolling(_instances("loglikelihood_rolling", texts))
    theirs = hf.loglikelihood_rolling(_instances("loglikelihood_rolling", texts), disable_tqdm=True)
    assert np.allclose(mine, theirs, atol=1e-2, rtol=1e-6)
    asked = [(build.prose(5, 2), {"until": ["."], "max_gen_toks": 12, "do_sample": False})]
    assert ours.generate_until(_instances("generate_until", asked)) == hf.generate_until(
        _instances("generate_until", asked), disable_tqdm=True
    )


def test_a_model_that_gives_no_numbers_is_refused(finished_run):
    broken = load(finished_run.checkpoint(10))
    with torch.no_grad():
        broken.model.lm_head.weight.fill_(3e38)  # finite, but what it gives is not
    lm = HeadwaterLM(broken.model, load_tokenizer(finished_run.tokenizer), max_length=256)
    with pytest.raises(EvalError, match="no finite numbers"):
        lm.loglikelihood(_instances("loglikelihood", [("The river", " runs")]))


def test_a_continuation_longer_than_the_model_is_scored_whole(lm, build):
    text = build.prose(4, 90)
    ((logprob, _),) = lm.loglikelihood(_instances("loglikelihood", [("", text)]))
    (rolling,) = lm.loglikelihood_rolling(_instances("loglikelihood_rolling", [(text,)]))
    assert logprob == pytest.approx(rolling)
    assert lm.truncated["task"] == {0}


def test_batch_size_does_not_change_answers(loaded, lm):
    pairs = [("The river " * n, " runs" + " down" * (n % 3)) for n in range(1, 20)]
    wide = HeadwaterLM(loaded.model, lm.text, max_length=256, batch_tokens=1 << 20)
    single = HeadwaterLM(loaded.model, lm.text, max_length=256, batch_tokens=1)
    a, b = (np.array(x.loglikelihood(_instances("loglikelihood", pairs))) for x in (wide, single))
    assert np.abs(a - b).max() < 1e-4


def test_no_token_is_read_twice(loaded, lm, monkeypatch):
    read = []
    inner = loaded.model.model.forward
    monkeypatch.setattr(
        loaded.model.model, "forward", lambda **kw: (read.append(kw["input_ids"].shape), inner(**kw))[1]
    )
    lm.loglikelihood(_instances("loglikelihood", [("The river", f" {letter}") for letter in "abcd"]))
    inputs = [tuple(lm.text.encode(f"The river {letter}")[:-1]) for letter in "abcd"]
    distinct = {tokens[:size] for tokens in inputs for size in range(1, len(tokens) + 1)}
    assert read == [(1, len(distinct))]


def test_generation_stops_and_is_counted(lm):
    until = {"until": [" "], "max_gen_toks": 40, "do_sample": False}
    long_prompt = "river " * 400
    texts = lm.generate_until(_instances("generate_until", [("The", until), (long_prompt, {"max_gen_toks": 3})]))
    assert " " not in texts[0]
    assert lm.truncated["task"] == {1}
    assert 1 in lm.cut_short["task"]


@pytest.mark.parametrize(
    ("asked", "cap", "most"),
    [({"max_gen_toks": 1024}, None, 1024), ({}, None, 256), ({"max_gen_toks": 1024}, 192, 192)],
)
def test_as_many_tokens_are_generated_as_the_task_asks_for(lm, hf, asked, cap, most):
    assert hf.max_gen_toks == 256
    lm.max_gen_tokens = cap
    assert lm._prompt("The", asked, 0).max_tokens == most


def test_generation_equals_recomputing_every_step(loaded, lm, build):
    prompts = [build.prose(7, 1), build.prose(8, 4), "A"]
    settings = {"max_gen_toks": 12}
    texts = lm.generate_until(_instances("generate_until", [(p, settings) for p in prompts]))
    for prompt, text in zip(prompts, texts, strict=True):
        ids = lm.text.encode(prompt)
        start = len(ids)
        with torch.inference_mode():
            while len(ids) < start + 12 and ids[-1] != lm.eot_token_id:
                ids.append(int(loaded.model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert text == lm.text.decode(ids[start:])


def test_drawn_answers_are_the_same_again_and_differ_from_each_other(lm):
    settings = {"do_sample": True, "temperature": 0.8, "top_k": 40, "max_gen_toks": 12}
    # As lm-eval asks for several answers: the same request again.
    asked = [Instance("generate_until", {}, ("The river", settings), 0, ("task", 0, 6))] * 6
    texts = lm.generate_until(asked)
    assert len(set(texts)) > 1
    other = Instance("generate_until", {}, ("The sea", settings), 0, ("task", 1, 6))
    assert lm.generate_until([other, *asked, other])[1:-1] == texts
    cold = [("The river", settings | {"temperature": 1e-4})]
    greedy = [("The river", {"max_gen_toks": 12})]
    assert lm.generate_until(_instances("generate_until", cold)) == lm.generate_until(
        _instances("generate_until", greedy)
    )


def test_scores_have_interval_chance_and_group(lm, test_tasks, tmp_path):
    found = load_tasks(["test_group"], [test_tasks], hub=False, sandbox_problem=None)
    outcomes = [run_task(lm, n, t, tmp_path, limit=None, few_shot=None) for n, t in found.tasks.items()]
    letters = next(o for o in outcomes if o.task == "test_letters").scores[0]
    words = next(o for o in outcomes if o.task == "test_words").scores[0]
    assert (letters.items, letters.chance, letters.few_shot, letters.version) == (24, 0.25, 2, "1.5")
    assert words.chance == pytest.approx(1 / 3)
    assert letters.interval.method == "wilson"
    assert letters.interval.low <= letters.value <= letters.interval.high
    group = next(score for score in group_scores(found, outcomes) if score.metric == "acc")
    assert group.group
    assert group.items == 39
    assert group.value == pytest.approx((letters.value * 24 + words.value * 15) / 39)
    assert group.chance == pytest.approx((0.25 * 24 + 15 / 3) / 39)
    assert group.version == "7"


def test_what_the_right_choice_got_is_scored(lm, test_tasks, tmp_path):
    found = load_tasks(["test_group"], [test_tasks], hub=False, sandbox_problem=None)
    outcomes = [run_task(lm, n, t, tmp_path, limit=None, few_shot=None) for n, t in found.tasks.items()]
    scores = {(score.task, score.metric): score for outcome in outcomes for score in outcome.scores}
    lines = (tmp_path / "samples" / "test_words.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    texts = [json.loads(line) for line in (test_tasks / "words.jsonl").read_text().splitlines()]
    for sample, item in zip(samples, texts, strict=True):
        logprobs, right = np.array(sample["logprobs"]), item["answer"]
        metrics = sample["filters"]["none"]["metrics"]
        size = len(f" {item['choices'][right]}".encode())
        assert metrics["gold_bits_per_byte"] == pytest.approx(-logprobs[right] / np.log(2) / size, rel=1e-6)
        shares = np.exp(logprobs - np.logaddexp.reduce(logprobs))
        assert metrics["gold_probability"] == pytest.approx(shares[right], rel=1e-6)
    bits = scores["test_words", "gold_bits_per_byte"]
    assert bits.higher_is_better is False and bits.interval.low < bits.value < bits.interval.high
    group = {score.metric: score for score in group_scores(found, outcomes)}
    assert group["gold_bits_per_byte"].items == 39 and group["acc"].members == ("test_letters", "test_words")


def test_some_items_are_the_same_ones_each_time(lm, test_tasks, tmp_path):
    def indices(folder, **asked):
        task = load_tasks(["test_words"], [test_tasks], hub=False, sandbox_problem=None).tasks["test_words"]
        run_task(lm, "test_words", task, tmp_path / folder, few_shot=None, **asked)
        lines = (tmp_path / folder / "samples" / "test_words.jsonl").read_text().splitlines()
        return [json.loads(line)["index"] for line in lines]

    some = indices("a", limit=None, items=6)
    assert len(some) == 6 and some == sorted(some) != list(range(6)) and indices("b", limit=None, items=6) == some
    assert max(indices("c", limit=8, items=4)) < 8 and indices("d", limit=3, items=6) == [0, 1, 2]


def test_a_finished_task_is_not_run_again(lm, test_tasks, tmp_path, monkeypatch):
    task = load_tasks(["test_words"], [test_tasks], hub=False, sandbox_problem=None).tasks["test_words"]
    first = run_task(lm, "test_words", task, tmp_path, limit=5, few_shot=None)
    assert first.scores[0].items == 5
    monkeypatch.setattr(lm, "loglikelihood", lambda requests: pytest.fail("ran again"))
    assert run_task(lm, "test_words", task, tmp_path, limit=5, few_shot=None) == first


def test_an_unknown_task_is_named_with_the_nearest(test_tasks, monkeypatch):
    import headwater.eval.harness.tasks as tasks

    # Without lm-eval's own 14,000 files, whose indexing takes ten seconds.
    own = tasks.TaskManager
    monkeypatch.setattr(tasks, "TaskManager", lambda **kw: own(**(kw | {"include_defaults": False})))
    with pytest.raises(ConfigError, match="no task test_leters") as caught:
        load_tasks(["test_leters"], [test_tasks], hub=False, sandbox_problem=None)
    assert "did you mean test_letters" in str(caught.value)


def test_missing_data_says_what_to_do(tmp_path):
    (tmp_path / "absent.yaml").write_text(
        "task: absent\ndataset_path: nobody/nothing\noutput_type: generate_until\ntest_split: test\n"
        'doc_to_text: "{{q}}"\ndoc_to_target: "{{a}}"\n'
    )
    with pytest.raises(EvalError, match="the task absent has no data here") as caught:
        load_tasks(["absent"], [tmp_path], hub=False, sandbox_problem=None)
    assert "--hub" in str(caught.value)


def test_code_without_the_sandbox_is_refused(test_tasks, tmp_path):
    text = (test_tasks / "test_generate.yaml").read_text().replace("task: test_generate", "task: test_code")
    (tmp_path / "code.yaml").write_text(text + "unsafe_code: true\n")
    found = load_tasks(["test_code"], [tmp_path], hub=False, sandbox_problem=None)
    assert not found.tasks
    assert "does not use the sandbox" in found.refused[0].reason


def test_where_beginnings_are_chosen_the_question_is_what_follows_them(lm, tmp_path):
    items = [{"a": f"The river {n}", "b": f"The hill {n}", "right": n % 2, "end": f"flows down {n}."} for n in range(4)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (tmp_path / "beginnings.yaml").write_text(
        f"task: beginnings\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {tmp_path}/items.jsonl}}}}\n"
        "test_split: test\noutput_type: multiple_choice\nnum_fewshot: 0\ndoc_to_text: right\n"
        'doc_to_choice: "{{[a, b]}}"\ndoc_to_target: end\nmetric_list: [{metric: acc}]\n'
    )
    task = load_tasks(["beginnings"], [tmp_path], hub=False, sandbox_problem=None).tasks["beginnings"]
    run_task(lm, "beginnings", task, tmp_path / "work", limit=None, few_shot=None)
    lines = (tmp_path / "work" / "samples" / "beginnings.jsonl").read_text().splitlines()
    for item, line in zip(items, map(json.loads, lines), strict=True):
        assert (line["question"], line["choices"]) == (item["end"], [item["a"], item["b"]])
        assert len(line["logprobs"]) == 2
