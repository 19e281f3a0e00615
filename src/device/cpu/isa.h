/* isa.h - which instruction sets this machine and its system offer.
 *
 * A bit is a bundle that a family of files is compiled for (Makefile): having the bit means every instruction of
 * those files may run, the operating system's saving of the registers included. */
#ifndef HEARTH_DEVICE_CPU_ISA_H
#define HEARTH_DEVICE_CPU_ISA_H

#include <stdbool.h>
#include <stddef.h>

enum isa {
    ISA_AVX2 = 1 << 0,       /* *_avx2.c: AVX2, FMA, F16C                                            */
    ISA_AVXVNNI = 1 << 1,    /* *_avxvnni.c: the same and 256-bit VNNI                               */
    ISA_AVX512 = 1 << 2,     /* *_avx512.c: F, BW, VL, DQ, VNNI, VBMI (Ice Lake, Zen 4 and later)    */
    ISA_AVX512BF16 = 1 << 3, /* *_avx512bf16.c: the same and BF16 dot products                       */
    ISA_AMX = 1 << 4         /* *_amx.c: the same and tiles for int8 and bf16, granted by the system */
};

/* Asks the processor and the system, and the system's leave to use the tile registers. Plain C elsewhere: 0. */
unsigned isa_detect(void);

/* "avx512 bf16 amx" into buf; "plain c" for 0. */
void isa_describe(unsigned isa, char *buf, size_t n);

#endif
