"""Every Triton kernel is compiled to machine code for a GPU, which needs none: only the assembler that comes along."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", minversion="3.3", reason="kernels are compiled by Triton 3.3 or later")

SM_90 = ("cuda", 90, 32)  # Hopper
FLOATS = {"float32": "*fp32", "float16": "*fp16", "bfloat16": "*bf16"}


@pytest.fixture(autouse=True)
def _assembler(tmp_path, monkeypatch):
    if not (Path(triton.__file__).parent / "backends/nvidia/bin/ptxas").exists():
        pytest.skip("this build of Triton comes without ptxas")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def compile_kernel(kernel, types, constants, num_warps=4):
    """Check that a kernel becomes machine code, keeps its values in registers and forms no address in 32 bits."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = dict(zip(kernel.arg_names, [*types, *["constexpr"] * len(constants)], strict=True))
    source = ASTSource(kernel, signature=signature, constexprs=constants)
    found = triton.compile(source, target=GPUTarget(*SM_90), options={"num_warps": num_warps})
    assert found.asm["cubin"][:4] == b"\x7fELF"
    assert not re.search(r"\b(st|ld)\.local", found.asm["ptx"])
    products = re.findall(r"arith\.muli .*? : (?:tensor<[0-9x]*x)?(\w+)", found.asm["ttir"])
    assert products
    assert set(products) == {"i64"}  # B * T * (U + 1) * V exceeds 2^31 for a batch of normal size


@pytest.mark.slow
@pytest.mark.parametrize(("width", "lengths", "warps"), [(32, "*i64", 1), (128, "*i32", 1), (1024, "*i64", 8)])
@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("dtype", ["*fp32", "*fp64"])
def test_the_recursion_compiles(width, lengths, warps, pruned, dtype):
    from dualtk.lattice.backends.triton_kernels import occupy, walk

    given = [dtype, dtype, "*i64", lengths, lengths, "*fp64", "*fp64"]
    constants = {"WIDTH": width, "PRUNED": pruned, "PRECISE": dtype == "*fp64"}
    compile_kernel(walk, [*given, "i32", "i32"], constants, warps)
    compile_kernel(occupy, [*given, dtype, dtype, dtype, "i32", "i32"], constants, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize(("dtype", "vocabulary"), [("float32", 4097), ("float16", 500), ("bfloat16", 2)])
def test_the_passes_over_logits_compile(dtype, vocabulary, kind):
    from dualtk.lattice.backends.triton_rows import gradient_row, score_row, shape

    constants = {**shape(vocabulary), "KIND": kind}
    warps = constants.pop("num_warps")
    places, size = [FLOATS[dtype], *["*i64"] * 4], ["i32", "i32", "i32"]
    compile_kernel(score_row, [*places, "*fp64", "*fp32", "*fp32", *size], constants, warps)
    compile_kernel(gradient_row, [*places, "*fp64", *["*fp32"] * 3, FLOATS[dtype], *size], constants, warps)
