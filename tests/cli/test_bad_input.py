"""Does every wrong file and command line get its own message, and all its faults at once?"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codesign.cli import main

BROKEN = Path(__file__).parent.parent / "broken"
FILES = sorted(BROKEN.glob("*/*.yaml"))
COMMANDS = [
    tuple(block.split("\n", 1))
    for block in re.split(r"\n*^\$ codesign ", (BROKEN / "commands.txt").read_text(), flags=re.M)[
        1:
    ]
]
READS = {"arch": ("arch", "show"), "workloads": ("workload", "show")}


def expected(path: Path) -> list[str]:
    """What the lines `# expect: ...` say, a number standing for the line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := re.fullmatch(r"# expect(:[0-9]+)?: (.*)", line):
            lines.append(f"{path}{found[1] or ''}: {found[2]}")
    return lines


def said(stderr: str) -> list[str]:
    """The faults that were printed, without the number of them."""
    lines = stderr.removesuffix("\n").split("\n")
    if re.fullmatch(r"error: [0-9]+ faults", lines[0]):
        return [line.removeprefix("  ") for line in lines[1:]]
    return [lines[0].removeprefix("error: "), *lines[1:]]


def alike(wanted: str, got: str) -> bool:
    """Equal, where `...` stands for any text."""
    return re.fullmatch(re.escape(wanted).replace(re.escape("..."), ".*"), got) is not None


def test_there_are_enough_of_them() -> None:
    assert len(FILES) + len(COMMANDS) >= 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_broken_file_is_told_all_its_faults(codesign, path: Path) -> None:
    ran = codesign(*READS[path.parent.name], str(path))
    assert (ran.code, ran.out) == (2, "")
    wanted = expected(path)
    assert wanted
    assert len(said(ran.err)) == len(wanted), ran.err
    for line, text in zip(said(ran.err), wanted, strict=True):
        assert alike(text, line), line


@pytest.mark.parametrize(("command", "answer"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_broken_command_line_is_told_what_is_wrong(
    codesign, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, answer: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = codesign(*shlex.split(command))
    assert (ran.code, ran.out) == (2, "")
    lines = ran.err.removesuffix("\n").split("\n")
    if lines[-1].startswith("help: codesign"):
        lines.pop()
    assert alike(answer.strip(), "\n".join(lines)), ran.err
    assert list(tmp_path.iterdir()) == []


words = st.one_of(
    st.sampled_from(
        [
            "simulate",
            "compare",
            "arch",
            "show",
            "workload",
            "extract",
            "validate",
            "resnet9",
            "--set",
        ]
    ),
    st.sampled_from(
        ["--arch", "--sparsity", "--where", "--json", "--batch", "dense_systolic", "2:4"]
    ),
    st.text(max_size=8),
)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(words, max_size=6))
def test_no_command_line_is_answered_with_a_traceback(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code = main(["--no-such-option", *arguments])
    assert code == 2
    code = main(["workload", "show", *arguments])
    captured = capsys.readouterr()
    assert code in (0, 2), captured.err
    assert "Traceback" not in captured.err
