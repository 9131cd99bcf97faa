"""Jobs of Slurm without a Slurm: the files of a submission, and what a batch file does when it is stopped."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tag2mask.cli import build_parser
from tag2mask.core import UserError
from tag2mask.core.library import open_library
from tag2mask.pipeline import Devices, Extras, Request, Settings, prepare, run_recipe
from tag2mask.pipeline.batch_file import batch_text
from tag2mask.pipeline.lock import RunLock
from tag2mask.pipeline.request import resume_words
from tag2mask.pipeline.slurm import Job, cluster_page, job_of, submitted
from tag2mask.pipeline.submission import submission, waiting_line

PROGRAM = ("python", "-m", "tag2mask")
SBATCH = """#!/bin/bash
echo "$@" >> {calls}
[ "$REFUSE" ] && [[ "$*" == *$REFUSE* ]] && {{ echo "bad partition" >&2; exit 1; }}
wc -l < {calls} | tr -d ' '
"""


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a fake sbatch was called with; it gives jobs the numbers 1, 2, ..., of which no squeue knows."""
    path = tmp_path / "calls"
    path.touch()
    program(tmp_path / "bin", "sbatch", SBATCH.format(calls=path))
    program(tmp_path / "bin", "squeue", "#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return path


def request_of(tmp_path: Path, **more: object) -> Request:
    asked = Settings("psa", data="voc", data_root=str(tmp_path))
    extras = Extras(Devices(2), overrides={"cam": {"model.init_args.dropout": 0.1}})
    return Request(asked, tmp_path / "run", **{"launcher": "slurm", "extras": extras, **more})  # type: ignore[arg-type]


def files(request: Request) -> dict[str, str]:
    return {path.name: text for path, text in submission(prepare(request), PROGRAM).items()}


def options(text: str) -> dict[str, str]:
    found = re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE)
    return dict(found)


def test_each_step_gets_what_it_needs(tmp_path: Path) -> None:
    made = files(request_of(tmp_path, sbatch_args=("--partition=big",)))
    cam, labels, walk = (options(made[f"{step}.sbatch"]) for step in ("cam", "affinity_labels", "walk"))
    assert (cam["ntasks-per-node"], cam["gpus-per-node"], cam["cpus-per-task"]) == ("2", "2", "8")
    # CRFs take cores, not GPUs, whatever --devices says; the walk runs a network first
    assert (labels["ntasks-per-node"], labels["cpus-per-task"]) == (
        "1",
        "16",
    ) and "gpus-per-node" not in labels
    assert (walk["ntasks-per-node"], walk["gpus-per-node"]) == ("1", "1")
    assert cam["partition"] == "big" and cam["time"] == "24:00:00" and "account" not in cam
    assert cam["signal"] == "B:USR1@120" and "requeue" in cam and cam["job-name"] == "tag2mask-psa-cam"
    two = files(request_of(tmp_path, extras=Extras(Devices(1, 2))))["cam.sbatch"]
    assert options(two)["nodes"] == "2"
    assert "batch_size: 16" in made["cam.yaml"] and "dropout: 0.1" in made["cam.yaml"]


def test_options_with_their_values_behind_a_blank(tmp_path: Path) -> None:
    """A value with a dot was taken for a setting of a step, and every word stood on a line of its own."""
    given = "--mail-user me@example.org -p gpu --comment 'a b'"
    parsed = build_parser("run").parse_args(["run", "psa", "--sbatch-args", given, "--data", "voc"])
    assert parsed.sbatch_args.strip() == given and parsed.data == "voc" and parsed.overrides == {}
    made = files(request_of(tmp_path, sbatch_args=tuple(shlex.split(parsed.sbatch_args))))["cam.sbatch"]
    assert "\n#SBATCH --mail-user me@example.org\n#SBATCH -p gpu\n#SBATCH --comment 'a b'\n" in made


