"""What a shell completes after `tag2mask`."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tag2mask.cli import all_commands, whole_parser
from tag2mask.completion import shell_script
from tag2mask.core.commands import parse

ASK = """source "$1"; shift
COMP_WORDS=(tag2mask "$@"); COMP_CWORD=$#; COMP_LINE="tag2mask $*"; COMPREPLY=()
_shtab_tag2mask; echo "${COMPREPLY[@]}"
"""


def described(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str | None]]:
    """Every argument of a parser and of the commands below it, with its help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from described(inner)
        else:
            yield f"{parser.prog} {action.dest}", action.help


def test_every_argument_of_every_command_is_explained() -> None:
    """A default alone explains nothing; what the step itself takes is Lightning's."""
    found = dict(described(whole_parser()))
    assert len(found) > 100
    bare = [name for name, text in found.items() if not text or text.startswith("default")]
    assert [name for name in bare if not name.startswith("tag2mask step")] == []


def test_a_command_is_summed_up_as_in_the_list_of_all() -> None:
    """The list imports no command, so it says of each once more what the command says of itself."""
    (commands,) = (a for a in whole_parser()._actions if isinstance(a, argparse._SubParsersAction))
    said = {action.dest: action.help for action in commands._choices_actions}
    assert said == {name: command.help for name, command in all_commands().items() if command.help}


def examples(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The commands below the help of a parser and of the commands below it."""
    text = re.sub(r"\\\n\s*", "", parser.epilog or "")
    yield from (line.strip() for line in text.splitlines() if line.strip().startswith("tag2mask "))
    for action in parser._actions:
        for inner in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
            yield from examples(inner)


def test_the_examples_of_every_help_have_the_options() -> None:
    """Behind a command stands what it is for, or where its output goes."""
    parser = whole_parser()
    lines = [line for line in examples(parser) if "..." not in line and " step " not in line]
    assert len(lines) > 30
    for line in lines:
        parse(parser, shlex.split(re.split(r"\s{3,}| > ", line)[0])[1:])


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_names_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some_photos").mkdir()
    script = tmp_path / "completion.bash"
    script.write_text(shell_script("bash"))

    def completes(*words: str) -> set[str]:
        command = ["bash", "-c", ASK, "bash", str(script), *words]
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())

    assert {"data", "doctor"} <= completes("d")
    assert completes("score") == {"score"}  # `score-step` is the runner's
    assert completes("run", "ps") == {"psa"}
    assert completes("run", "psa", "--data", "sha") == {"shapes"}
    assert {"full", "small", "tiny"} <= completes("run", "psa", "--budget", "")
    assert completes("run", "psa", "--data-r") == {"--data-root"}
    for words in (
        ["predict"],
        ["predict", "--checkpoint"],
        ["export"],
        ["weights", "convert"],
        ["submit-voc"],
    ):
        assert completes(*words, "some") == {"some_photos"}, words
    for words in (["run", "psa", "--weights"], ["submit-voc", "--ids"], ["report"], ["data", "import"]):
        assert completes(*words, "some") == {"some_photos"}, words
    assert completes("step", "cl") == {"classifier"} and "predict" in completes("step", "classifier", "")


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells(shell: str) -> None:
    script = shell_script(shell)
    assert "self_guided" in script and "tag2mask" in script
