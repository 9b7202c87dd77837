"""Do the tests fail when the code is wrong? Puts one fault into a copy and runs the named test.

    python tests/mutations.py [part of a file or test name]

Not collected by pytest. Exit code 1 when a fault is missed or its old text is not found once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 300


class Mutation(NamedTuple):
    """A fault: `old`, found exactly once in `file`, becomes `new`; `test` must then fail."""

    file: str
    old: str
    new: str
    test: str


SCOREBOARD = "codesign/kernels/scoreboard.py"
PE_ARRAY_WS = "codesign/kernels/pe_array_ws.py"
PE_ARRAY_OS = "codesign/kernels/pe_array_os.py"
KERNEL_CACHE = "codesign/kernels/__init__.py"
TEST_SCOREBOARD = "tests/kernels/test_scoreboard.py"
TEST_PE_ARRAY = "tests/kernels/test_pe_array.py"
TEST_CACHE = "tests/kernels/test_cache.py"
SIM, TEST_SIM = "codesign/sim.py", "tests/test_sim.py"
WINDOWED = "codesign/windowed.py"
TEST_WINDOWED = "tests/test_windowed.py::test_random_networks_equal_the_clock"
SYSTOLIC_PARTS = "codesign/arch/systolic_parts.py"
TEST_SPARSE_A = "tests/arch/test_sparse_streams.py"
CLI = "codesign/cli"
TEST_PRINTED = "tests/cli/test_printed_result.py"
TEST_COMMAND_LINE = "tests/cli/test_command_line.py"
TEST_BAD_INPUT = "tests/cli/test_bad_input.py"
ACCURACY = "codesign/accuracy"
TEST_LOOKUP = "tests/accuracy/test_lookup.py"
TEST_PROXIES = "tests/accuracy/test_proxies.py"
TEST_DATASETS = "tests/accuracy/test_datasets.py"

WINDOW, TEST_WINDOW = "codesign/trace/window.py", "tests/trace/test_window.py"
FUSION, TEST_FUSION = "codesign/mapper/fusion.py", "tests/mapper/test_fusion.py"
EPILOGUE, TEST_EPILOGUE = "codesign/schedule/epilogue.py", "tests/schedule/test_epilogue.py"

MUTATIONS = (
    # Dilated windows count positions twice, gradients shift, inserted zeros are multiplied.
    Mutation(WINDOW, "if tap >= taps:", "if tap > taps:", TEST_WINDOW),
    Mutation(
        WINDOW,
        "self.height.reach - 1 - self.padding_h",
        "self.height.reach - self.padding_h",
        TEST_WINDOW,
    ),
    Mutation(
        "codesign/trace/network.py",
        "m=window.in_pixels if window.transposed else window.out_pixels",
        "m=window.out_pixels",
        TEST_WINDOW,
    ),
    # Work on tiles overruns the lanes' buffer; what a gradient or a later branch reads is lost.
    Mutation(EPILOGUE, "steps.depend(work[2:], store[:-2])", "pass", TEST_EPILOGUE),
    Mutation(EPILOGUE, "steps.depend(load[2:], work[:-2])", "pass", TEST_EPILOGUE),
    Mutation(FUSION, "self.needed[i] or self.saved[i]", "self.needed[i]", TEST_FUSION),
    Mutation(FUSION, "place > chain.product and place not in done", "False", TEST_FUSION),
    Mutation(
        "codesign/arch/systolic.py",
        "op.n if self.epilogue.whole_rows else self.array.cols",
        "self.array.cols",
        TEST_FUSION,
    ),
    # A design takes accuracies of masks that it does not allow, of other sources, of older code.
    Mutation(
        f"{ACCURACY}/lookup.py",
        "and allows(design, parse_pattern(p.pattern))",
        "and allows(parse_pattern(p.pattern), design)",
        TEST_LOOKUP,
    ),
    Mutation(f"{ACCURACY}/own.py", "and what.code == code_version(what.method)", "", TEST_LOOKUP),
    Mutation(
        f"{ACCURACY}/own.py",
        'c.pattern == "dense" or c.is_sparse',
        "True",
        TEST_LOOKUP,
    ),
    # Curves are fitted on the model that they estimate; noise of any size counts alike.
    Mutation(f"{ACCURACY}/proxy_error.py", "if pair.model != model]", "]", TEST_PROXIES),
    Mutation(f"{ACCURACY}/proxy.py", "squares += level**4", "squares += level**2", TEST_PROXIES),
    # A pickle may name any function.
    Mutation(
        f"{ACCURACY}/datasets.py",
        "if (module, name) not in self._ALLOWED:",
        "if False:",
        TEST_DATASETS,
    ),
    # A run too long for 64-bit cycles overflows; a sparse A is charged as if B were sparse.
    Mutation(SIM, "if most > MOST_CYCLES:", "if False:", TEST_SIM),
    # A window goes on beyond a marker that lets an operator in; forgets those that have left it; or
    # lets operators in too late whose steps wait for nothing.
    Mutation(
        WINDOWED, "awaited < 2 * high]) - at] = True", "awaited < 0]) - at] = True", TEST_WINDOWED
    ),
    Mutation(
        WINDOWED,
        "np.maximum.at(window.ready, rows[gone]",
        "np.maximum.at(window.start, rows[gone]",
        TEST_WINDOWED,
    ),
    Mutation(WINDOWED, "np.where(at_once, -1, ", "np.where(at_once, 0, ", TEST_WINDOWED),
    Mutation(
        SYSTOLIC_PARTS,
        "if a.selection is not None:",
        "if False:",
        TEST_SPARSE_A,
    ),
    # The heap breaks ties the wrong way round, or not at all when it sinks an entry.
    Mutation(SCOREBOARD, "heap_step[parent] < step", "heap_step[parent] > step", TEST_SCOREBOARD),
    Mutation(SCOREBOARD, "heap_step[right] < heap_step[child]", "False", TEST_SCOREBOARD),
    # The first of several servers is always the one that gets the step.
    Mutation(SCOREBOARD, "if free[first + child] >= until:", "if True:", TEST_SCOREBOARD),
    # A program-order step overtakes its predecessor, or does not wait for it to be resolved.
    Mutation(
        SCOREBOARD,
        "at = max(at, last_start[u], free[first[u]])\n            last_start[u] = at\n"
        "            _hold(free, first[u], servers[u], at + busy[i])\n        start[i] = at\n"
        "        end[i] = at + busy[i] + latency[i]\n\n",
        "at = max(at, free[first[u]])\n            last_start[u] = at\n"
        "            _hold(free, first[u], servers[u], at + busy[i])\n        start[i] = at\n"
        "        end[i] = at + busy[i] + latency[i]\n\n",
        TEST_SCOREBOARD,
    ),
    Mutation(SCOREBOARD, "previous[i] = last_step[unit[i]]", "pass", TEST_SCOREBOARD),
    # Of several steps that wait on one, only the last is woken.
    Mutation(SCOREBOARD, "sibling[i] = waiter[blocker]", "sibling[i] = -1", TEST_SCOREBOARD),
    # A woken step forgets which dependencies it has seen.
    Mutation(SCOREBOARD, "scanned[i] = e\n", "scanned[i] = e + 1\n", TEST_SCOREBOARD),
    Mutation(SCOREBOARD, "max(steps_of[u], 1))", "1)", TEST_SCOREBOARD),
    # Weights become active, or arrive, before the wavefront does.
    Mutation(
        PE_ARRAY_WS,
        "x = cycle - stream_start[f] - r * add_latency",
        "x = cycle - stream_start[f] - r",
        TEST_PE_ARRAY,
    ),
    Mutation(PE_ARRAY_WS, "x = age - r * add_latency", "x = age - r", TEST_PE_ARRAY),
    Mutation(PE_ARRAY_WS, "elif 0 <= x < cols:", "elif False:", TEST_PE_ARRAY),
    Mutation(PE_ARRAY_WS, "shadow[r, x, q, _INDEX] = _IDLE", "pass", TEST_PE_ARRAY),
    # A fold starts one value before its weights are there.
    Mutation(
        PE_ARRAY_WS,
        "loading > streaming and loaded == used_rows[loading] * slots[loading]",
        "loading > streaming and loaded >= used_rows[loading] * slots[loading] - 1",
        TEST_PE_ARRAY,
    ),
    # A partial sum skips the adder's latency.
    Mutation(
        PE_ARRAY_WS, "sums[stage, r - 1] if r > 0", "sums[stage - 1, r - 1] if r > 0", TEST_PE_ARRAY
    ),
    # An accumulator is used while its sum is still in the adder, or while its bank drains.
    Mutation(
        PE_ARRAY_OS, "usable_at[j] = cycle + add_latency", "usable_at[j] = cycle + 1", TEST_PE_ARRAY
    ),
    Mutation(PE_ARRAY_OS, "free = draining >= streaming", "free = True", TEST_PE_ARRAY),
    Mutation(
        PE_ARRAY_OS,
        "free = cycle >= last_issue[streaming - 1] + add_latency",
        "free = True",
        TEST_PE_ARRAY,
    ),
    Mutation(PE_ARRAY_OS, "height + add_latency - 1:", "height + add_latency - 2:", TEST_PE_ARRAY),
    # Tiles take turns in their own order, not the longest first.
    Mutation(PE_ARRAY_OS, "steps[order[j - 1]] < steps[i]", "False", TEST_PE_ARRAY),
    # A lane without a non-zero multiplies what lies behind the last one.
    Mutation(
        PE_ARRAY_OS,
        "col < n and q < kept[col, g]:\n                weights",
        "col < n:\n                weights",
        TEST_PE_ARRAY,
    ),
    # The cache does not look at the content of kernel files, or keeps too many folders.
    Mutation(KERNEL_CACHE, "digest.update(source.read_bytes())", "pass", TEST_CACHE),
    Mutation(KERNEL_CACHE, "_FOLDERS_KEPT = 5", "_FOLDERS_KEPT = 6", TEST_CACHE),
    # Help loads NumPy; text of users is taken for markup; control characters reach the terminal.
    Mutation(
        f"{CLI}/suggest.py", "import click\n", "import click\nimport numpy\n", TEST_COMMAND_LINE
    ),
    Mutation(f"{CLI}/console.py", "markup=False, emoji=False", "markup=True", TEST_PRINTED),
    Mutation(f"{CLI}/__init__.py", "c.isprintable() or", "True or", TEST_COMMAND_LINE),
    # Energies are printed in another unit than the column's; the baseline asked for is not used.
    Mutation(f"{CLI}/tables.py", "/ PJ_PER_J for", "/ 1e9 for", TEST_PRINTED),
    Mutation(f"{CLI}/compare.py", "first = _baseline(baseline, cells)", "first = 0", TEST_PRINTED),
    # The second of two values for one path wins without a word.
    Mutation(f"{CLI}/inputs.py", "if path in overrides:", "if False:", TEST_BAD_INPUT),
)


def copy_project(folder: Path) -> None:
    """Copy what a mutation may touch and link the rest."""
    for entry in ROOT.iterdir():
        if entry.name in ("codesign", "tests"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(entry, folder / entry.name, ignore=ignore)
        elif not entry.name.startswith("."):
            (folder / entry.name).symlink_to(entry)


def exit_code(folder: Path, test: str) -> int | None:
    """Exit code of pytest on one test path, compiled code switched off; None when it hangs."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "0",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        test,
    ]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = str(folder)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode


def verdict(folder: Path, mutation: Mutation) -> str:
    """`caught`, `MISSED`, or why the row says nothing."""
    target = folder / mutation.file
    text = target.read_text()
    if text.count(mutation.old) != 1:
        return f"STALE: old text found {text.count(mutation.old)} times"
    target.write_text(text.replace(mutation.old, mutation.new))
    code = exit_code(folder, mutation.test)
    target.write_text(text)
    if code == 0:
        return "MISSED"
    return "caught" if code in (1, None) else f"BROKEN: pytest ended with {code}"


def main(wanted: str = "") -> int:
    rows = [m for m in MUTATIONS if wanted in m.file or wanted in m.test]
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        for test in sorted({m.test for m in rows}):
            if exit_code(folder, test) != 0:
                print(f"{test} fails without any fault")
                return 1
        for mutation in rows:
            said = verdict(folder, mutation)
            bad += said != "caught"
            print(f"{said:8}  {mutation.file}: {mutation.old.strip().splitlines()[0]}", flush=True)
    print(f"{len(rows) - bad} of {len(rows)} caught")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