def test_a_job_makes_its_step_alone(tmp_path: Path) -> None:
    made = files(request_of(tmp_path))
    calls = {}
    for step in ("cam", "affinity_labels", "segmentation"):
        line = next(line for line in made[f"{step}.sbatch"].splitlines() if line.endswith(" &"))
        words = shlex.split(line.removesuffix(" &"))
        assert words[: len(PROGRAM) + 1] == [*PROGRAM, "run"]
        calls[step] = build_parser("run").parse_args(words[len(PROGRAM) :])
        assert calls[step].step == [step] and calls[step].launcher == "srun" and calls[step].stage == []
    assert [call.devices for call in calls.values()] == [2, 1, 2]
    assert [call.no_check for call in calls.values()] == [False, True, True]  # the data is checked once
    assert calls["cam"].overrides == {"cam": {"model.init_args.dropout": 0.1}}
    assert calls["segmentation"].overrides == {}


def test_what_a_job_says_is_what_people_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It named ``--launcher srun``, which nobody can give outside of the job."""

    def said_by(step: str, **changes: object) -> str:
        line = next(ln for ln in made[f"{step}.sbatch"].splitlines() if ln.startswith("export TAG2MASK"))
        name, _, text = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, shlex.split(text)[0])
        job = request_of(tmp_path, launcher="srun", steps=(step,), **changes)
        return shlex.join(resume_words(job, begun=True))

    given = {
        "sbatch_args": ("--qos=a b",),
        "rerun": ("walk", "affinity"),
        "stages": (1, 2),
    }
    made = files(request_of(tmp_path, **given))
    typed = f"tag2mask run psa --run-dir {tmp_path}/run"
    # without its own --rerun a step goes on that has been begun; those after it are still to be made again
    assert said_by("affinity").startswith(f"{typed} --stage 1 2 --rerun walk --devices 2 --launcher")
    assert said_by("affinity", rerun=("affinity",)).startswith(
        f"{typed} --rerun affinity --stage 1 2 --rerun walk --devices"
    )
    said = said_by("walk")
    assert said.startswith(f"{typed} --stage 1 2 --devices 2 --launcher slurm --cluster slurm ")
    parsed = build_parser("run").parse_args(shlex.split(said)[1:])
    assert shlex.split(parsed.sbatch_args) == ["--qos=a b"]
    assert parsed.overrides == {"cam": {"model.init_args.dropout": 0.1}}
    assert build_parser("run").parse_args(shlex.split(said_by("walk", allow_empty=True))[1:]).allow_empty
    monkeypatch.delenv("TAG2MASK_SUBMITTED")  # a job that somebody has started by hand
    own = shlex.join(resume_words(request_of(tmp_path, launcher="srun"), begun=True))
    assert own.startswith(f"{typed} --devices 2 --launcher srun")


def test_jobs_wait_for_the_one_before(
    tmp_path: Path, calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when the stages are submitted one after another, before anything has run."""
    folder = tmp_path / "run" / "slurm"
    assert run_recipe(request_of(tmp_path, stages=(1,), dry_run=True), PROGRAM) == 0
    assert f"# {folder}/cam.sbatch\n#!/bin/bash\n" in capsys.readouterr().out and not folder.exists()
    for stage in (1, 2, 3):
        extras = Extras(Devices(2))
        assert run_recipe(request_of(tmp_path, stages=(stage,), extras=extras), PROGRAM) == 0
    assert "cam: job 1\n" in capsys.readouterr().out
    steps = ["cam", "affinity_labels", "affinity", "walk", "pseudo_label", "segmentation"]
    for number, (step, call) in enumerate(zip(steps, calls.read_text().splitlines(), strict=True)):
        assert call.endswith(f"{folder}/{step}.sbatch")
        assert (f"--dependency=afterok:{number} " in call) == (number > 0)


def test_jobs_that_have_failed_are_not_waited_for(tmp_path: Path, calls: Path) -> None:
    def submit_stage(number: int) -> str:
        assert run_recipe(request_of(tmp_path, stages=(number,), extras=Extras()), PROGRAM) == 0
        return calls.read_text().splitlines()[-1]

    for stage in (1, 2, 3):
        submit_stage(stage)
    program(tmp_path / "bin", "squeue", "#!/bin/sh\nprintf '6\\n90\\n'\n")
    assert "--dependency=afterok:6 " in submit_stage(1)  # one runner at a time in a run folder
    program(tmp_path / "bin", "squeue", "#!/bin/sh\nprintf '90\\n'\n")
    again = (
        "step affinity_labels reads cam, which is not complete.* --stage 1 --launcher slurm --cluster slurm"
    )
    with pytest.raises(UserError, match=again):  # not a command that trains on the login node
        submit_stage(2)
    assert "--dependency" not in submit_stage(1)
    program(tmp_path / "bin", "squeue", "#!/bin/sh\nprintf '8\\n90\\n'\n")
    with pytest.raises(UserError, match=r"not over: cam: job 8; .* scancel 8"):
        submit_stage(1)


