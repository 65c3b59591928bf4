"""Scoring and generation against the plain model, for each family, however inputs share their beginnings."""

import copy
import random

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from headwater.core.errors import EvalError
from headwater.eval import generation, scoring
from headwater.eval.generation import Prompt, Sampling, generate
from headwater.eval.reader import Reader
from headwater.eval.scoring import Request, score
from headwater.eval.tokenizer import load_tokenizer
from headwater.eval.trie import grow

pytestmark = pytest.mark.slow

SMALL = {
    "vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
FAMILIES = {
    "llama": SMALL,
    "qwen3": SMALL | {"head_dim": 8},
    "gpt2": {"vocab_size": 512, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0},
    "deepseek_v3": SMALL
    | {
        "num_key_value_heads": 4, "moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
        "n_group": 1, "topk_group": 1, "q_lora_rank": None, "kv_lora_rank": 16, "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8, "v_head_dim": 16, "first_k_dense_replace": 1,
    },
    "mistral": SMALL | {"sliding_window": 20},
    "gemma2": SMALL | {"head_dim": 8, "query_pre_attn_scalar": 8},
}  # fmt: skip
WHOLE = {"mistral", "gemma2"}
"""Families whose attention is more than all that came before: their inputs are read whole."""


@pytest.fixture(scope="module", params=FAMILIES)
def reader(request):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(request.param, **FAMILIES[request.param])).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    found = Reader(model)
    assert found.shares == (request.param not in WHOLE)
    return found


def drawn(rng, least, most):
    return [rng.randrange(512) for _ in range(rng.randint(least, most))]


def requests():
    rng = random.Random(1)
    found = []
    for _ in range(3):
        header = drawn(rng, 60, 90)
        for _ in range(8):
            context = header + drawn(rng, 1, 30)
            found += [Request(context, drawn(rng, 1, 5)) for _ in range(4)]
            found.append(Request(context, found[-1].continuation[:1]))
    found += [Request(drawn(rng, 1, 40), drawn(rng, 1, 4)) for _ in range(20)]
    rng.shuffle(found)
    return found


@torch.inference_mode()
def alone(model, request):
    ids = torch.tensor([[*request.context, *request.continuation]])
    logprobs = model(input_ids=ids).logits.log_softmax(-1)[0, len(request.context) - 1 : -1]
    wanted = torch.tensor(request.continuation)
    return logprobs[torch.arange(len(wanted)), wanted].sum().item(), (logprobs.argmax(-1) == wanted).all().item()


@pytest.mark.parametrize("bundle", [16, 2048])
def test_scores_are_those_of_each_input_alone(reader, bundle, monkeypatch):
    asked = requests()
    monkeypatch.setattr(scoring, "grow", lambda rows, **given: grow(rows, **({"bundle": bundle} | given)))
    stems = list(scoring.plan(asked, 512, share=reader.shares).root)
    assert (len(stems) > 1) == (reader.shares and bundle == 16)
    found = score(reader, asked, max_length=512, batch_tokens=500)
    for answer, request in zip(found, asked, strict=True):
        logprob, greedy = alone(reader.model, request)
        assert answer.logprob == pytest.approx(logprob, abs=1e-4) and answer.greedy == greedy


def test_in_bfloat16_answers_are_as_near_as_its_numbers_are(reader, finished_run):
    narrow = Reader(copy.deepcopy(reader.model).to(torch.bfloat16))
    assert narrow.shares == reader.shares
    for answer, request in zip(score(narrow, asked := requests()[:40], max_length=512, batch_tokens=500), asked,
                               strict=True):  # fmt: skip
        assert answer.logprob == pytest.approx(alone(reader.model, request)[0], abs=0.2)
    rng, text = random.Random(3), load_tokenizer(finished_run.tokenizer)
    prompts = [Prompt(drawn(rng, 1, 40), 8) for _ in range(6)]
    with torch.inference_mode():
        for answer, prompt in zip(
            generate(narrow, text, prompts, max_length=256, batch_tokens=200, cache_tokens=200), prompts, strict=True
        ):
            logits = reader.model(input_ids=torch.tensor([prompt.tokens])).logits[0, -1]
            best = [token for token in range(512) if logits[token] > logits.max() - 0.2]
            assert any(answer.text.startswith(text.decode([token])) for token in best)


def test_a_batch_that_does_not_fit_is_halved(reader, monkeypatch):
    asked, largest = requests(), []
    inner = scoring._score_batch

    def small(reader, planned, batch, beginning, known):
        if len(batch) > 3:
            raise torch.OutOfMemoryError("too large")
        largest.append(len(batch))
        return inner(reader, planned, batch, beginning, known)

    expected = score(reader, asked, max_length=512, batch_tokens=4000)
    monkeypatch.setattr(scoring, "_score_batch", small)
    found = score(reader, asked, max_length=512, batch_tokens=4000)
    assert max(largest) == 3
    assert [each.greedy for each in found] == [each.greedy for each in expected]
    assert [each.logprob for each in found] == pytest.approx([each.logprob for each in expected], abs=1e-4)


