#include "base/isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static uint64_t xgetbv0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static bool has(unsigned reg, int bit) { return reg >> bit & 1; }

unsigned isa_detect(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    bool fma = has(c, 12), osxsave = has(c, 27), avx = has(c, 28), f16c = has(c, 29);
    if (!osxsave || !avx || !fma || !f16c) return 0;
    uint64_t xcr0 = xgetbv0();
    if ((xcr0 & 0x6) != 0x6) return 0; /* xmm and ymm are saved */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    unsigned max_sub = a, isa = 0;
    if (!has(b, 5)) return 0;
    isa |= ISA_AVX2;
    unsigned a1 = 0, b1, c1, d1;
    if (max_sub >= 1 && !__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1)) a1 = 0;
    if (has(a1, 4)) isa |= ISA_AVXVNNI;

    bool zmm = (xcr0 & 0xe0) == 0xe0; /* mask registers and both halves of zmm are saved */
    bool f = has(b, 16), dq = has(b, 17), bw = has(b, 30), vl = has(b, 31), vbmi = has(c, 1),
         vnni = has(c, 11);
    if (!zmm || !f || !dq || !bw || !vl || !vbmi || !vnni) return isa;
    isa |= ISA_AVX512;
    if (!has(a1, 5)) return isa;
    isa |= ISA_AVX512BF16;

    bool tile = has(d, 24), tile_int8 = has(d, 25), tile_bf16 = has(d, 22);
    if (!tile || !tile_int8 || !tile_bf16 || (xcr0 & 0x60000) != 0x60000) return isa;
    /* Linux hands out the 8 KB of tile state on request only, for the process and the threads it starts later. */
    if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0) isa |= ISA_AMX;
    return isa;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

#define CAP_ASIMD (1ul << 1) /* of AT_HWCAP, as in the kernel's asm/hwcap.h */
#define CAP_DOTPROD (1ul << 20)
#define CAP2_I8MM (1ul << 13) /* of AT_HWCAP2 */
#define CAP2_BF16 (1ul << 14)

unsigned isa_detect(void)
{
    const unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
    return isa_closed((cap & CAP_ASIMD ? ISA_NEON : 0u) | (cap & CAP_DOTPROD ? ISA_DOTPROD : 0u) |
                      (cap2 & CAP2_I8MM ? ISA_I8MM : 0u) | (cap2 & CAP2_BF16 ? ISA_ARMBF16 : 0u));
}

#else

unsigned isa_detect(void) { return 0; }

#endif

const struct isa_level isa_level[ISA_LEVELS] = {
    { "plain", 0 },
#if defined(__x86_64__)
    { "avx2", ISA_AVX2 },     { "avxvnni", ISA_AVXVNNI },
    { "avx512", ISA_AVX512 }, { "avx512bf16", ISA_AVX512BF16 },
    { "amx", ISA_AMX },
#elif defined(__aarch64__)
    { "neon", ISA_NEON }, { "dotprod", ISA_DOTPROD }, { "i8mm", ISA_I8MM }, { "bf16", ISA_ARMBF16 },
#endif
};

unsigned isa_mask(int level)
{
    unsigned mask = 0;
    for (int i = 0; i <= level; i++) mask |= isa_level[i].bit;
    return mask;
}

unsigned isa_closed(unsigned isa)
{
    static const struct {
        unsigned bit, base;
    } on[] = { { ISA_AVXVNNI, ISA_AVX2 },   { ISA_AVX512, ISA_AVX2 },  { ISA_AVX512BF16, ISA_AVX512 },
               { ISA_AMX, ISA_AVX512BF16 }, { ISA_DOTPROD, ISA_NEON }, { ISA_I8MM, ISA_DOTPROD },
               { ISA_ARMBF16, ISA_I8MM } };
    for (size_t i = 0; i < sizeof on / sizeof *on; i++) /* bases before what stands on them */
        if (!(isa & on[i].base)) isa &= ~on[i].bit;
    return isa;
}

/* "plain, avx2, ... or amx" */
static void list_levels(char *buf, size_t n)
{
    size_t at = 0;
    for (int i = 0; i < ISA_LEVELS && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, "%s%s",
                               i == 0                ? ""
                               : i == ISA_LEVELS - 1 ? " or "
                                                     : ", ",
                               isa_level[i].name);
}

bool isa_choose(unsigned *isa, struct err *e)
{
    const char *name = getenv("HEARTH_ISA");
    const unsigned has = isa_detect();
    if (!name || !*name) {
        *isa = has;
        return true;
    }
    for (int i = 0; i < ISA_LEVELS; i++) {
        if (strcmp(name, isa_level[i].name)) continue;
        char sets[48];
        isa_describe(has, sets, sizeof sets);
        if ((has & isa_level[i].bit) != isa_level[i].bit)
            return err_set(e, ERR_UNSUPPORTED,
                           "HEARTH_ISA asks for %s, which this machine does not have: it has %s", name, sets);
        *isa = has & isa_mask(i);
        return true;
    }
    char all[96];
    list_levels(all, sizeof all);
    return err_set(e, ERR_REQUEST, "HEARTH_ISA is \"%s\": on this machine it must be %s", name, all);
}

void isa_describe(unsigned isa, char *buf, size_t n)
{
    const char *vector = isa & ISA_AVX512    ? "avx512"
                         : isa & ISA_AVXVNNI ? "avx2 vnni"
                         : isa & ISA_AVX2    ? "avx2"
                         : isa & ISA_I8MM    ? "neon dotprod i8mm"
                         : isa & ISA_DOTPROD ? "neon dotprod"
                         : isa & ISA_NEON    ? "neon"
                                             : "plain c";
    snprintf(buf, n, "%s%s%s", vector, isa & (ISA_AVX512BF16 | ISA_ARMBF16) ? " bf16" : "",
             isa & ISA_AMX ? " amx" : "");
}
