#include "machine.h"

#include <stdint.h>
#include <string.h>

#include <time.h>

#include "base/mem.h"
#include "base/isa.h"

double machine_seconds(struct pool *pool)
{
    struct timespec ts;
    clock_gettime(pool_threads(pool) == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

struct read_job {
    const unsigned char *p;
    size_t bytes;
    uint64_t sink[64][8];
};

#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET(isa) __attribute__((target(isa)))

TARGET("avx2") static uint64_t read_avx2(const unsigned char *p, size_t n)
{
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (size_t i = 0; i + 128 <= n; i += 128) {
        _mm_prefetch((const char *)p + i + 4096, _MM_HINT_T0);
        _mm_prefetch((const char *)p + i + 4160, _MM_HINT_T0);
        a = _mm256_xor_si256(a, _mm256_load_si256((const __m256i *)(p + i)));
        b = _mm256_xor_si256(b, _mm256_load_si256((const __m256i *)(p + i + 32)));
        c = _mm256_xor_si256(c, _mm256_load_si256((const __m256i *)(p + i + 64)));
        d = _mm256_xor_si256(d, _mm256_load_si256((const __m256i *)(p + i + 96)));
    }
    a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
    return (uint64_t)_mm256_extract_epi64(a, 0) ^ (uint64_t)_mm256_extract_epi64(a, 3);
}
#endif

static uint64_t read_plain(const unsigned char *p, size_t n)
{
    uint64_t s[8] = { 0 };
    for (size_t i = 0; i + 64 <= n; i += 64)
        for (int k = 0; k < 8; k++) {
            uint64_t v;
            memcpy(&v, p + i + 8 * k, 8);
            s[k] ^= v;
        }
    return s[0] ^ s[1] ^ s[2] ^ s[3] ^ s[4] ^ s[5] ^ s[6] ^ s[7];
}

static void read_thread(void *arg, int ith, int nth)
{
    struct read_job *j = arg;
    size_t each = j->bytes / (size_t)nth / 4096 * 4096;
    const unsigned char *p = j->p + each * (size_t)ith;
    uint64_t r;
#if defined(__x86_64__)
    if (isa_detect() & ISA_AVX2)
        r = read_avx2(p, each);
    else
#endif
        r = read_plain(p, each);
    j->sink[ith & 63][0] ^= r;
}

double machine_read_bandwidth(struct pool *pool, size_t bytes, int tries)
{
    struct read_job j = { .bytes = bytes };
    unsigned char *p = mem_aligned(bytes, 1, false);
    if (!p) return 0;
    memset(p, 1, bytes);
    j.p = p;
    double best = 0;
    for (int i = 0; i < tries; i++) {
        double t = machine_seconds(pool);
        pool_run(pool, read_thread, &j);
        t = machine_seconds(pool) - t;
        if ((double)bytes / t > best) best = (double)bytes / t;
    }
    mem_free(p);
    return best;
}

struct peak_job {
    int (*loop)(int rounds); /* returns anything, so that it is not optimised away */
    int rounds;
    int sink[64][16];
};

static void peak_thread(void *arg, int ith, int nth)
{
    (void)nth;
    struct peak_job *j = arg;
    j->sink[ith & 63][0] = j->loop(j->rounds);
}

/* ops: of one round of the loop. */
static double peak(struct pool *pool, int (*loop)(int), double ops)
{
    struct peak_job j = { .loop = loop, .rounds = 50000 };
    double best = 0;
    for (int i = 0; i < 200; i++) { /* a fraction of a millisecond each: among so many one is undisturbed */
        double t = machine_seconds(pool);
        pool_run(pool, peak_thread, &j);
        t = machine_seconds(pool) - t;
        double rate = ops * j.rounds * pool_threads(pool) / t;
        if (rate > best) best = rate;
    }
    return best;
}

#if defined(__x86_64__)
/* Twelve independent sums hide the latency of any of these instructions (two a cycle of five cycles at most), and with what they are
 * made of they fit sixteen registers: nothing is spilled. op is one of the instructions. */
#define EACH12(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define LOOP(name, isa, type, zero, one, op, last)                                                           \
    TARGET(isa) static int name(int rounds)                                                                  \
    {                                                                                                        \
        type x = one, a0 = zero, a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0, a8 = a0,     \
             a9 = a0, a10 = a0, a11 = a0;                                                                    \
        EACH12(OPAQUE) /* or the compiler sees that all are equal */                                         \
        for (int r = 0; r < rounds; r++) {                                                                   \
            __asm__ volatile("" : "+v"(x));                                                                  \
            EACH12(op)                                                                                       \
        }                                                                                                    \
        type t = a0;                                                                                         \
        EACH12(KEEP)                                                                                         \
        return last;                                                                                         \
    }
#define OPAQUE(i) __asm__ volatile("" : "+v"(a##i));
#define KEEP(i) __asm__ volatile("" : "+v"(t) : "v"(a##i));
#define INT8_512(i) a##i = _mm512_dpbusd_epi32(a##i, x, x);
#define F32_512(i) a##i = _mm512_fmadd_ps(x, x, a##i);
#define BF16_512(i) a##i = _mm512_dpbf16_ps(a##i, (__m512bh)x, (__m512bh)x);
#define F32_256(i) a##i = _mm256_fmadd_ps(x, x, a##i);
#define INT8_VNNI(i) a##i = _mm256_dpbusd_avx_epi32(a##i, x, x);
/* What one 256-bit product of bytes takes without VNNI; the sum as an operand, or there would be one product for all. */
#define INT8_256(i) a##i = _mm256_add_epi32(a##i, _mm256_madd_epi16(_mm256_maddubs_epi16(a##i, x), x));
LOOP(loop_int8_512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), _mm512_set1_epi8(1), INT8_512,
     _mm512_cvtsi512_si32(t))
LOOP(loop_f32_512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_set1_ps(1), F32_512,
     (int)_mm512_cvtss_f32(t))
LOOP(loop_bf16_512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), _mm512_set1_ps(1), BF16_512,
     (int)_mm512_cvtss_f32(t))
