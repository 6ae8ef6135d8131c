from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import typer

from acu_cli import app as app_module
from acu_cli.app import app, main

RUN_AS_ACU = "import sys; sys.argv[0] = 'acu'; from acu_cli.app import main; main()"


def acu(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Runs the command line in this process; returns the exit status."""
    monkeypatch.setattr(sys, "argv", ["acu", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code if isinstance(exited.value.code, int) else 0


def every_command() -> list[tuple[str, ...]]:
    def walk(command: object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = [path]
        for name, child in getattr(command, "commands", {}).items():
            found += walk(child, (*path, name))
        return found

    return walk(typer.main.get_command(app), ())


def test_all_commands_are_there() -> None:
    assert {"train", "animate-shapes", "round-and-finetune", "evaluate", "recipes", "doctor"} <= {
        path[0] for path in every_command() if path
    }


@pytest.mark.parametrize("path", every_command(), ids=lambda path: " ".join(path) or "acu")
def test_help_ends_with_an_example(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert acu(monkeypatch, *path, "--help") == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    # A long example takes two lines.
    assert f"Example: {' '.join(('acu', *path))}" in " ".join(lines[-2:])


def test_help_is_quick_and_does_not_import_torch() -> None:
    code = (
        "import sys; sys.argv = ['acu', '--help']\nfrom acu_cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    times = []
    for _ in range(5):
        # Processor time: a busy neighbour must not fail the test.
        before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        times.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)
        if times[-1] < 0.5:
            break
    assert min(times) < 0.5, times


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train", "plantd"), "did you mean planted"),
        (("train", "--set", "schedule.iteratons=1", "--set", "sede=1"), "schedule.iteratons: unknown key"),
        (("train", "planted", "--seed", "1", "--resume", "x"), "RECIPE, --seed cannot be given with --resume"),
        (("train", "--resume", "nowhere"), "there is no run at nowhere"),
        (("train", "--device", "abacus"), "there is no device abacus: auto, cpu, cuda, cuda:<number>, mps"),
        (("evaluate", "nowhere"), "there is no run at nowhere"),
        (("round-and-finetune", "nowhere"), "there is no run at nowhere"),
        (("recipes", "check", "nowhere.toml"), "there is no recipe at nowhere.toml"),
        (("recipes", "copy", "nowhere"), "there is no recipe 'nowhere'"),
        (("reproduce", "ablatin"), "did you mean ablation"),
        (("reproduce", "cifar10", "--scale", "0"), "the scale must be above 0 and at most 1"),
        (("reproduce", "cifar10", "--data", "nowhere.npz"), "nowhere.npz"),
        (("reproduce", "cifar10", "--seeds", "0"), "seeds"),
        (("reproduce", "cifar10", "--device", "abacus"), "machine.device"),
    ],
)
def test_errors_of_the_user(
    arguments: tuple[str, ...],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acu(monkeypatch, *arguments) == 2
    written = capsys.readouterr()
    assert expected in written.err
    assert "Traceback" not in written.err
    assert written.out == ""
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_is_status_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert acu(monkeypatch, "train", "--nonsense") == 2
    assert acu(monkeypatch, "nonsense") == 2
    capsys.readouterr()


def test_ctrl_c_gives_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("acu_core.diagnosis.diagnose", interrupted)
    assert acu(monkeypatch, "doctor") != 0
    assert "Traceback" not in capsys.readouterr().err


def test_a_full_disk_gives_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device", "runs/x")

    monkeypatch.setattr("acu_core.diagnosis.diagnose", full)
    assert acu(monkeypatch, "doctor") == 1
    assert capsys.readouterr().err == "error: No space left on device: runs/x\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.\nmore"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
)
def test_short_memory_gives_no_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def short() -> None:
        raise error

    monkeypatch.setattr("acu_core.diagnosis.diagnose", short)
    assert acu(monkeypatch, "doctor") == 1
    written = capsys.readouterr().err
    assert written.startswith("error: memory is short (")
    assert written.count("\n") == 1


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("acu_core.diagnosis.diagnose", broken)
    monkeypatch.setattr(sys, "argv", ["acu", "doctor"])
    with pytest.raises(ValueError, match="a bug"):
        app_module.main()


@pytest.mark.parametrize(
    ("words", "expected"),
    [("acu tr", {"train"}), ("acu ro", {"round-and-finetune"}), ("acu train plan", {"planted"})],
)
def test_completion(words: str, expected: set[str]) -> None:
    environment = {
        **os.environ,
        "_ACU_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    result = subprocess.run(
        [sys.executable, "-c", RUN_AS_ACU], env=environment, capture_output=True, text=True, check=True
    )
    assert set(result.stdout.split()) == expected


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert acu(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("acu ")


def test_recipes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (("recipes",), ("recipes", "list")):
        assert acu(monkeypatch, *arguments) == 0
        assert "cifar10-plain-acu" in capsys.readouterr().out
        assert acu(monkeypatch, *arguments, "--json") == 0
        assert json.loads(capsys.readouterr().out)["recipes"][0]["recipe"] == "planted"
    assert acu(monkeypatch, "recipes", "copy", "planted", "mine.toml") == 0
    assert acu(monkeypatch, "recipes", "copy", "planted", "my own.toml") == 0
    assert "Train it with: acu train 'my own.toml'\n" in capsys.readouterr().out
    (tmp_path / "mine.toml").write_text((tmp_path / "mine.toml").read_text().replace("seed = 0", "seed = 5"))
    assert acu(monkeypatch, "recipes", "copy", "planted", "mine.toml") == 2
    assert "seed = 5" in (tmp_path / "mine.toml").read_text(), "nothing is overwritten"
    capsys.readouterr()
    assert acu(monkeypatch, "recipes", "check", "mine.toml", "--json") == 0
    assert json.loads(capsys.readouterr().out)["content"]["seed"] == 5
    assert acu(monkeypatch, "recipes", "--json", "check", "mine.toml") == 0
    assert json.loads(capsys.readouterr().out)["content"]["seed"] == 5
    good = (tmp_path / "mine.toml").read_text()
    for right, wrong, named in (
        ('name = "planted"\nunit', 'name = "plan"\nunit', "network.name: there is no network 'plan'"),
        ("options = {}\n\n[optimizer]", "options = { widht = 5 }\n\n[optimizer]", "widht"),
        ("options = {}\n\n[network]", "options = { train_cuont = 5 }\n\n[network]", "train_cuont"),
    ):
        assert right in good, right
        (tmp_path / "mine.toml").write_text(good.replace(right, wrong))
        assert acu(monkeypatch, "recipes", "check", "mine.toml") == 2
        assert named in capsys.readouterr().err
    (tmp_path / "mine.toml").write_text("seed = 'x'")
    assert acu(monkeypatch, "recipes", "check", "mine.toml") == 2
    assert "seed: should be a valid integer" in capsys.readouterr().err


def test_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status = acu(monkeypatch, "doctor", "--json")
    verdicts = json.loads(capsys.readouterr().out)["verdicts"]
    assert status == int(any(verdict["verdict"] == "no" for verdict in verdicts))
    assert {verdict["verdict"] for verdict in verdicts} <= {"ok", "note", "no"}
    acu(monkeypatch, "doctor")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(verdicts)
    assert any("compiled for the CPU?" in line for line in lines)
    assert any("compiled for CUDA?" in line for line in lines)
    assert any("Is there a GPU?" in line for line in lines)


def test_doctor_without_a_compiled_operator(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from acu_core.op import library

    missing = library.OperatorStatus(
        cpu=False,
        cpu_error="it was not built",
        cuda=False,
        cuda_error=None,
        cuda_architectures=(),
        instruction_set=None,
    )
    monkeypatch.setattr(library, "status", lambda: missing)
    assert acu(monkeypatch, "doctor") == 1
    written = capsys.readouterr().out
    assert "it was not built" in written
    assert "install a C++ compiler" in written


def test_pipes_and_loops_are_refused_and_never_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pipe", "pipe.toml", "pipe.npz", "pipe.caffemodel"):
        os.mkfifo(name)
    os.symlink("loop", "loop")
    for arguments, named in (
        (("recipes", "check", "pipe.toml"), "pipe.toml is not a file"),
        (("train", "pipe"), "pipe is not a file"),
        (("train", "cifar10-plain-acu", "--data", "pipe.npz"), "pipe.npz (as asked for) is no folder that has it"),
        (("evaluate", "pipe"), "there is no run at pipe"),
        (("evaluate", "loop"), "there is no run at loop"),
        (("animate-shapes", "pipe"), "pipe"),
        (("animate-shapes", "loop"), "loop"),
        (("train", "--resume", "pipe"), "there is no run at pipe"),
        (("import-caffe", "pipe.caffemodel", "--iteration", "5"), "pipe.caffemodel is not a file"),
        (("train", "cifar10-plain-acu", "--data", "loop"), "loop"),
    ):
        assert acu(monkeypatch, *arguments) == 2, arguments
        written = capsys.readouterr().err
        assert named in written
        assert "Traceback" not in written
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("arguments", [("train", ""), ("train", "--out", ""), ("train", "--out="), ("evaluate", "")])
def test_an_empty_argument_is_a_variable_that_was_not_set(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acu(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err == "error: an argument is empty: leave it out, or give it a value\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("reproduce", "cifar10", "--seeds", "99999999999999999999", "--dry-run"),
        ("bench", "op", "--threads", "99999999999"),
        ("bench", "train", "--batch", "99999999999999999"),
    ],
)
def test_huge_numbers_are_refused(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert acu(monkeypatch, *arguments) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("train",),
        ("train", "nowhere"),
        ("train", "--resume", "nowhere"),
        ("round-and-finetune", "nowhere"),
    ],
)
def test_processes_that_cannot_meet_are_refused_before_anything_is_loaded(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    result = as_one_of_two(arguments, tmp_path)
    assert result.stderr.splitlines()[-1] == (
        "error: WORLD_SIZE announces 2 processes, but MASTER_ADDR, MASTER_PORT are not set: start them with torchrun, "
        "which sets all of these, or unset WORLD_SIZE"
    )


@pytest.mark.parametrize("arguments", [("reproduce", "cifar10"), ("sweep", "planted", "--over", "seed=0,1")])
def test_a_series_of_runs_is_refused_to_several_processes_before_anything_is_loaded(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    result = as_one_of_two(arguments, tmp_path)
    assert result.stderr.splitlines()[-1].startswith("error: training by several processes is not supported")


def as_one_of_two(arguments: tuple[str, ...], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    code = f"{RUN_AS_ACU.removesuffix('main()')}\ntry:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env={**os.environ, "WORLD_SIZE": "2", "RANK": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert list(tmp_path.iterdir()) == []
    return result


@pytest.mark.parametrize("size", ["", "1", "0", "many"])
def test_one_process_is_one(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from acu_core.train.processes import refuse_several_processes

    monkeypatch.setenv("WORLD_SIZE", size)
    refuse_several_processes()


def test_a_notice_is_shown_as_a_warning_and_pythons_own_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    from acu_core.errors import Notice

    def warn() -> None:
        app_module._show_notices()
        warnings.warn("the step cannot be captured", Notice, stacklevel=1)
        warnings.warn("something of Python's", RuntimeWarning, stacklevel=1)

    with pytest.warns(RuntimeWarning, match="something of Python's") as found:
        warn()
    assert [str(one.message) for one in found] == ["something of Python's"]
    assert capsys.readouterr().err == "warning: the step cannot be captured\n"
