"""What the systolic array means: one object for each PE, registers that pass things on at a tick.

A PE sees what its neighbours held before the tick. Wires of d cycles are queues of d entries. The
matrices come as plain lists of Python integers; B as one dict {index: value} per column and group.
"""

from __future__ import annotations

from collections import deque


def blank(length):
    return deque([None] * length)


def split(total, size):
    return [range(first, min(first + size, total)) for first in range(0, total, size)]


def edge(part, size, full):
    return size if full else len(part)


class WeightStationaryPe:
    """Holds the weights of a group and column; adds a product to the sum that comes from above."""

    def __init__(self, row, add_latency):
        self.row = row
        self.shadow = {}
        self.active = {}
        self.right = None
        self.adder = blank(add_latency)
        self.weights_down = blank(add_latency)
        self.macs = 0

    def tick(self, left, sum_above, weight_above):
        if left is not None:
            fold, row, slot, group = left
            if (row, slot) == (0, 0):
                self.active = self.shadow
                self.shadow = {}
            total = sum_above[1] if sum_above is not None else 0
            if slot in self.active:
                place, value = self.active[slot]
                total += value * group[place]
                self.macs += 1
            self.adder.append(((fold, row), total))
        else:
            self.adder.append(None)
        self.right = left
        if weight_above is not None and weight_above[0] == self.row:
            _, slot, weight = weight_above
            if weight is not None:
                self.shadow[slot] = weight
        self.weights_down.append(weight_above)


def weight_stationary(a, b, group_size, rows, cols, add_latency, overlap, full_size_edges):
    """c, start and end of the folds, multiply-accumulates. b[col][group] = {index: value}."""
    m, n, groups = len(a), len(b), len(b[0])
    folds = []
    for columns in split(n, cols):
        for depth in split(groups, rows):
            slots = max(1, max(len(b[x][g]) for x in columns for g in depth))
            height = edge(depth, rows, full_size_edges)
            folds.append((columns, depth, slots, height, edge(columns, cols, full_size_edges)))
    c = [[0] * n for _ in range(m)]
    start, end = [None] * len(folds), [None] * len(folds)
    expected = [m * slots * width for _, _, slots, _, width in folds]
    pes = [[WeightStationaryPe(r, add_latency) for _ in range(cols)] for r in range(rows)]
    into_row = [blank(r * add_latency) for r in range(rows)]
    into_column = [blank(x) for x in range(cols)]

    def weights_of(f):
        columns, depth, slots, height, _ = folds[f]
        for r in range(height):
            for slot in range(slots):
                entries = [None] * cols
                for x, column in enumerate(columns):
                    kept = sorted(b[column][depth[r]].items()) if r < len(depth) else []
                    if slot < len(kept):
                        entries[x] = kept[slot]
                yield [(r, slot, entry) for entry in entries]

    def activations_of(f):
        for row in range(m):
            for slot in range(folds[f][2]):
                yield f, row, slot

    loaded_fold, load, load_done = 0, list(weights_of(0)), False
    current, stream = -1, []
    clock = 0
    while any(expected):
        # Sums that have gone through the last used row's adder by now are results.
        for r in range(rows):
            for x in range(cols):
                leaving = pes[r][x].adder[0]
                if leaving is None:
                    continue
                (f, row), total = leaving
                columns, _, _, height, width = folds[f]
                if r == height - 1 and x < width:
                    if x < len(columns):
                        c[row][columns[x]] += total
                    expected[f] -= 1
                    end[f] = clock
        if not any(expected):
            break
        load_done = load_done or not load
        drained = current < 0 or expected[current] == 0
        if not stream and (overlap or drained) and loaded_fold > current and load_done:
            current = loaded_fold
            start[current] = clock
            stream = list(activations_of(current))
            if overlap and current + 1 < len(folds):
                loaded_fold, load, load_done = current + 1, list(weights_of(current + 1)), False
        elif not overlap and drained and loaded_fold == current and current + 1 < len(folds):
            loaded_fold, load, load_done = current + 1, list(weights_of(current + 1)), False
        weights = load.pop(0) if load else [None] * cols
        token = stream.pop(0) if stream else None
        before_right = [[pe.right for pe in line] for line in pes]
        before_sum = [[pe.adder.popleft() for pe in line] for line in pes]
        before_weight = [[pe.weights_down.popleft() for pe in line] for line in pes]
        for x in range(cols):
            into_column[x].append(weights[x])
        tops = [into_column[x].popleft() for x in range(cols)]
        for r in range(rows):
            into_row[r].append(token)
            entering = into_row[r].popleft()
            if entering is not None:
                f, row, slot = entering
                _, depth, _, height, _ = folds[f]
                group = []
                if r < len(depth):
                    first = depth[r] * group_size
                    group = a[row][first : first + group_size]
                entering = (f, row, slot, group) if r < height else None
            for x in range(cols):
                left = entering if x == 0 else before_right[r][x - 1]
                inside = left is not None and x < folds[left[0]][4]
                above = before_sum[r - 1][x] if r else None
                pes[r][x].tick(
                    left if inside else None, above, before_weight[r - 1][x] if r else tops[x]
                )
        clock += 1
    macs = sum(pe.macs for line in pes for pe in line)
    return c, start, end, macs


