"""A DRAM channel without a clock: ask when a command may go, and send it at any clock."""

from __future__ import annotations

from enum import Enum

from codesign.config import CodesignError
from codesign.kernels.dram import DramTables, fresh_state, probe, record
from codesign.memory.spec import DramSpec, command_ids


class Verdict(Enum):
    """Whether a command may go: yes, not with these rows open, or not yet."""

    OK = "ok"
    WRONG_STATE = "wrong state"
    TOO_EARLY = "too early"


class Device:
    """One channel's rows and command history; the caller keeps the time.

    A channel takes the commands of a program in the order of their clocks: an earlier clock after a
    later one is judged by the later one's history.
    """

    def __init__(self, spec: DramSpec, tables: DramTables | None = None) -> None:
        """`tables` stand in for those of the DRAM, such as tables with a single rule."""
        self.ids = command_ids(spec)
        self.tables = tables or spec.tables
        self._clocks, self._ring = fresh_state(self.tables.shape, len(self.tables.place))

    def earliest(self, command: str, bank: int) -> int:
        """The first clock at which the timing rules allow a command, whatever rows are open."""
        return int(probe(self.tables, self._clocks, self.ids[command], bank, 0)[1])

    def probe(self, command: str, bank: int, row: int, clock: int) -> Verdict:
        """What the channel would say to a command at a clock; nothing changes."""
        legal, earliest = probe(self.tables, self._clocks, self.ids[command], bank, row)
        if not legal:
            return Verdict.WRONG_STATE
        return Verdict.OK if clock >= earliest else Verdict.TOO_EARLY

    def issue(self, command: str, bank: int, row: int, clock: int) -> None:
        """Send a command. Raises CodesignError unless it is legal at that clock."""
        verdict = self.probe(command, bank, row, clock)
        if verdict is not Verdict.OK:
            raise CodesignError(
                f"{command} to bank {bank} row {row} at clock {clock}: {verdict.value}"
                f" (earliest {self.earliest(command, bank)})"
            )
        record(self.tables, self._clocks, self._ring, self.ids[command], bank, row, clock)
