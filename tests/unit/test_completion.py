"""What a shell completes after `tag2mask`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tag2mask.completion import shell_script

ASK = """source "$1"; shift
COMP_WORDS=(tag2mask "$@"); COMP_CWORD=$#; COMP_LINE="tag2mask $*"; COMPREPLY=()
_shtab_tag2mask; echo "${COMPREPLY[@]}"
"""


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
