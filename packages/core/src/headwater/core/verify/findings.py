"""What verification finds, and a place to collect it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        severity: An error means that the run is not what its manifests say; a warning is worth knowing.
        artifact: The artifact's folder, relative to the run folder.
        file: The file, relative to the run folder; empty when it is about the artifact as a whole.
        problem: What is wrong, in one sentence.
        found, expected: The two sides, where there are two.
        hint: What to do.
    """

    severity: Severity
    artifact: str
    file: str
    problem: str
    found: str = ""
    expected: str = ""
    hint: str = ""


@dataclass
class Findings:
    """Findings in the order in which they were made."""

    found: list[Finding] = field(default_factory=list[Finding])

    def error(
        self, artifact: str, file: str, problem: str, *, found: object = "", expected: object = "", hint: str = ""
    ) -> None:
        """Adds an error."""
        self.found.append(Finding("error", artifact, file, problem, str(found), str(expected), hint))

    def warning(
        self, artifact: str, file: str, problem: str, *, found: object = "", expected: object = "", hint: str = ""
    ) -> None:
        """Adds a warning."""
        self.found.append(Finding("warning", artifact, file, problem, str(found), str(expected), hint))

    def equal(self, artifact: str, file: str, what: str, found: object, expected: object) -> None:
        """Adds an error unless the two values are equal."""
        if found != expected:
            self.error(artifact, file, what, found=found, expected=expected, hint=REMAKE)


REMAKE = "run the stage that makes it again, or restore it from a copy"
