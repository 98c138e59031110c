"""Prints the constants of crates/ocelli-quant/tests/quantize.rs, made by the reference C code.

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


if __name__ == "__main__":
    main()
