"""One evaluation from start to end, with the model in memory only while something is left to measure."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from headwater.core.console import progress
from headwater.core.errors import EvalError
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact
from headwater.core.storage import atomic_write
from headwater.eval import checkpoint as checkpoints
from headwater.eval.answers import Answers
from headwater.eval.config import EvalConfig
from headwater.eval.held_out import HeldOut, bits_per_byte, read_held_out
from headwater.eval.notes import notes
from headwater.eval.overlap import mark_samples, overlap_notes, read_item_overlap, split_score
from headwater.eval.reader import Reader
from headwater.eval.results import EvaluatedCheckpoint, HeldOutBits, Refused, Results, Score
from headwater.eval.sandbox import availability
from headwater.eval.scoring import Request, Scored, score
from headwater.eval.tokenizer import EvalTokenizer, has_tokenizer, load_tokenizer, same_tokens

_LEAST_PROMPT = 512  # tokens: less is no long text


class Session:
    """Measures one checkpoint. Everything finished is kept under `work` and found again after a kill.

    Args:
        run: The run folder.
        config: The `eval` section.
        checkpoint: Folder of the checkpoint or Hugging Face model.
        work: Folder that survives a kill.
        data_dir: Folder with the data of real benchmarks, or None.
        checksum_file: Its checksums; by default those that lie in it.
        include: Folders of the user's own task files.
        sandbox_problem: Why generated code cannot run here, or None when it can.
    """

    def __init__(
        self,
        run: RunLayout,
        config: EvalConfig,
        checkpoint: Path,
        work: Path,
        data_dir: Path | None,
        checksum_file: Path | None,
        include: Sequence[Path],
        sandbox_problem: str | None,
    ) -> None:
        self.run = run
        self.config = config
        self.checkpoint = checkpoint
        self.work = work
        self.data_dir = data_dir
        self.checksum_file = checksum_file
        self.include = list(include)
        self.sandbox_problem = sandbox_problem
        self.timing: dict[str, dict[str, float]] = {}
        self.sandbox: str | None = None
        self._made = work  # task files that are written for this session

    def results(self, settings: dict[str, Any]) -> Results:
        """Measures what is missing and gathers all of it."""
        scores, refused = self._tasks() if self.config.asked else ([], [])
        overlap = read_item_overlap(self.run, self.checkpoint)
        leaves = list(dict.fromkeys(score.task for score in scores if not score.group))
        samples = mark_samples(self.work / "samples", leaves, overlap)
        scores = [score.model_copy(update={"overlap": split_score(score, samples)}) for score in scores]
        bits = self._bits_per_byte() if self.config.bits_per_byte else None
        names = ("lm-eval", "torch", "transformers", "tokenizers", "datasets")
        return Results(
            checkpoint=self._identity(),
            tasks=scores,
            refused=refused,
            bits_per_byte=bits,
            notes=[
                *notes(scores, self._max_length, self.config),
                *overlap_notes(samples, overlap),
                *self._tokenizer_notes(),
            ],
            settings=settings,
            software={name: version(name) for name in names},
        )

    @cached_property
    def _loaded(self) -> checkpoints.LoadedCheckpoint:
        with self._timed("load checkpoint"):
            device = "cuda" if torch.cuda.is_available() else "cpu"
            return checkpoints.load(self.checkpoint, device, self.config.precision)

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._loaded.model)

    def _decisive(self) -> dict[str, Any]:
        """What decides an answer besides its prompt and the task."""
        model = self._loaded.model
        return {
            "weights": self._loaded.weights_digest,
            "tokenizer": hashlib.sha256(self._tokenizer.inner.to_str().encode()).hexdigest(),
            "special_tokens": [self._tokenizer.eot_id, self._tokenizer.begin_id, self._tokenizer.special],
            "dtype": str(model.dtype),
            "device": model.device.type,
            "software": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        }

    @cached_property
    def _answers(self) -> Answers:
        return Answers(self.work / "answers", self._decisive())

    @property
    def _tokenizer_folder(self) -> Path:
        return self.checkpoint if self._brings_tokenizer else self.run.tokenizer

    @property
    def _brings_tokenizer(self) -> bool:
        """Whether a Hugging Face folder has a tokenizer of its own; one with weights alone goes with the run's."""
        return self._loaded.run is None and has_tokenizer(self.checkpoint)

    @cached_property
    def _tokenizer(self) -> EvalTokenizer:
        loaded = self._loaded
        tokenizer = load_tokenizer(self._tokenizer_folder, loaded.run)
        rows = int(loaded.model.config.vocab_size)
        if tokenizer.vocab_size > rows:
            raise EvalError(
                "the tokenizer has more tokens than the model",
                found=f"{tokenizer.vocab_size:,} tokens",
                expected=f"at most {rows:,}",
                hint="evaluate with the tokenizer that the model was trained with",
            )
        return tokenizer

    def _tokenizer_notes(self) -> list[str]:
        if self._loaded.run is None and not self._brings_tokenizer:
            return [
                "The model's folder has no tokenizer: the run's was used. Scores mean nothing if it is another one."
            ]
        if self.config.bits_per_byte and not self._reads_run_tokens and self._token_folders():
            return [
                "No bits per byte: the held-out documents are tokens of the run's tokenizer, which is not the model's."
            ]
        return []

    @property
    def _reads_run_tokens(self) -> bool:
        """Whether the token ids of the run's documents are those of this model."""
        if not self._brings_tokenizer:
            return True
        if not is_artifact(self.run.tokenizer):
            return False
        return same_tokens(self._tokenizer, load_tokenizer(self.run.tokenizer))

    def _token_folders(self) -> list[Path]:
        return sorted(path for path in self.run.tokens_root.glob("*") if is_artifact(path))

    @property
    def _max_length(self) -> int:
        return self._loaded.max_length

    def _prompt_lengths(self) -> tuple[int, ...]:
        """Those asked for, else all of what the model reads, and an eighth, a quarter and half where that is enough."""
        longest = self._max_length
        if (asked := self.config.prompt_lengths) is None:
            return (*(longest // parts for parts in (8, 4, 2) if longest // parts >= _LEAST_PROMPT), longest)
        if max(asked) > longest:
            raise EvalError(
                "a prompt of eval.prompt_lengths is longer than what the model reads", found=f"{max(asked):,} tokens",
                expected=f"at most {longest:,}",
            )  # fmt: skip
        return asked

    def run_tasks(self, part: int, parts: int) -> None:
        """Runs every `parts`-th task, the first of them number `part`; they are kept under `work`."""
        self._made = self.work / f"part-{part}"  # other processes write theirs at the same time
        if self.config.asked:
            self._tasks(part, parts)

    def _tasks(self, part: int = 0, parts: int = 1) -> tuple[list[Score], list[Refused]]:
        tokenizer = self._tokenizer
        with self._timed("load tasks"):
            # Imported here: lm-eval takes seconds, and a wrong checkpoint or tokenizer should be told at once.
            from headwater.eval.harness.hub_data import HubFolder
            from headwater.eval.harness.model import HeadwaterLM
            from headwater.eval.harness.run import group_scores, run_task
            from headwater.eval.harness.tasks import Prompts, load_tasks

            asked = self.config.asked
            loaded = load_tasks(
                list(asked),
                self._include(),
                hub=self.config.hub,
                sandbox_problem=self.sandbox_problem,
                data=HubFolder(self.data_dir) if self.data_dir is not None else None,
                prompts=Prompts(self._tokenizer_folder, self._prompt_lengths()),
            )
        if any(getattr(task, "UNSAFE_CODE", False) for task in loaded.tasks.values()):
            self.sandbox = availability().backend
        lm = HeadwaterLM(
            self._reader,
            tokenizer,
            max_length=self._max_length,
            batch_tokens=self.config.batch_tokens,
            max_gen_tokens=self.config.max_gen_tokens,
            bars=progress,
            answers=self._answers,
        )
        outcomes = []
        for name, task in list(loaded.tasks.items())[part::parts]:
            how = asked[loaded.asked[name]]
            few_shot = self.config.few_shot if how.few_shot is None else how.few_shot
            lm.max_gen_tokens = how.max_gen_tokens or self.config.max_gen_tokens
            with self._timed(name):
                outcomes.append(
                    run_task(lm, name, task, self.work, limit=self.config.limit, few_shot=few_shot, items=how.items)
                )
        if parts > 1:
            return [], loaded.refused
        scores = [*group_scores(loaded, outcomes), *(score for outcome in outcomes for score in outcome.scores)]
        return scores, loaded.refused

    def _include(self) -> list[Path]:
        """The user's task files, and those made for this evaluation, which read the data folder."""
        if self.data_dir is None:
            return self.include
        from headwater.eval.data_dir import prepare_data_dir

        made = prepare_data_dir(self.data_dir, self._made, list(self.config.asked), self.checksum_file)
        return [*self.include, made]

    def _bits_per_byte(self) -> HeldOutBits | None:
        kept = self.work / "bits_per_byte.json"
        if kept.is_file():
            return HeldOutBits.model_validate_json(kept.read_bytes())
        folders = self._token_folders()
        if not folders or not self._reads_run_tokens:
            return None
        loaded = self._loaded
        # A model from elsewhere may end its texts, but not the run's documents, with another token.
        tokenizer = load_tokenizer(self.run.tokenizer) if self._brings_tokenizer else self._tokenizer
        with self._timed("bits per byte"):
            found = [
                read_held_out(folder, tokenizer.vocab_size, tokenizer.eot_id, self.config.held_out_tokens)
                for folder in folders
            ]
            window = min(loaded.run.seq_len, self._max_length) if loaded.run else self._max_length
            bits = bits_per_byte([h for h in found if h], tokenizer.eot_id, window, self._score_held_out)
        if bits is not None:
            atomic_write(kept, bits.model_dump_json())
        return bits

    def _score_held_out(self, held_out: HeldOut, requests: list[Request]) -> list[Scored]:
        batch_tokens = self.config.batch_tokens or self._reader.batch_tokens
        kept = self._answers.of(
            held_out=held_out.source,
            requests=hashlib.sha256(repr(requests).encode()).hexdigest(),
            sizes=[self._max_length, batch_tokens],
        )
        with progress(len(requests), f"held-out {held_out.source}") as bar:
            return score(
                self._reader,
                requests,
                max_length=self._max_length,
                batch_tokens=batch_tokens,
                advance=bar.advance,
                kept=kept,
            )

    def _identity(self) -> EvaluatedCheckpoint:
        loaded = self._loaded
        run = loaded.run
        return EvaluatedCheckpoint(
            weights_digest=loaded.weights_digest,
            tokenizer_digest=run.tokenizer_digest if run else None,
            manifest_digest=loaded.manifest.digest if loaded.manifest else None,
            step=run.step if run else None,
            samples=run.samples if run else None,
            validation_loss=run.validation_loss if run else None,
            validation_bits_per_byte=run.validation_bits_per_byte if run else None,
            parameters=sum(p.numel() for p in loaded.model.parameters()),
            max_length=self._max_length,
        )

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        wall, cpu = time.monotonic(), time.process_time()
        yield
        spent = {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}
        self.timing[name] = {key: round(value, 3) for key, value in spent.items()}
