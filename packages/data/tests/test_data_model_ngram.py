import json
import math
import pickle
import random
import shutil
import subprocess
from collections import Counter, defaultdict

import numpy as np
import pytest
from click.testing import CliRunner

from headwater.core.errors import ConfigError
from headwater.data.cli import data
from headwater.data.models import kneser_ney, ngram
from headwater.data.operators.perplexity import Perplexity, PerplexityConfig


def corpus(lines: int, seed: int, words: int = 12) -> list[list[int]]:
    """Lines of tokens 0 … words - 1, in which some follow one another more than others do."""
    draw = random.Random(seed)
    found = []
    for _ in range(lines):
        line = [draw.randrange(words)]
        for _ in range(draw.randrange(1, 9)):
            line.append((line[-1] * 5 + draw.choice((0, 0, 0, 1, 2))) % words)
        found.append(line)
    return found


def laid_out(lines, begin, end):
    return np.array([token for line in lines for token in (begin, *line, end)])


def by_definition(lines, vocabulary, begin, end, order):
    """p(w | context) by Chen and Goodman's formulas over dictionaries, one number at a time."""
    counts = [Counter() for _ in range(order + 1)]
    for line in lines:
        tokens = (begin, *line, end)
        for n in range(1, order + 1):
            counts[n].update(tokens[i : i + n] for i in range(len(tokens) - n + 1))
    adjusted = [Counter() for _ in range(order + 1)]
    adjusted[order] = counts[order]
    for n in range(1, order):
        left = defaultdict(set)
        for gram in counts[n + 1]:
            left[gram[1:]].add(gram[0])
        adjusted[n] = Counter({g: c if g[0] == begin else len(left[g]) for g, c in counts[n].items()})
    adjusted[1].pop((begin,), None)
    discounts = [None]
    for n in range(1, order + 1):
        t = Counter(adjusted[n].values())
        found = [0.5, 1.0, 1.5]
        if t[1] and t[2] and t[3]:
            y = t[1] / (t[1] + 2 * t[2])
            closed = [k - (k + 1) * y * t[k + 1] / t[k] for k in (1, 2, 3)]
            found = closed if all(0 <= d <= k for k, d in enumerate(closed, 1)) else found
        discounts.append([0.0, *found])

    def p(word, context):
        n = len(context) + 1
        lower = p(word, context[1:]) if context else 1 / (vocabulary - 1)
        follow = {g: c for g, c in adjusted[n].items() if g[:-1] == context}
        total = sum(follow.values())
        if not total:
            return lower
        taken = sum(discounts[n][min(c, 3)] for c in follow.values())
        own = follow.get((*context, word), 0)
        return (own - discounts[n][min(own, 3)] + taken * lower) / total

    return p


def model_of(estimate, begin, end):
    return ngram.NgramModel(
        None, begin, end, estimate.shift, estimate.keys, estimate.log_probabilities, estimate.log_backoffs
    )


@pytest.mark.parametrize(("order", "lines"), [(1, 30), (2, 30), (3, 60), (4, 60), (3, 2)])
def test_probabilities_are_those_of_the_definition(order, lines):
    begin, end, vocabulary = 12, 13, 15  # token 14 is never seen
    text = corpus(lines, seed=order)
    estimate = kneser_ney.estimate(laid_out(text, begin, end), vocabulary, begin, order=order)
    p = by_definition(text, vocabulary, begin, end, order)
    model = model_of(estimate, begin, end)
    for line in [*corpus(20, seed=99), [14, 3, 14, 14], []]:
        tokens = laid_out([line], begin, end)
        wanted = [math.log(p(t, tuple(tokens[max(0, i - order + 1) : i].tolist()))) for i, t in enumerate(tokens)][1:]
        assert model.log_probability(tokens)[1:] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("prune", [(), (0, 1), (1, 1), (0, 2, 3)])
