"""Where everything lies in a run folder. The one place that knows these names."""

from __future__ import annotations

from pathlib import Path


class RunLayout:
    """The folders of one run of the line.

    Args:
        root: The run folder. It need not exist yet.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @property
    def recipe(self) -> Path:
        """The resolved recipe that the line was run with."""
        return self.root / "recipe.yaml"

    def is_begun(self) -> bool:
        """Whether any stage of a run, or the line, has left something here; the report, which reads it, is none."""
        stages = (self.raw_root, self.items, self.documents, self.tokenizer, self.tokens_root, self.train, self.eval)
        return self.recipe.is_file() or any(folder.is_dir() for folder in stages)

    @property
    def raw_root(self) -> Path:
        """The folder that holds one folder of WARC files a source."""
        return self.root / "raw"

    def raw(self, source: str) -> Path:
        """WARC files of one source."""
        return self.raw_root / source

    @property
    def items(self) -> Path:
        """Evaluation items, for decontamination and for `headwater trace item`."""
        return self.root / "items"

    @property
    def documents(self) -> Path:
        """Kept and rejected documents of every source."""
        return self.root / "documents"

    @property
    def documents_page(self) -> Path:
        """The page about the documents; of no artifact, since it can be drawn again at any time."""
        return self.root / "documents.html"

    @property
    def tokenizer(self) -> Path:
        """The trained tokenizer."""
        return self.root / "tokenizer"

    @property
    def tokens_root(self) -> Path:
        """The folder that holds one token data set a source."""
        return self.root / "tokens"

    def tokens(self, source: str) -> Path:
        """Megatron token files of one source."""
        return self.tokens_root / source

    @property
    def init(self) -> Path:
        """Imported weights that training can start from."""
        return self.root / "init"

    @property
    def train(self) -> Path:
        """Training: configuration, losses, events, checkpoints."""
        return self.root / "train"

    @property
    def checkpoints(self) -> Path:
        """The folder that holds the checkpoints."""
        return self.train / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """The checkpoint written after `step` steps."""
        return self.checkpoints / f"step-{step:08d}"

    @property
    def eval(self) -> Path:
        """Evaluation results and samples."""
        return self.root / "eval"

    @property
    def evals(self) -> Path:
        """The folder that holds an evaluation for each checkpoint that was watched."""
        return self.root / "evals"

    def eval_of(self, step: int) -> Path:
        """Evaluation of the checkpoint written after `step` steps."""
        return self.evals / f"step-{step:08d}"

    @property
    def eval_page(self) -> Path:
        """The page about the evaluation; of no artifact, since it can be drawn again at any time."""
        return self.root / "eval.html"

    def pages(self) -> list[Path]:
        """The pages that are of no artifact, whether they are there or not."""
        steps = sorted(self.evals.glob("step-*.html")) if self.evals.is_dir() else []
        return [self.documents_page, self.eval_page, *steps]

    def serving(self, stage: str) -> Path:
        """While a stage serves its metrics besides the training: where; of no artifact."""
        return self.root / "serving" / f"{stage}.json"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.root / "report"
