/* isa.h - which instruction sets this machine and its system offer, and which of them are to be used.
 *
 * A bit is a bundle that a family of files is compiled for (Makefile): having the bit means every instruction of
 * those files may run, the operating system's saving of the registers included.
 * HEARTH_ISA  names the largest bundle to use, so that any program here, a test as well as the server, runs as on a
 *             lesser machine. isa_choose() is the only place that reads it; --isa sets it before anything asks. */
#ifndef HEARTH_BASE_ISA_H
#define HEARTH_BASE_ISA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum isa {
    /* x86-64 */
    ISA_AVX2 = 1 << 0,       /* *_avx2.c: AVX2, FMA, F16C                                            */
    ISA_AVXVNNI = 1 << 1,    /* *_avxvnni.c: the same and 256-bit VNNI                               */
    ISA_AVX512 = 1 << 2,     /* *_avx512.c: F, BW, VL, DQ, VNNI, VBMI (Ice Lake, Zen 4 and later)    */
    ISA_AVX512BF16 = 1 << 3, /* *_avx512bf16.c: the same and BF16 dot products                       */
    ISA_AMX = 1 << 4,        /* *_amx.c: the same and tiles for int8 and bf16, granted by the system */
    /* 64-bit Arm */
    ISA_NEON =
        1 << 8, /* *_neon.c: Armv8.0 with Advanced SIMD, which every such processor has               */
    ISA_DOTPROD =
        1 << 9, /* *_dotprod.c: the same and int8 dot products (Neoverse N1, Cortex-A76 and later)     */
    ISA_I8MM =
        1 << 10, /* *_i8mm.c: the same and int8 matrix products (Neoverse V1 and N2, Apple M2 and later) */
    ISA_ARMBF16 =
        1 << 11, /* *_armbf16.c: the same and bf16 matrix products; they came together with i8mm        */
};

/* The bundles of this architecture by name, from the least: plain, avx2, avxvnni, avx512, avx512bf16, amx; or plain, neon,
 * dotprod, i8mm, bf16; or plain alone. */
#if defined(__x86_64__)
#define ISA_LEVELS 6
#elif defined(__aarch64__)
#define ISA_LEVELS 5
#else
#define ISA_LEVELS 1
#endif
struct isa_level {
    const char *name; /* as HEARTH_ISA has it */
    unsigned bit;     /* what it adds; 0: plain C */
};
extern const struct isa_level isa_level[ISA_LEVELS];
/* A level's bit and those of all below it, to be held against what the machine has: AVX-512 came without 256-bit VNNI first. */
unsigned isa_mask(int level);

/* Asks the processor and the system, and the system's leave to use the tile registers (some 50 us where the
 * processor is a virtual one). */
unsigned isa_detect(void);

/* The sets to use: what isa_detect() finds, no further than HEARTH_ISA names. Fails when that is no name of isa_level or one that
 * this machine does not have: nothing runs as something else than what it was told. Two threads may ask at a time. */
bool isa_choose(unsigned *isa, struct err *e);

/* Every set builds on those below it (but AVX-512 not on AVX-VNNI): what is left of some bits when those whose base is missing
 * are gone too. */
unsigned isa_closed(unsigned isa);

/* "avx512 bf16 amx" into buf; "plain c" for 0. */
void isa_describe(unsigned isa, char *buf, size_t n);

#endif