def test_after_any_context_the_probabilities_add_up_to_one(prune):
    begin, end, vocabulary = 12, 13, 15
    text = corpus(80, seed=5)
    estimate = kneser_ney.estimate(laid_out(text, begin, end), vocabulary, begin, order=4, prune=prune)
    model = model_of(estimate, begin, end)
    for context in ([], [3], [3, 3], [1, 5, 1], [14], [7, 14], *[line[:3] for line in text[:20]]):
        last = [t for t in range(vocabulary) if t != begin]
        each = [model.log_probability(np.array([begin, *context, t]))[-1] for t in last]
        assert np.exp(each).sum() == pytest.approx(1, abs=1e-9)


def test_pruning_leaves_out_rare_ngrams_only():
    text = laid_out(corpus(80, seed=5), 12, 13)
    whole = kneser_ney.estimate(text, 15, 12, order=3)
    pruned = kneser_ney.estimate(text, 15, 12, order=3, prune=(0, 1))
    assert len(pruned.keys[0]) == len(whole.keys[0]) and 0 < len(pruned.keys[1]) < len(whole.keys[1])
    with pytest.raises(ValueError, match="pruned at least as much"):
        kneser_ney.estimate(text, 15, 12, order=3, prune=(1, 0))


@pytest.mark.skipif(shutil.which("lmplz") is None, reason="KenLM's lmplz is not on the PATH")
@pytest.mark.parametrize("prune", [(), (0, 1)])
def test_parity_with_kenlm(tmp_path, prune):
    begin, end, vocabulary = 12, 13, 15
    text = corpus(300, seed=1)
    (tmp_path / "text").write_text("".join(" ".join(f"w{t}" for t in line) + "\n" for line in text))
    command = ["lmplz", "-o", "3", "--discount_fallback", "-S", "50M", "-T", str(tmp_path / "t"), "--text", str(tmp_path / "text"),  # noqa: E501
               "--arpa", str(tmp_path / "arpa"), "--prune", "0", *map(str, prune or [0])]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    names = {**{f"w{t}": t for t in range(12)}, "<s>": begin, "</s>": end, "<unk>": 14}
    rows = [line.split("\t") for line in (tmp_path / "arpa").read_text().splitlines() if "\t" in line]
    theirs = {tuple(names[word] for word in row[1].split()): float(row[0]) for row in rows}
    estimate = kneser_ney.estimate(laid_out(text, begin, end), vocabulary, begin, order=3, prune=prune)
    grams, ours = [(t,) for t in range(vocabulary)], {}
    for n, logs in enumerate(estimate.log_probabilities):
        if n:
            parts = [divmod(int(key), 1 << estimate.shift) for key in estimate.keys[n - 1]]
            grams = [(*grams[prefix], last) for prefix, last in parts]
        ours.update(zip(grams, (logs / math.log(10)).tolist(), strict=True))
    assert set(ours) == set(theirs) and len(ours) > 100
    assert {g: p for g, p in ours.items() if g != (begin,)} == pytest.approx(
        {g: p for g, p in theirs.items() if g != (begin,)}, abs=1e-5
    )


_made = {}


@pytest.fixture
def trained(tmp_path, tmp_path_factory, warc):
    """A copy of a model of prose that is trained once, with its card."""
    if not _made:
        folder = tmp_path_factory.mktemp("ngram")
        _made["at"] = train(folder, warc[2], folder / "prose.ngram")
    for path in (_made["at"], _made["at"].with_name("prose.ngram.json")):
        shutil.copy(path, tmp_path)
    return tmp_path / "prose.ngram"


