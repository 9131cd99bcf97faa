"""The command line: what it imports, how it ends, and the commands that evaluate and report add."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import tag2mask
from tag2mask import cli
from tag2mask.artifacts import save_labels
from tag2mask.core import UserError


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module in the place of a command's own, which is what `cli` imports."""
    module = types.ModuleType("fake_command")
    monkeypatch.setitem(sys.modules, "fake_command", module)
    monkeypatch.setitem(cli.COMMANDS, "fake", cli._Command("fake_command", "a command"))
    return module


def set_handler(module: types.ModuleType, handler: object) -> None:
    def add_parser(commands: object) -> None:
        parser = commands.add_parser("fake")  # type: ignore[attr-defined]
        parser.add_argument("--number", type=int, default=0)
        parser.set_defaults(handler=handler)

    module.add_parser = add_parser  # type: ignore[attr-defined]


def test_help_imports_neither_torch_nor_any_command() -> None:
    loaded = run_python(
        "import sys\n"
        "from tag2mask.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy', 'pytorch_lightning')\n"
        "       or m.startswith('tag2mask.')])"
    )
    assert loaded.splitlines()[-1] == "['tag2mask.cli']"


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    listed = re.findall(r"^    ([a-z-]+)(?: |$)", text, re.MULTILINE)
    assert listed == [name for name, command in cli.COMMANDS.items() if command.help]
    assert "score-step" not in text and "examples:" in text


def test_no_command_and_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "usage: tag2mask" in capsys.readouterr().out
    assert cli.main(["scoer"]) == 2
    assert "unknown command 'scoer'; did you mean score" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == f"tag2mask {tag2mask.__version__}"


def test_options_reach_the_handler(fake: types.ModuleType) -> None:
    set_handler(fake, lambda args: args.number)
    assert cli.main(["fake", "--number", "3"]) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "psa", "--budgt", "small"], "tag2mask run has no option --budgt; did you mean --budget"),
        (
            ["data", "check", "--data-rot=x"],
            "tag2mask data check has no option --data-rot=x; did you mean --data-root",
        ),
        (["data", "import", "a", "b"], "unexpected 'b': `tag2mask data import --help`"),
    ],
)
def test_unknown_options_name_the_nearest(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


def test_user_errors_end_with_2_and_one_line(
    fake: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: object) -> int:
        raise UserError("no such file x.csv; give another")

    set_handler(fake, fail)
    assert cli.main(["fake"]) == 2
    assert capsys.readouterr().err == "error: no such file x.csv; give another\n"


def test_ctrl_c_ends_with_130(fake: types.ModuleType) -> None:
    def stop(args: object) -> int:
        raise KeyboardInterrupt

    set_handler(fake, stop)
    assert cli.main(["fake"]) == 130


def test_our_own_errors_keep_their_traceback(fake: types.ModuleType) -> None:
    def fail(args: object) -> int:
        raise ValueError("a bug")

    set_handler(fake, fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["fake"])


def test_step_passes_everything_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[object] = []
    module = types.ModuleType("tag2mask.step")
    module.main = lambda script, args: seen.append((script, args))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tag2mask.step", module)
    assert cli.main(["step", "classifier", "fit", "--help", "--", "--x=1"]) == 0
    assert seen == [("classifier", ["fit", "--help", "--", "--x=1"])]
    assert capsys.readouterr().err == ""
    # batch files that earlier versions wrote still say stage
    assert cli.main(["stage", "affinity", "fit"]) == 0 and seen[1] == ("affinity", ["fit"])
    assert capsys.readouterr().err == "note: `tag2mask stage` is called `tag2mask step` now\n"


def test_step_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["step", "--help"]) == 0
    assert cli.main(["step"]) == 2
    assert capsys.readouterr().out.count("usage: tag2mask step SCRIPT") == 2


def test_a_mistake_in_the_options_of_a_step_is_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["step", "pseudo_labels", "predict", "--step-dir", "x", "--foo", "3"])
    assert stop.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "error: unrecognized arguments: --foo 3"
    assert told[0].startswith("usage: tag2mask step pseudo_labels predict ") and len(told) == 3


@pytest.mark.parametrize("command", sorted(set(cli.COMMANDS) - {"step"}))
def test_every_command_has_help(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = cli.main([command, "--help"])
    except SystemExit as stop:
        code = stop.code
    assert code == 0
    assert f"usage: tag2mask {command}" in capfd.readouterr().out


def test_score_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.array([[0, 8], [8, 255]], np.uint8)
    save_labels(tmp_path / "gt" / "a.png", truth)
    save_labels(tmp_path / "gt" / "b.png", truth)
    save_labels(tmp_path / "pred" / "a.png", np.array([[0, 8], [0, 0]], np.uint8))
    folders = [str(tmp_path / "pred"), str(tmp_path / "gt")]
    assert cli.main(["score", *folders]) == 2
    assert "1 of 2 predictions are missing" in capsys.readouterr().err
    (tmp_path / "val.txt").write_text("a\n")
    assert cli.main(["score", *folders, "--split", str(tmp_path / "val.txt"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["per_class"] == {"background": 0.5, "cat": 0.5}
    assert (scores["split"], scores["images"]) == ("val", 1)
    assert cli.main(["score", *folders, "--missing", "skip", "--classes", "voc"]) == 0
    assert "1 without a prediction left out" in capsys.readouterr().out


def test_report_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tag2mask.artifacts import Manifest, write_manifest
    from tag2mask.core import ClassList

    run = tmp_path / "run"
    classes = ClassList.voc(["cat"]).to_dict()
    made = Manifest(step="affinity", kind="checkpoint", recipe="psa", classes=classes, complete=True)
    write_manifest(run / "affinity", made)
    assert cli.main(["report", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(run / "report.html")
    assert cli.main(["report", str(run), str(run), "--out", str(tmp_path / "both.html")]) == 0
    assert (tmp_path / "both.html").read_text().startswith("<!DOCTYPE html>")
    assert cli.main(["report", str(run), str(run), "--out", str(tmp_path / "both.html")]) == 0
    (tmp_path / "photo.jpg").write_bytes(b"a picture")
    assert cli.main(["report", str(run), "--out", str(tmp_path / "photo.jpg")]) == 2
    assert (tmp_path / "photo.jpg").read_bytes() == b"a picture"
    assert cli.main(["report", str(tmp_path / "none")]) == 2
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", str(run), "--images", "-1"])
    assert stop.value.code == 2


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    words = [sys.executable, "-m", "tag2mask", "recipes"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to write to")
@pytest.mark.parametrize("words", [["--help"], ["recipes", "show", "psa", "--step", "walk", "--yaml"]])
def test_output_on_a_full_disk_is_one_line(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits into a buffer met the disk at Python's exit only: two lines of its own, and code 120."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tag2mask", *words], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.stderr == b"error: No space left on device; make room, then the same command goes on\n"
    assert done.returncode == 2


def test_a_reader_that_is_gone_at_once_gets_no_words_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    command = [sys.executable, "-m", "tag2mask", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("errors", ["strict", None])
def test_everything_can_be_printed(errors: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    terminal = io.TextIOWrapper(written, "ascii", errors) if errors else None  # None: closed, as by >&-
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["recipes", "show", "unknown-→"]) == 2
    print("Bär", flush=True)
    assert written.getvalue() == (b"B\\xe4r\n" if errors else b"")
