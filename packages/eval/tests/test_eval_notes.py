"""What a reader of the scores is told beside them."""

from headwater.eval.config import EvalConfig
from headwater.eval.notes import notes
from headwater.eval.results import Score


def test_cut_prompts_and_answers_are_named_with_their_number():
    score = Score(
        task="gsm8k", metric="exact_match", filter="strict-match", value=0.5, stderr=0.1, items=20, interval=None,
        chance=0.0, indistinguishable_from_chance=False, higher_is_better=True, few_shot=5, version="1", truncated=3,
        cut_short=7,
    )  # fmt: skip
    again = score.model_copy(update={"filter": "flexible-extract"})
    ended = score.model_copy(update={"task": "humaneval", "truncated": 0, "cut_short": 0})
    group = score.model_copy(update={"task": "all", "group": True})
    assert notes([], 2048, EvalConfig(precision="bfloat16")) == [
        "Computed in bfloat16: log-probabilities are off by a hundredth or so."
    ]
    assert notes([score, again, ended, group], 2048, EvalConfig()) == [
        "Prompts whose beginning did not fit the model's 2,048 tokens: gsm8k (3 of 20).",
        "Answers that reached the limit of tokens before they ended: gsm8k (7 of 20).",
    ]
