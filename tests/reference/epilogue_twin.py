"""What a product with work on its tiles is, step by step: one tile after the other, one piece after
the other, in whole numbers."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

READ, WRITE = "dram_read", "dram_write"


class Listing:
    """Steps in the order of the program; a handle is the place of a step in it."""

    def __init__(self):
        self.steps = [("marker", 0, 0, "none", 0, set()), ("marker", 0, 0, "none", 0, set())]

    def add(self, unit, busy, latency, action, count, deps):
        self.steps.append((unit, int(busy), int(latency), action, int(count), set(deps)))
        return len(self.steps) - 1


def halves(amount, parts):
    """Whole parts, as equal as whole numbers allow, which end at the floors of equal ends."""
    return [amount * (i + 1) // parts - amount * i // parts for i in range(parts)]


def dealt(total, weights):
    """Parts in the ratio of weights: those of whole multiples, and floors of the rest's ends."""
    each, rest = divmod(total, sum(weights))
    parts, before, so_far = [], 0, 0
    for weight in weights:
        so_far += weight
        end = each * so_far + floor(rest * (so_far / sum(weights)))
        parts.append(end - before)
        before = end
    return parts


def bytes_of(elements, bits):
    return ceil(Fraction(elements * bits, 8))


def steps(tiles, finish, link):
    """The steps of a product.

    A tile is a dictionary: fill, body, tail, latency, macs; a_load and b_load (bytes, or None where
    what is there stays); first and last (of the partial sums of its outputs); elements. `finish` is
    a dictionary: stored_bits (of each result that leaves the lanes), operand_bytes,
    kept_operand_bytes, keeps_result, lanes, per_element, latency, piece_bytes, alu. `link` is
    (bytes per cycle, latency), `finish["pads"]` the bytes per cycle of what is kept. Without lanes
    the product's own result, of stored_bits, leaves or is kept.
    """
    out = Listing()

    def move(amount, kept, write, deps):
        if kept:
            return out.add("marker", ceil(amount / finish["pads"]), 0, "none", amount, deps)
        action = WRITE if write else READ
        return out.add("dram", ceil(amount / link[0]), link[1], action, amount, deps)

    alone = "lanes" not in finish
    outputs = [tile["elements"] for tile in tiles if tile["last"]]
    if not alone:
        kept_operands = dealt(finish["kept_operand_bytes"], outputs)
        operands = dealt(finish["operand_bytes"] - finish["kept_operand_bytes"], outputs)
    last_tails, loads = {"a": [], "b": []}, {"a": None, "b": None}
    tails, bodies, freed, begun = [], [], [], 0
    work, stores = [], {False: [], True: []}
    for t, tile in enumerate(tiles):
        for name in ("b", "a"):
            amount = tile[f"{name}_load"]
            if amount is None:
                continue
            deps = {0} if name == "a" else set()
            count = len(last_tails[name])
            if t > 0:
                last_tails[name].append(tails[t - 1])
                count += 1
            if count < 2:
                deps.add(1)
            else:
                deps.add(last_tails[name][-2])
            loads[name] = move(amount, False, False, deps)
        pieces = []
        if not alone:
            pieces = finish_pieces(tile, finish, operands, kept_operands, len(freed))
        first_loads = [(p, operand_loads(p, move, work, out)) for p in pieces[:1]]
        fill = out.add("stationary_load", tile["fill"], 0, "none", 0, {loads["b"], *bodies[-1:]})
        deps = {loads["a"], fill}
        if tile["first"]:
            if begun >= 2:
                deps.add(freed[begun - 2])
            begun += 1
        bodies.append(out.add("array", tile["body"], 0, "none", 0, deps))
        tails.append(
            out.add("array", tile["tail"], tile["latency"], "mac", tile["macs"], {bodies[-1]})
        )
        for number, piece in enumerate(pieces):
            loaded = first_loads[0][1] if number == 0 else operand_loads(piece, move, work, out)
            deps = {tails[-1], *loaded}
            for kept in (False, True):
                if len(stores[kept]) >= 2:
                    deps.add(stores[kept][-2])
            work.append(
                out.add(
                    "vector", piece["busy"], finish["latency"], "alu",
                    piece["elements"] * finish["alu"], deps,
                )
            )  # fmt: skip
            for kept, amount in ((False, piece["write"]), (True, piece["kept_write"])):
                if piece["stores"][kept]:
                    stores[kept].append(move(amount, kept, True, {work[-1]}))
        if pieces:
            freed.append(work[-1])
        elif alone and tile["last"]:
            kept, amount = finish["keeps_result"], bytes_of(tile["elements"], finish["stored_bits"])
            stores[kept].append(move(amount, kept, True, {tails[-1]}))
            freed.append(stores[kept][-1])
    release = {tails[-1], *(freed if alone else work)[-2:-1]}
    out.steps.append(("marker", 0, 0, "none", 0, release))
    out.steps.append(("marker", 0, 0, "none", 0, set(stores[False] + stores[True])))
    return out.steps


def operand_loads(piece, move, work, out):
    found = set()
    for kept, amount in ((False, piece["read"]), (True, piece["kept_read"])):
        if piece["loads"][kept]:
            deps = {0, 1} if len(work) < 2 else {0, work[-2]}
            found.add(move(amount, kept, False, deps))
    return found


def finish_pieces(tile, finish, operands, kept_operands, number):
    """What of a tile passes half of the lanes' buffer at a time; nothing before its last sums."""
    if not tile["last"]:
        return []
    elements = tile["elements"]
    results = [bytes_of(elements, bits) for bits in finish["stored_bits"]]
    kept_write = results.pop() if finish["keeps_result"] else 0
    write, read, kept_read = sum(results), operands[number], kept_operands[number]
    rows = ceil(elements / finish["lanes"])
    most = max(write + kept_write, read + kept_read)
    parts = max(1, min(ceil(most / finish["piece_bytes"]), rows))
    columns = {
        "elements": elements, "rows": rows, "read": read, "kept_read": kept_read, "write": write,
        "kept_write": kept_write,
    }  # fmt: skip
    cut = {name: halves(amount, parts) for name, amount in columns.items()}
    whole = {False: sum(operands), True: sum(kept_operands)}
    stored = len(finish["stored_bits"]) - finish["keeps_result"]
    return [
        {
            **{name: column[i] for name, column in cut.items()},
            "busy": cut["rows"][i] * finish["per_element"],
            "loads": {kept: amount > 0 for kept, amount in whole.items()},
            "stores": {False: stored > 0, True: finish["keeps_result"]},
        }
        for i in range(parts)
    ]