def test_jobs_that_may_still_wait_are_not_submitted_again(tmp_path: Path, calls: Path) -> None:
    """Where squeue could not be asked they were, and the second job of a step failed on the run folder."""
    only = {"stages": (1,), "extras": Extras()}
    assert run_recipe(request_of(tmp_path, **only), PROGRAM) == 0
    with pytest.raises(UserError, match=r"before: cam: job 1; squeue does not say .* delete .*/jobs.txt if"):
        run_recipe(request_of(tmp_path, **only), PROGRAM)
    (tmp_path / "run" / "slurm" / "jobs.txt").unlink()
    assert run_recipe(request_of(tmp_path, **only), PROGRAM) == 0
    assert len(calls.read_text().splitlines()) == 2


def test_a_folder_in_which_a_run_works_gets_no_jobs(tmp_path: Path, calls: Path) -> None:
    """The first one found the run folder in use and failed, and Slurm cancelled the others."""
    request = request_of(tmp_path)
    with RunLock(request.run_dir), pytest.raises(UserError, match=r"is in use by process .*; wait for it"):
        run_recipe(request, PROGRAM)
    assert calls.read_text() == "" and not (request.run_dir / "run.json").exists()
    assert run_recipe(request_of(tmp_path, steps=("cam",)), PROGRAM) == 0
    program(tmp_path / "bin", "squeue", "#!/bin/sh\necho 1\n")
    with RunLock(request.run_dir):  # by job 1, for which the others wait
        assert run_recipe(request_of(tmp_path, steps=("affinity_labels",), extras=Extras()), PROGRAM) == 0
    assert "--dependency=afterok:1" in calls.read_text()


def test_a_run_beside_jobs_in_the_queue_names_them(tmp_path: Path, calls: Path) -> None:
    jobs = tmp_path / "run" / "slurm" / "jobs.txt"
    jobs.parent.mkdir(parents=True)
    jobs.write_text("cam 6\nwalk 7\n")
    assert waiting_line(tmp_path / "run") == ""  # squeue does not answer
    program(tmp_path / "bin", "squeue", "#!/bin/sh\nprintf '7\\n90\\n'\n")
    assert waiting_line(tmp_path / "run").startswith(
        "submitted, and not over: walk: job 7; a job that starts"
    )
    assert waiting_line(tmp_path / "run").endswith(": scancel 7")