class OutputStationaryPe:
    """Owns two banks of accumulators; a sum leaves the adder some cycles after its operands."""

    def __init__(self):
        self.accumulators = {}
        self.in_adder = []
        self.finished = {}
        self.right = None
        self.down = None
        self.macs = 0

    def collect(self, clock):
        """Sums that leave the adder at this cycle, as (fold, tile) of those that are complete."""
        complete = []
        for entry in [e for e in self.in_adder if e[0] == clock]:
            self.in_adder.remove(entry)
            _, key, total, last = entry
            self.accumulators[key] = total
            if last:
                complete.append(key)
        return complete

    def tick(self, clock, left, above, add_latency):
        if left is not None:
            fold, tile, group, first, last = left
            key = (fold % 2, tile)
            total = 0 if first else self.accumulators[key]
            if above is not None and group is not None:
                place, value = above
                total += value * group[place]
                self.macs += 1
            self.in_adder.append((clock + add_latency, key, total, last))
        self.right = left
        self.down = above


def output_stationary(
    a, b, group_size, rows, cols, add_latency, interleave, overlap, full_size_edges, drain
):
    """c, start and end of the folds, multiply-accumulates. b[col][group] = {index: value}."""
    m, n, groups = len(a), len(b), len(b[0])
    tiles = [(lines, columns) for columns in split(n, cols) for lines in split(m, rows)]
    folds = [tiles[i : i + interleave] for i in range(0, len(tiles), interleave)]
    heights = [max(edge(t[0], rows, full_size_edges) for t in fold) for fold in folds]
    widths = [max(edge(t[1], cols, full_size_edges) for t in fold) for fold in folds]
    c = [[0] * n for _ in range(m)]
    start, end = [None] * len(folds), [None] * len(folds)
    expected = [len(fold) * h * w for fold, h, w in zip(folds, heights, widths, strict=True)]
    finished = [[[0] * cols for _ in range(rows)] for _ in folds]
    drained = [[0] * cols for _ in folds]
    pes = [[OutputStationaryPe() for _ in range(cols)] for _ in range(rows)]
    into_row = [blank(r) for r in range(rows)]
    into_column = [blank(x) for x in range(cols)]

    def steps_of(tile):
        """(group, slot) in the order in which the tile's columns work through them."""
        for g in range(groups):
            for slot in range(max(1, max(len(b[x][g]) for x in tile[1]))):
                yield g, slot

    def issue_order(f):
        """Round after round, the tile with the most steps first."""
        steps = [list(steps_of(tile)) for tile in folds[f]]
        order = sorted(range(len(steps)), key=lambda j: -len(steps[j]))
        for turn in range(max(map(len, steps))):
            for j in order:
                if turn < len(steps[j]):
                    yield j, *steps[j][turn], turn == 0, turn == len(steps[j]) - 1

    def result(f, j, r, x, total):
        lines, columns = folds[f][j]
        if r < len(lines) and x < len(columns):
            c[lines[r]][columns[x]] = total
        expected[f] -= 1

    def bank_is_free(f):
        if f < 2:
            return True
        if drain:
            return drained[f - 2][0] == heights[f - 2] * len(folds[f - 2])
        return finished[f - 2][0][0] == len(folds[f - 2])

    current, stream, ready_at = -1, [], {}
    clock = 0
    while True:
        for r in range(rows):
            for x in range(cols):
                for bank, j in pes[r][x].collect(clock):
                    f = next(
                        f
                        for f in range(current + 1)
                        if f % 2 == bank and j < len(folds[f]) and finished[f][r][x] < len(folds[f])
                    )
                    finished[f][r][x] += 1
                    if not drain and r < heights[f] and x < widths[f]:
                        result(f, j, r, x, pes[r][x].accumulators[bank, j])
                        end[f] = clock
        if not any(expected):
            break
        if not stream and current + 1 < len(folds):
            finished_before = current < 0 or expected[current] == 0
            if bank_is_free(current + 1) if overlap else finished_before:
                current += 1
                start[current] = clock
                stream = list(issue_order(current))
                ready_at = {}
        token = None
        if stream and ready_at.get(stream[0][0], 0) <= clock:
            token = (current, *stream.pop(0))
            ready_at[token[1]] = clock + add_latency
        before_right = [[pe.right for pe in line] for line in pes]
        before_down = [[pe.down for pe in line] for line in pes]
        tops = []
        for x in range(cols):
            into_column[x].append(token)
            entering = into_column[x].popleft()
            weight = None
            if entering is not None:
                f, j, g, slot, _, _ = entering
                columns = folds[f][j][1]
                kept = sorted(b[columns[x]][g].items()) if x < len(columns) else []
                weight = kept[slot] if slot < len(kept) else None
            tops.append(weight)
        for r in range(rows):
            into_row[r].append(token)
            entering = into_row[r].popleft()
            if entering is not None:
                f, j, g, _, first, last = entering
                lines = folds[f][j][0]
                group = a[lines[r]][g * group_size :] if r < len(lines) else None
                entering = (f, j, group, first, last)
            for x in range(cols):
                left = entering if x == 0 else before_right[r][x - 1]
                above = tops[x] if r == 0 else before_down[r - 1][x]
                pes[r][x].tick(clock, left, above, add_latency)
        if drain:
            for x in range(cols):
                for f in range(current + 1):
                    height, count = heights[f], len(folds[f])
                    if drained[f][x] == height * count:
                        continue
                    if all(finished[f][r][x] == count for r in range(height)):
                        j, below = divmod(drained[f][x], height)
                        key = (f % 2, j)
                        if x < widths[f]:
                            total = pes[height - 1][x].accumulators[key]
                            result(f, j, height - 1 - below, x, total)
                            end[f] = clock + 1
                        for r in range(height - 1, 0, -1):
                            pes[r][x].accumulators[key] = pes[r - 1][x].accumulators[key]
                        drained[f][x] += 1
                    break
        clock += 1
    macs = sum(pe.macs for line in pes for pe in line)
    return c, start, end, macs
