"""Does what a new user is given run as it is: first files, completion, the next command?"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from codesign.cli import VERBS, main


def test_the_first_files_run_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine"]) == 0
    offered = [line for line in capsys.readouterr().out.splitlines() if "codesign " in line]
    assert len(offered) == 3
    monkeypatch.chdir(tmp_path / "mine")
    for line in offered:
        assert main(shlex.split(line)[1:]) == 0, line
    out = capsys.readouterr().out
    assert "my_model · inference" in out
    assert Path("sweeps/my_sweep.db").exists()
    assert main(["check", "my_chip.yaml", "--quick"]) == 0


def test_no_file_is_written_over_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "my_chip.yaml"
    kept.write_text("mine", encoding="utf-8")
    assert main(["init", str(tmp_path)]) == 2
    assert "my_chip.yaml would be written over" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["my_chip.yaml"]
    assert kept.read_text(encoding="utf-8") == "mine"
    assert main(["init", str(tmp_path), "--force"]) == 0
    assert kept.read_text(encoding="utf-8") != "mine"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_CODESIGN_COMPLETE={shell}_complete" in script


def completed(words: str) -> set[str]:
    found = subprocess.run(
        [sys.executable, "-m", "codesign"],
        env={
            **os.environ,
            "_CODESIGN_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stderr == ""
    return {line.partition(",")[2] for line in found.stdout.splitlines()}


def test_verbs_workloads_and_machines_are_completed() -> None:
    assert completed("codesign ") == set(VERBS)
    assert completed("codesign simulate resnet1") == {"resnet18"}
    assert completed("codesign simulate resnet50 --arch pim") == {"pim_gpt"}
    assert "--timeline" in completed("codesign simulate resnet50 --ti")