@pytest.mark.parametrize("header", [0, 40])
@pytest.mark.parametrize("cache_tokens", [150, 2000])
def test_generations_are_those_of_each_prompt_alone(reader, finished_run, header, cache_tokens):
    rng, text = random.Random(3), load_tokenizer(finished_run.tokenizer)
    common = drawn(rng, header, header)
    prompts = [Prompt(common + drawn(rng, 1, 40), rng.randint(1, 12), ("e",)) for _ in range(14)]
    prompts.append(prompts[0])
    done = []
    found = generate(
        reader, text, prompts, max_length=256, batch_tokens=200, cache_tokens=cache_tokens, advance=done.append
    )  # fmt: skip
    assert sum(done) == len(prompts)
    for answer, prompt in zip(found, prompts, strict=True):
        ids = list(prompt.tokens)
        with torch.inference_mode():
            while len(ids) - len(prompt.tokens) < prompt.max_tokens:
                ids.append(int(reader.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
                if ids[-1] == text.eot_id or "e" in text.decode(ids[len(prompt.tokens) :]):
                    break
        new = ids[len(prompt.tokens) :]
        assert (answer.text, answer.tokens) == (text.decode(new).split("e")[0], len(new))


def test_what_is_drawn_depends_on_the_prompt_and_not_on_its_company(reader, finished_run):
    rng, text = random.Random(5), load_tokenizer(finished_run.tokenizer)
    prompts = [
        Prompt(drawn(rng, 3, 9), 8, (), Sampling(0.9, 0.95, 60, seed=4), answer) for answer in range(8)
    ]  # fmt: skip
    sizes = {"max_length": 256, "batch_tokens": 200}
    found = generate(reader, text, prompts, cache_tokens=1000, **sizes)
    assert generate(reader, text, prompts[::-1], cache_tokens=40, **sizes)[::-1] == found
    again = [prompts[0]._replace(answer=answer) for answer in range(6)]
    assert len({each.text for each in generate(reader, text, again, cache_tokens=1000, **sizes)}) > 1


def test_tokens_tried_ahead_stay_within_the_positions_that_a_model_has(finished_run, monkeypatch):
    text = load_tokenizer(finished_run.tokenizer)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", **FAMILIES["gpt2"], n_positions=48)).eval()
    monkeypatch.setattr(generation._Job, "guess", lambda job: [1] * min(8, job.limit - len(job.new) - 1))
    monkeypatch.setattr(generation, "_ahead", lambda jobs, guesses: max(map(len, guesses)))
    # The second is at the model's last positions while more is tried ahead for the first.
    prompts = [Prompt([7, 8, 9] * 4, 24), Prompt([5] * 40, 8)]
    found = generate(model, text, prompts, max_length=48, batch_tokens=500, cache_tokens=5000)
    assert [each.tokens for each in found] == [24, 8]


@pytest.mark.parametrize("repeated", [[5], [5, 6], [5, 6, 7, 8, 9], list(range(40))])
def test_a_text_that_goes_round_is_guessed_as_far_as_tokens_are_tried(repeated):
    """However short what it repeats is, and up to the answer's limit."""
    count = 2 * len(repeated) + 3
    text = [repeated[at % len(repeated)] for at in range(count + 100)]
    job = generation._Job(Prompt(text[:count], 100), 1000)
    assert job.guess() == text[count : count + generation._GUESS]
    job.new = text[count : count + 95]
    assert job.guess() == text[count + 95 : count + 99]
    assert generation._Job(Prompt([1, 2, 3, 4], 100), 1000).guess() == []


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_a_model_that_goes_wrong_within_an_answer_is_refused(family, finished_run):
    text = load_tokenizer(finished_run.tokenizer)
    torch.manual_seed(0)
    settings = FAMILIES[family] | {"tie_word_embeddings": False}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings)).eval()
    prompts, sizes = [Prompt([1, 2, 3], 4)], {"max_length": 64, "batch_tokens": 100, "cache_tokens": 1000}
    with torch.inference_mode():
        first = int(model(input_ids=torch.tensor([[1, 2, 3]])).logits[0, -1].argmax())
    assert first not in (1, 2, 3, text.eot_id)
    generate(model, text, prompts, **sizes)
    model.get_input_embeddings().weight.data[first] = torch.nan
    with pytest.raises(EvalError, match="no numbers"):
        generate(model, text, prompts, **sizes)
