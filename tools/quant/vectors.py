"""Prints the constants of crates/ocelli-quant/tests/{quantize,grids}.rs, made by the reference C code.

Not needed to build or test. To repeat it, compile ggml's `ggml-quants.c` (0.25.3 was used) without fused multiply-add:

    gcc -O2 -DNDEBUG -ffp-contract=off -fPIC -shared -I. -I../include ggml-quants.c stubs.c -lm -o libquants.so
    python tools/quant/vectors.py libquants.so

(`stubs.c` defines ggml_abort, ggml_row_size, ggml_type_name, ggml_type_size, which are not called.)
"""

import ctypes
import sys

import numpy as np

BLOCKS = {
    "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
}

# Types of grids: elements and bytes of a block.
GRIDS = {
    "IQ1_S": (256, 50), "IQ1_M": (256, 56), "IQ2_XXS": (256, 66), "IQ2_XS": (256, 74), "IQ2_S": (256, 82),
    "IQ3_XXS": (256, 98), "IQ3_S": (256, 110),
}


def regular() -> np.ndarray:
    """256 values in steps of 1/16."""
    return ((np.arange(256) * 37 % 101 - 50) / 16).astype(np.float32)


def mixed() -> np.ndarray:
    """64 * 256 values: signs, magnitudes that change every 16 elements, zero groups."""
    state, values = 1, []
    for i in range(64 * 256):
        state = (state * 1664525 + 1013904223) % 2**32
        group = i // 16
        magnitude = 0.0 if group % 23 == 0 else 2.0 ** (group % 7 - 3)
        values.append((state // 256 / 2**23 - 1.0) * magnitude)
    return np.array(values, dtype=np.float32)


def random_blocks(name: str, size: int) -> np.ndarray:
    """64 blocks of any bytes, with the scale 0.25."""
    state, blocks = 1, np.zeros((64, size), dtype=np.uint8)
    for i in range(blocks.size):
        state = (state * 1664525 + 1013904223) % 2**32
        blocks.flat[i] = state >> 24
    if name == "IQ1_M":
        for at, nibble in zip((49, 51, 53, 55), (0, 0, 4, 3)):
            blocks[:, at] = blocks[:, at] & 15 | nibble << 4
    else:
        blocks[:, :2] = (0x00, 0x34)
    return blocks


def fnv1a(data: bytes) -> int:
    hash_ = 0xCBF29CE484222325
    for byte in data:
        hash_ = (hash_ ^ byte) * 0x100000001B3 % 2**64
    return hash_


def main() -> None:
    library = ctypes.CDLL(sys.argv[1])
    for name, (elements, size) in BLOCKS.items():
        function = getattr(library, f"quantize_row_q{name[1:]}_ref")

        def quantize(x: np.ndarray) -> bytes:
            out = np.zeros(len(x) // elements * size, dtype=np.uint8)
            function(x.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(len(x)))
            return out.tobytes()

        print(name, quantize(regular()[:elements]).hex(), f"0x{fnv1a(quantize(mixed())):016x}")

    for name, (elements, size) in GRIDS.items():
        blocks, out = random_blocks(name, size), np.zeros(64 * elements, dtype="<f4")
        function = getattr(library, f"dequantize_row_{name.lower()}")
        function(blocks.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(len(out)))
        print(name, [float(out[e]) for e in (0, 1, 15, 16, 31, 32, 100, 127, 128, 255)], f"0x{fnv1a(out.tobytes()):016x}")


if __name__ == "__main__":
    main()
