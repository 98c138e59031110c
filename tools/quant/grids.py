"""Writes crates/ocelli-quant/src/grids/tables_*.rs from the grids of PyPI's `gguf` package (0.19 was used).

Not needed to build. To repeat it:

    pip install gguf numpy && python tools/quant/grids.py && cargo fmt -p ocelli-quant
"""

from pathlib import Path

import numpy as np
from gguf import quants

FOLDER = Path(__file__).parents[2] / "crates/ocelli-quant/src/grids"

TABLES = {
    "tables_2.rs": ("Grids of the 2-bit types: 8 elements an entry, 2 bits each, first element lowest.", 2,
                    {"IQ2_XXS": quants.IQ2_XXS, "IQ2_XS": quants.IQ2_XS, "IQ2_S": quants.IQ2_S}),
    "tables_3.rs": ("Grids of the 3-bit types: 4 elements an entry, 4 bits each, first element lowest.", 4,
                    {"IQ3_XXS": quants.IQ3_XXS, "IQ3_S": quants.IQ3_S}),
    "tables_1.rs": ("Grid of the 1-bit types: 8 elements an entry, 2 bits each, first element lowest.", 2,
                    {"IQ1": quants.IQ1_S}),
}


def packed(quant: type, bits: int) -> list[int]:
    """Each entry as the indices of its elements in the value map."""
    quant.init_grid()
    grid = quant.grid.reshape(quant.grid_shape)
    values = list(quant.grid_map)
    return [sum(values.index(int(value)) << (bits * i) for i, value in enumerate(row)) for row in grid]


def main() -> None:
    for file, (title, bits, tables) in TABLES.items():
        text = f"//! {title}\n//! Written by `tools/quant/grids.py`.\n"
        for name, quant in tables.items():
            entries = packed(quant, bits)
            numbers = ", ".join(f"0x{entry:04x}" for entry in entries)
            text += f"\n/// Values of an element: {list(quant.grid_map)}.\n"
            text += f"pub(super) static {name}: [u16; {len(entries)}] = [{numbers}];\n"
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / file).write_text(text)


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