def test_jobs_get_nothing_of_the_job_in_whose_shell_they_are_submitted(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From ``salloc --mem-per-cpu 2G``, jobs with ``mem`` ended: the two are "mutually exclusive"."""
    for name, value in {"SLURM_MEM_PER_CPU": "2048", "SLURM_NTASKS": "4", "SLURM_CONF": "mine"}.items():
        monkeypatch.setenv(name, value)
    program(tmp_path / "bin", "sbatch", f"#!/bin/sh\nenv | grep ^SLURM_ >> {calls}\necho 1\n")
    assert run_recipe(request_of(tmp_path, steps=("cam",)), PROGRAM) == 0
    assert calls.read_text() == "SLURM_CONF=mine\n"


def test_refused_jobs_and_settings(tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUSE", "affinity_labels")
    refused = r"affinity_labels.sbatch: bad partition.*--cluster.*submitted before: cam: job 1"
    with pytest.raises(UserError, match=refused):
        run_recipe(request_of(tmp_path), PROGRAM)
    program(tmp_path / "bin", "squeue", "#!/bin/sh\necho 1\n")
    with pytest.raises(UserError, match=r"cam: job 1; .* scancel 1, or .* --step affinity_labels affinity "):
        run_recipe(request_of(tmp_path), PROGRAM)
    with pytest.raises(UserError, match=r"step segmentation: a batch of 10 images .* among 4 devices"):
        run_recipe(request_of(tmp_path, extras=Extras(Devices(4))), PROGRAM)
    own = tmp_path / "mine.yaml"
    own.write_text("networks: {time: '1:00:00'}\n")
    with pytest.raises(UserError, match=r"mine.yaml:1: .*networks.*network"):
        run_recipe(request_of(tmp_path, cluster=str(own)), PROGRAM)
    with pytest.raises(UserError, match=r"made after conf/cluster/slurm.yaml"):
        run_recipe(request_of(tmp_path, cluster="slurn"), PROGRAM)
    (tmp_path / "bin" / "sbatch").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UserError, match="no sbatch on this machine"):
        run_recipe(request_of(tmp_path), PROGRAM)


def test_options_reach_slurm_as_they_are_written(cam_job: Job, tmp_path: Path) -> None:
    """Slurm 22.05 reads quotes as a shell does, and a doubled % as one: tried on a real one."""
    page = tmp_path / "mine.yaml"
    page.write_text(
        "all: {time: 8:00:00, account: 0123, exclusive: false, requeue: true, comment: '{a} 50%'}\n"
        "network: {gres: 'gpu:{devices}'}\n"
    )
    job = job_of(cluster_page(open_library(), str(page)), cam_job.plan)
    text = batch_text(job, "psa", tmp_path / "my run 50%j", ("--qos=a b",), ("work",), ())
    words = [
        shlex.split(line.removeprefix("#SBATCH ")) for line in text.splitlines() if line.startswith("#SBATCH")
    ]
    # 8:00:00 is hours, not the 28800 (minutes, for Slurm) of YAML 1.1
    expected = ["--time=8:00:00", "--account=0123", "--requeue", "--comment={a} 50%", "--gres=gpu:2"]
    expected.append("--qos=a b")
    assert words[-6:] == [[word] for word in expected]
    assert [f"--output={tmp_path}/my run 50%%j/cam-%j.txt"] in words
    with pytest.raises(UserError, match=r"--output=.*a\\nb.* has a line break"):
        batch_text(job, "psa", tmp_path / "a\nb", (), ("work",), ())  # the options behind it were lost
    with pytest.raises(UserError, match=r"a\\b has a backslash, which Slurm loses"):
        batch_text(
            job, "psa", tmp_path / "a\\b", (), ("work",), ()
        )  # JobLaunchFailure, and no output anywhere
    page.write_text("all:\n  exclude: [n1, n2]\n")
    with pytest.raises(UserError, match=r"mine.yaml:2: exclude must be one value"):
        cluster_page(open_library(), str(page))
    for wrong in ("0", "true", "two"):
        page.write_text(f"all: {{devices: {wrong}}}\n")
        with pytest.raises(UserError, match=r"devices of cam must be a number from 1 on"):
            job_of(cluster_page(open_library(), str(page)), cam_job.plan)


def test_several_machines_need_slurm(capsys: pytest.CaptureFixture[str]) -> None:
    args = build_parser("run").parse_args(["run", "psa", "--data", "voc", "--nodes", "2"])
    with pytest.raises(UserError, match="--nodes 2 needs --launcher slurm or srun"):
        args.handler(args)


@pytest.fixture(scope="module")
def cam_job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    plan = prepare(request_of(tmp_path_factory.mktemp("cam"))).plans["cam"]
    return job_of(cluster_page(open_library(), "slurm"), plan)


def stop(
    job: Job, folder: Path, code: int, state: str, work: str = "", restarts: int = 0
) -> tuple[bool, str]:
    """Run the batch file as Slurm runs it, and signal its shell alone, as before the time limit.

    Args:
        job: the job.
        folder: an empty folder.
        code: exit code of the command when it is stopped.
        state: what Slurm says of the job then.
        work: what the command does before.
        restarts: how often the job was requeued before.

    Returns:
        whether it put itself back into the queue, and what it printed.
    """
    notes, started, path = folder / "notes", folder / "started", folder / "cam.sbatch"
    program(folder / "bin", "scontrol", f'#!/bin/sh\necho "$@" > {notes}\n')
    program(folder / "bin", "squeue", f"#!/bin/sh\necho {state}\n")
    loop = f"trap 'exit {code}' USR1\n{work}\ntouch {started}\nwhile :; do sleep 0.02; done\n"
    program(folder / "bin", "work", f"#!/bin/bash\n{loop}")
    path.write_text(batch_text(job, "psa", folder, (), ("work",), ()))
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    environment["SLURM_RESTART_COUNT"] = str(restarts)
    shell = subprocess.Popen(["bash", path], env=environment, cwd=folder, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    shell.send_signal(signal.SIGUSR1)
    said = shell.communicate(timeout=60)[1]
    assert shell.returncode == code
    assert not notes.exists() or notes.read_text() == "requeue 7\n"
    return notes.exists(), said


@pytest.mark.parametrize(
    ("code", "state", "requeued"),
    [
        (75, "RUNNING None", True),
        (75, "COMPLETING TimeLimit", True),  # an epoch was longer than the two minutes before the limit
        (75, "", True),  # the controller does not answer
        (138, "RUNNING None", True),  # SIGUSR1 itself has ended a command that was just starting
        (75, "COMPLETING None", False),  # scancel: it came back into the queue
        (75, "PENDING BeginTime", False),  # scontrol requeue by hand
        (1, "RUNNING None", False),
    ],
)
def test_a_stopped_job_goes_back_into_the_queue(
    cam_job: Job, tmp_path: Path, code: int, state: str, requeued: bool
) -> None:
    """The states are what Slurm 22.05 says."""
    assert stop(cam_job, tmp_path, code, state)[0] == requeued


def test_a_job_whose_time_limit_is_too_short_does_not_come_back_for_ever(
    cam_job: Job, tmp_path: Path
) -> None:
    out = cam_job.plan.folder / "out"
    folders = [tmp_path / name for name in ("first", "idle", "working")]
    for folder in folders:
        folder.mkdir()
    assert stop(cam_job, folders[0], 75, "RUNNING None")[0]  # it may have downloaded weights first
    requeued, said = stop(cam_job, folders[1], 75, "RUNNING None", restarts=1)
    assert not requeued and "not requeued" in said and "time limit" in said
    work = f"mkdir -p '{out}' && touch '{out}/a.npz'"
    assert stop(cam_job, folders[2], 75, "RUNNING None", work, restarts=1) == (True, "")


@pytest.mark.parametrize("ahead", ["-1 hour", "+1 hour"])
def test_the_clock_of_a_file_server_may_be_off(cam_job: Job, tmp_path: Path, ahead: str) -> None:
    """An hour behind, no job came back; an hour ahead, one whose limit is too short did, all that time."""
    out, before = cam_job.plan.folder / "out", os.environ["PATH"]
    works = f"mkdir -p '{out}' && touch '{out}/a.npz'"
    for name, work, comes in (("working", works, True), ("idle", "", False)):
        (tmp_path / name / "bin").mkdir(parents=True)
        program(tmp_path / name / "bin", "touch", f'#!/bin/sh\nPATH={before} exec touch -d "{ahead}" "$@"\n')
        assert stop(cam_job, tmp_path / name, 75, "RUNNING None", work, restarts=1)[0] == comes
    (out / "a.npz").unlink()


@pytest.mark.parametrize("key", ["--time", "-p", "cpus_per_task", "time limit", '""', "1", "null"])
def test_a_cluster_names_long_options_without_dashes(tmp_path: Path, key: str) -> None:
    """They became ``----time=...`` or ``--None=...``, which sbatch refuses when jobs are submitted."""
    (tmp_path / "c.yaml").write_text(f"all:\n  {key}: x\n")
    with pytest.raises(UserError, match=r"c\.yaml:[12]: .* must be a long option of sbatch"):
        files(request_of(tmp_path, cluster=str(tmp_path / "c.yaml")))


def test_broken_lines_among_the_numbers_of_jobs_are_passed_over(tmp_path: Path) -> None:
    """A byte that is no UTF-8 ended in a traceback; a step without a number, in a dependency on no job."""
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "jobs.txt").write_bytes(b"cam 7\nwalk\n\xff 3x\ncam \nwalk 12\n")
    assert submitted(tmp_path) == {"cam": "7", "walk": "12"}
