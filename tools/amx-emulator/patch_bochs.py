#!/usr/bin/env python3
"""Corrects Bochs 3.0 where its AMX differs from Intel's manual, and adds what Linux needs to offer AMX to programs.

Usage: patch_bochs.py BOCHS_SOURCE

1. Products of signed bytes took every byte as unsigned (`TDPBSSD`, `TDPBSUD`, `TDPBUSD`).
2. `XSAVE` wrote rows and bytes of a row of a tile in each other's place, saved and restored 8 of 16 rows of a tile, and
   took tiles for unused when they were used. `XRSTORS` looked for tiles in the wrong place where a part before them
   (protection keys, for Linux) was saved and is not restored.
3. `VCVTNE2PS2BF16` read its upper half from behind a register.
4. Extended feature disable (volume 1, 13.14): Linux gives no program tiles without it. Two registers, two bits of CPUID,
   and the exception at the first use of tile data.

Stops at the first place that does not read as version 3.0 does.
"""

import pathlib
import re
import sys

XFD = "BX_CPU_THIS_PTR msr.ia32_xfd & BX_XCR0_XTILEDATA_MASK"
TRAP = f"""  if ({XFD}) {{
    BX_CPU_THIS_PTR msr.ia32_xfd_err |= BX_XCR0_XTILEDATA_MASK;
    exception(BX_NM_EXCEPTION, 0);
  }}
"""


def signed_bytes(text):
    """In `DPBD` + S or U for each operand: names the bytes' type by the operand's letter."""
    for x, y in ["SS", "SU", "US"]:
        start = text.index(f"Bit32u DPBD{x}{y}(")
        end = text.index("\n}\n", start)
        body = text[start:end]
        for letter, name in [(x, "xbyte"), (y, "ybyte")]:
            if letter == "S":
                line = re.search(rf"const Bit8u {name}\[4\].*", body).group()
                body = body.replace(line, line.replace("Bit8u", "Bit8s"))
                body = body.replace(f"Bit32u({name}", f"Bit32s({name}")
            else:
                body = body.replace(f"Bit32u({name}", f"Bit32s({name}")
        text = text[:start] + body + text[end:]
    return text


def before(place, added):
    return lambda text: once(text, place, added + place)


def after(place, added):
    return lambda text: once(text, place, place + added)


def instead(place, new, count=1):
    return lambda text: once(text, place, new, count)


def once(text, place, new, count=1):
    if text.count(place) != count:
        sys.exit(f"`{place}`: found {text.count(place)} times, need {count}")
    return text.replace(place, new)


EDITS = {
    "cpu/avx/amx.cc": [
        signed_bytes,
        after("::check_tile(bxInstruction_c *i, unsigned tile_num)\n{\n", TRAP),
        after("::TILEZERO_Tnnn(bxInstruction_c *i)\n{\n", TRAP),
    ],
    "cpu/avx/avx512_bf16.cc": [
        instead("fp32_to_bfloat16(op1.vmm32u(n))", "fp32_to_bfloat16(op1.vmm32u(n - DWORD_ELEMENTS(len)))"),
    ],
    "cpu/avx/amx.h": [
        instead("AMX(): palette_id(0), start_row(0) {}", "AMX() { clear(); }"),
    ],
    "cpu/xsave.cc": [
        instead("vmm16u(8+n)    = BX_CPU_THIS_PTR amx->tilecfg[n].rows", "vmm16u(8+n)    = BX_CPU_THIS_PTR amx->tilecfg[n].bytes_per_row"),
        instead("vmmubyte(48+n) = BX_CPU_THIS_PTR amx->tilecfg[n].bytes_per_row", "vmmubyte(48+n) = BX_CPU_THIS_PTR amx->tilecfg[n].rows"),
        instead("row < BX_TILE_REGISTERS", "row < BX_TILE_MAX_ROWS", 2),
        instead("(BX_CPU_THIS_PTR amx->tile_use_tracker == 0)", f"BX_CPU_THIS_PTR amx->tile_use_tracker != 0 && !({XFD})"),
        instead(
            "        if (format & feature_mask)\n          offset += xsave_restore[feature].len;\n      }\n",
            "      }\n      if (format & feature_mask)\n        offset += xsave_restore[feature].len;\n",
        ),
        after(
            "  Bit32u restore_mask = xstate_bv & format;\n",
            TRAP.replace(XFD, "requested_feature_bitmap & restore_mask & " + XFD),
        ),
    ],
    "cpu/cpu.h": [after("  Bit64u ia32_xss;\n", "  Bit64u ia32_xfd, ia32_xfd_err;\n")],
    "cpu/init.cc": [
        after(
            "  BX_CPU_THIS_PTR msr.ia32_xss = 0;\n",
            "  BX_CPU_THIS_PTR msr.ia32_xfd = BX_CPU_THIS_PTR msr.ia32_xfd_err = 0;\n",
        )
    ],
    "cpu/msr.cc": [
        after(
            'msr_desc[BX_MSR_XSS] = new MSR_Descriptor("MSR_IA32_XSS", BX_ISA_XSAVES);\n',
            '  msr_desc[BX_MSR_IA32_XFD] = new MSR_Descriptor("MSR_IA32_XFD", BX_ISA_AMX);\n'
            '  msr_desc[BX_MSR_IA32_XFD_ERROR] = new MSR_Descriptor("MSR_IA32_XFD_ERROR", BX_ISA_AMX);\n',
        ),
        after(
            "      val64 = BX_CPU_THIS_PTR msr.ia32_xss;\n      break;\n",
            "    case BX_MSR_IA32_XFD:\n      val64 = BX_CPU_THIS_PTR msr.ia32_xfd;\n      break;\n"
            "    case BX_MSR_IA32_XFD_ERROR:\n      val64 = BX_CPU_THIS_PTR msr.ia32_xfd_err;\n      break;\n",
        ),
        before(
            "    case BX_MSR_XSS:\n      {\n",
            "    case BX_MSR_IA32_XFD:\n    case BX_MSR_IA32_XFD_ERROR:\n"
            "      if (val_64 & ~Bit64u(BX_XCR0_XTILEDATA_MASK)) return false;\n"
            "      (index == BX_MSR_IA32_XFD ? BX_CPU_THIS_PTR msr.ia32_xfd : BX_CPU_THIS_PTR msr.ia32_xfd_err) = val_64;\n"
            "      break;\n",
        ),
    ],
    "cpu/cpuid.cc": [
        after(
            "    if (is_cpu_extension_supported(BX_ISA_XSAVES))\n      leaf->eax |= (1<<3);\n",
            "    if (is_cpu_extension_supported(BX_ISA_AMX))\n      leaf->eax |= (1<<4);\n",
        ),
        after(
            "      leaf->ecx = (cpu->ia32_xss_suppmask & (1 << subfunction)) != 0;\n",
            "      if (subfunction == xcr0_t::BX_XCR0_XTILEDATA_BIT)\n        leaf->ecx |= (1<<2);\n",
        ),
    ],
}


def main():
    source = pathlib.Path(sys.argv[1])
    for name, edits in EDITS.items():
        path = source / name
        text = path.read_text()
        for edit in edits:
            text = edit(text)
        path.write_text(text)
        print(f"{name}: {len(edits)} corrections")


main()