def train(folder, prose, out, *more):
    rows = [json.dumps({"text": prose(i)}) + "\n" for i in range(60)]
    (folder / "prose.jsonl").write_text("".join(rows))
    (folder / "other.txt").write_text("zxqj 0x7f kwv ]] {{ \n" * 20)
    arguments = ["--text", folder / "prose.jsonl", "--contrast", folder / "other.txt", "--out", out, "--force"]
    small = ["--vocabulary", 400, "--order", 3, "--prune", "0", "--held-out-ratio", 0.3]
    found = CliRunner().invoke(data, ["model", "train", "ngram", *map(str, (*arguments, *small, *more))])
    assert found.exit_code == 0, found.output + str(found.exception)
    return out


def test_training_twice_gives_equal_bytes_and_a_card(tmp_path, warc, trained):
    again = train(tmp_path, warc[2], tmp_path / "again.ngram")
    assert again.read_bytes() == trained.read_bytes()
    card = json.loads(trained.with_name("prose.ngram.json").read_text())
    assert card["held_out"]["auc"] == 1.0 and card["held_out"]["documents"] == card["data"]["held_out"] > 5
    assert card["held_out"]["contrast"]["percentiles"]["50"] > card["held_out"]["percentiles"]["99"]


def test_documents_unlike_the_reference_and_too_predictable_ones_are_set_aside(rows, trained, warc):
    texts = [warc[2](200), "Xq zw\tjjk %%% vvq ### 91", "", "\n \n", "The river rises in the hills.\n" * 30]
    config = PerplexityConfig(model=str(trained), max_perplexity=100, min_perplexity=15)
    found = Perplexity(config).process(rows(texts))
    assert found.reasons == ["", "high_perplexity", "empty", "empty", "low_perplexity"]
    assert 15 < float(found.details[0]) < 100 and sum(found.counters.values()) == 3


def test_decisions_do_not_depend_on_how_rows_are_split_into_batches(rows, trained, warc):
    texts = [warc[2](300 + i) + "\nzq " * (i % 5) for i in range(30)]
    operator = Perplexity(PerplexityConfig(model=str(trained), max_perplexity=30))
    whole = operator.process(rows(texts))
    one_by_one = [pickle.loads(pickle.dumps(operator)).process(rows([text])).details[0] for text in texts]
    assert one_by_one == whole.details and len(set(one_by_one)) > 10


def test_a_text_that_spells_the_end_of_a_line_stays_one_line(trained):
    model = ngram.load(str(trained))
    tokens, of_text = model.sequences(["a </s> <s> b", "c\n\nd"])
    assert (tokens == model.begin).sum() == 3 and np.bincount(of_text[tokens == model.end]).tolist() == [1, 2]


def test_tokens_of_words_are_those_of_the_whole_line(trained):
    model = ngram.load(str(trained))
    for line in ["the river's edge, (so they say) runs 42 miles!", "it's 'quoted' ... don't", "über straße 東京 はな"]:
        tokens, _ = model.sequences(["The  " + line])
        whole = model.tokenizer.encode(ngram.normalise("the " + line)).ids
        assert tokens.tolist() == [model.begin, *whole, model.end]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda whole: b"", "no model of Headwater's"),
        (lambda whole: whole[:-8], "is damaged"),
        (lambda whole: whole + b"\0", "is damaged"),
        (lambda whole: b"\xff" * 100, "no model of Headwater's"),
        (lambda whole: whole.replace(b"ngram", b"other", 1), "another kind"),
        (lambda whole: whole.replace(b"keys_3", b"keys_9", 1), "is damaged"),
    ],
)
def test_a_damaged_or_wrong_model_is_refused(trained, change, message):
    trained.write_bytes(change(trained.read_bytes()))
    trained.with_name("prose.ngram.json").unlink()
    with pytest.raises(ConfigError, match=message):
        PerplexityConfig(model=str(trained), max_perplexity=100).content()


@pytest.mark.parametrize(
    "options", [{}, {"max_perplexity": 5, "min_perplexity": 9}, {"max_perplexity": -1}, {"max_perplexity": math.nan}]
)
def test_bounds_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="perplexity"):
        PerplexityConfig(model="m", **options)
