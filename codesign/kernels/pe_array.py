"""A systolic array of N:M processing elements, stepped cycle by cycle with the real numbers.

Both dataflows multiply A (int64[m, k]) by B (k x n), compressed along k in groups of `group_size`:
values and index (int64[n, g, lanes], index counted within the group) hold the kept[n, g] non-zeros
first. A PE does one multiply-accumulate per cycle; its mux picks one of the group's activations.
Columns run in lock step: a group takes as many slots as its slowest column needs, at least one.
Dense B has group_size 1. m, n and k are at least 1.

Cycles of fold f (u used rows and v used columns, R and C if `full_size_edges`; L = add_latency):

Weight-stationary: a fold is up to R groups x C columns, along k first, s the slots of its slowest.
  load            u s
  overlap         start[0] = load[0]; start[f] = start[f-1] + max(m s[f-1], load[f])
  no overlap      start[f] = end[f-1] + load[f]
  end             start + m s + L u + v - 2
Output-stationary: a tile is up to R rows x C columns, along m first, and takes K' = sum of slots. A
fold is the next `interleave` tiles (a of them; u, v of the largest), taking turns, longest first.
  issue           T = (K' - 1) max(L, a) + a; for unequal K' the sum over the rounds of max(L, tiles
                  that take part), the last round without waiting for L
  drain           d = max(start + T + u + L - 2, free[f-1]); free = d + a u; end = free + v - 1
  no drain        free = start + T + L - 1; end = start + T + u + v + L - 3
  overlap         start[f] = max(start[f-1] + T[f-1], free[f-2])
  no overlap      start[f] = end[f-1]
"""

from __future__ import annotations

from codesign.kernels.pe_array_os import run_output_stationary
from codesign.kernels.pe_array_ws import run_weight_stationary

__all__ = ["run_output_stationary", "run_weight_stationary"]
