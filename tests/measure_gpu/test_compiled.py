"""Do the Triton kernels compile for Hopper, with its matrix instructions and in its memory?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the kernels need the package triton")

MOST_SHARED_BYTES = 227 * 1024
"""Shared memory that one block may take on sm_90 (CUDA programming guide)."""
KINDS = {"x": "*bf16", "w": "*bf16", "q": "*bf16", "keys": "*bf16", "out": "*bf16",
         "values": "*bf16", "part": "*fp32", "peak": "*fp32", "weight": "*fp32", "scale": "fp32",
         "M": "i32", "N": "i32", "K": "i32", "KEPT": "i32", "TOKENS": "i32", "PER_SPLIT": "i32",
         "SPLITS": "i32", "CHUNKS": "i32", "ROUNDS": "i32"}  # fmt: skip
"""Types of arguments by name; the other arguments are tables of 32-bit numbers."""
PROGRAM = """
import json, sys
import triton.language as tl
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from codesign.measure import gpu_kernels_triton as kernels

kinds, cases = json.loads(sys.argv[1])
for name, constants, warps in cases:
    kernel = getattr(kernels, name)
    constants = {k: getattr(tl, v) if isinstance(v, str) else v for k, v in constants.items()}
    names = kernel.arg_names
    signature = {n: "constexpr" if n in constants else kinds.get(n, "*i32") for n in names}
    places = {(names.index(n),): v for n, v in constants.items()}
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names)
               if n not in constants and signature[n] != "fp32"}
    made = triton.compile(ASTSource(kernel, signature, places, aligned),
                          target=GPUTarget("cuda", 90, 32),
                          options={"num_warps": warps, "num_stages": 3})
    ptx = made.asm["ptx"]
    print(json.dumps([name, made.metadata.shared, ptx.count("wgmma.mma_async.sync"),
                      ptx.count("mma.sync.aligned"), len(made.asm["cubin"])]))
"""
PLAIN = {"ACC": "float32", "WIDEN": False}
DECODE = {"HEADS": 4, "SIZE": 32, "TILE_T": 32, "PADDED": 16, "WIDEN": False}
CASES = [
    ("dense", {"TILE_M": 128, "TILE_N": 256, "TILE_K": 64, "GROUP": 8, "EVEN": True, **PLAIN}, 8),
    ("block_sparse", {"TILE_M": 64, "BLOCK": 32, **PLAIN}, 4),
    ("nm_gather", {"TILE_M": 64, "TILE_N": 64, "TILE_K": 64, **PLAIN}, 4),
    ("bitmap_product", {"TILE_M": 64, "TILE_N": 64, "TILE_K": 64, **PLAIN}, 4),
    ("decode_part", {**DECODE, "PACKED": False}, 4),
    ("decode_part", {**DECODE, "PACKED": True}, 4),
    ("decode_join", {"HEADS": 4, "SIZE": 32, "PADDED": 16}, 4),
    ("l2_read", {"CHUNK": 4096}, 4),
]
WARPGROUP = {"dense", "block_sparse", "nm_gather", "bitmap_product"}
"""Kernels whose tiles have the 64 rows that the matrix instruction of a warp group takes."""


def test_kernels_compile_for_hopper(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([KINDS, CASES])],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line[0] for line in found] == [name for name, *_ in CASES]
    for name, shared, wgmma, mma, code in found:
        assert shared <= MOST_SHARED_BYTES
        assert code > 0
        assert (wgmma > 0) == (name in WARPGROUP)
        assert (mma > 0) == (name == "decode_part")
