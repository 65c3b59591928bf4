"""The documentation tells the truth: links lead somewhere, and the commands it names exist with their flags."""

import re
import subprocess
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?headwater ([^#\n`]*)", re.MULTILINE)


def documents() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [ROOT / name for name in sorted(set(listing)) if (ROOT / name).is_file()]


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+\s+(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    broken = []
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@cache
def root_command() -> click.Group:
    group = click.Group()
    for point in entry_points(group="headwater.cli"):
        group.add_command(point.load(), point.name)
    return group


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(path):
    text = "\n".join(re.findall(r"```(?:bash|sh|console)?\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
    wrong = []
    for line in COMMAND.findall(text.replace("\\\n", " ")):
        words = line.split()
        command: click.Command = root_command()
        while words and isinstance(command, click.Group):
            following = command.get_command(click.Context(command), words[0])
            if following is None:
                break
            command, words = following, words[1:]
        if isinstance(command, click.Group) and words and not words[0].startswith("-"):
            wrong.append(line)
            continue
        known = {name for parameter in command.params for name in parameter.opts} | {"--help", "--version"}
        wrong += [f"{line}: {word}" for word in words if word.startswith("--") and word.split("=")[0] not in known]
    assert not wrong


def commands(command: click.Command, names: tuple[str, ...], above: click.Context | None = None):
    context = click.Context(command, info_name=names[-1], parent=above)
    yield names, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*names, name), context)


def test_help_shows_no_marks_and_examples_as_they_were_written():
    from headwater.core.cli import headwater

    seen = 0
    for names, context in commands(headwater, ("headwater",)):
        text = context.get_help()
        seen += 1
        assert "\\b" not in text and "\x08" not in text, f"{' '.join(names)} --help"
        for line in text.splitlines():
            assert line.count("headwater data ") < 2, f"{' '.join(names)} --help runs examples together: {line}"
    assert seen > 40