LOOP(loop_f32_256, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_set1_ps(1), F32_256,
     (int)_mm256_cvtss_f32(t))
LOOP(loop_int8_256, "avx2", __m256i, _mm256_setzero_si256(), _mm256_set1_epi8(1), INT8_256,
     _mm_cvtsi128_si32(_mm256_castsi256_si128(t)))
LOOP(loop_int8_vnni, "avx2,avxvnni", __m256i, _mm256_setzero_si256(), _mm256_set1_epi8(1), INT8_VNNI,
     _mm_cvtsi128_si32(_mm256_castsi256_si128(t)))

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t colsb[16];
    uint8_t rows[16];
};

TARGET("amx-tile,amx-int8,amx-bf16") static int loop_amx(int rounds, bool bf16)
{
    static const unsigned char zero[1024];
    struct tile_config c = { .palette = 1 };
    for (int i = 0; i < 8; i++) {
        c.colsb[i] = 64;
        c.rows[i] = 16;
    }
    __asm__ volatile("" : : "r"(&c) : "memory"); /* gcc's intrinsic claims to read 8 of the 64 bytes */
    _tile_loadconfig(&c);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, zero, 64);
    _tile_loadd(5, zero, 64);
    _tile_loadd(6, zero, 64);
    _tile_loadd(7, zero, 64);
    for (int r = 0; r < rounds; r++) {
        if (bf16) {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        } else {
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
    }
    _tile_release();
    return rounds;
}
static int loop_int8_amx(int rounds) { return loop_amx(rounds, false); }
static int loop_bf16_amx(int rounds) { return loop_amx(rounds, true); }
#endif

struct machine_peaks machine_peaks_measure(struct pool *pool)
{
    struct machine_peaks p = { 0 };
#if defined(__x86_64__)
    struct err e;
    unsigned isa;
    if (!isa_choose(&isa, &e)) return p;
    if (isa & ISA_AVX512) {
        p.int8 = peak(pool, loop_int8_512, 12 * 64 * 2);
        p.f32 = peak(pool, loop_f32_512, 12 * 16 * 2);
    } else if (isa & ISA_AVX2) {
        p.int8 = isa & ISA_AVXVNNI ? peak(pool, loop_int8_vnni, 12 * 32 * 2)
                                   : peak(pool, loop_int8_256, 12 * 32 * 2);
        p.f32 = peak(pool, loop_f32_256, 12 * 8 * 2);
    }
    if (isa & ISA_AVX512BF16) p.bf16 = peak(pool, loop_bf16_512, 12 * 32 * 2);
    if (isa & ISA_AMX) {
        p.int8_amx = peak(pool, loop_int8_amx, 4 * 16 * 16 * 64 * 2);
        p.bf16_amx = peak(pool, loop_bf16_amx, 4 * 16 * 16 * 32 * 2);
    }
#else
    (void)pool;
    (void)peak;
#endif
    return p;
}
