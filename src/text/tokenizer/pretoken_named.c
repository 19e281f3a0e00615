/* pretoken_named.c - the pre-tokenizers that GGUF files name (tokenizer.ggml.pre). The names are those of llama.cpp's converter; what
 * each stands for is the pre_tokenizer of the tokenizer.json that models of that name were published with. */
#include <string.h>

#include "text/tokenizer/pretoken.h"
#include "text/tokenizer/pretoken_scan.h"

enum { MAX_STEPS = 8, MAX_NAME = 40 };

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SIGNS " ?[^\\s\\p{L}\\p{N}]+"
#define SPACES "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UP "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOW "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define FRONT "[^\\r\\n\\p{L}\\p{N}]?"
#define NO_HAN "&&[^\\p{Han}]"

/* Marks in the lists of steps below. */
static const char bytes[] = "bytes"; /* ByteLevel stands here: what follows sees bytes */
static const char punctuation_runs[] = "[\\p{P}$+<=>^`|~]";
#define RUNS punctuation_runs /* split off as whole runs */

/* Mistral's: o200k without contractions, digits one by one. */
static const char tekken[] =
    FRONT "[" UP "]*[" LOW "]+|" FRONT "[" UP "]+[" LOW "]*|\\p{N}|" SIGNS "[\\r\\n/]*" SPACES;
static const char youtu[] = FRONT "[" UP "]*[" LOW "]+" CONTRACTIONS "?|" FRONT "[" UP "]+[" LOW
                                  "]*" CONTRACTIONS "?|\\p{N}|" SIGNS "[\\r\\n/]*" SPACES;
/* The letters that have case, as of one version of Unicode. */
static const char deepseek_llm_letters[] =
    "\\s?["
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}"
    "\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}"
    "\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}"
    "\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}"
    "\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}"
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}"
    "\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}"
    "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}"
    "\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}"
    "\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}"
    "\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}"
    "\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"
    "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"
    "\\x{1e900}-\\x{1e943}"
    "]+";
static const char deepseek_cjk[] = "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+";
static const char bloom[] = " ?[^(\\s|[.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c}])]+";
static const char kimi[] =
    "[\\p{Han}]+|" FRONT "[" UP NO_HAN "]*[" LOW NO_HAN "]+" CONTRACTIONS "?|" FRONT "[" UP NO_HAN
    "]+[" LOW NO_HAN "]*" CONTRACTIONS "?|\\p{N}{1,3}|" SIGNS "[\\r\\n]*" SPACES;
static const char afmoe_scripts[] = "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{f900}-\\x{faff}\\x{3040}-\\x{"
                                    "309f}\\x{30a0}-\\x{30ff}\\x{ff65}-\\x{ff9f}"
                                    "\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{e7f}\\x{e80}-\\x{eff}\\x{1780}-\\x{17ff}"
                                    "\\x{1000}-\\x{109f}\\x{aa60}-\\x{aa7f}"
                                    "\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+";
static const char youtu_scripts[] =
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}\\x{2019}\\x{"
    "2014}"
    "\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|"
    "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+";
static const char spark[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+";
#define JAIS_SPACES                                                                                          \
    "\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!" \
    "\\S)"                                                                                                   \
    "|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"

static const struct {
    const char *names; /* each between spaces */
    const char *step[MAX_STEPS];
    unsigned flags;
} table[] = {
    { " gpt-2 gpt2 default mpt olmo jais phi-2 trillion granite-docling exaone4 gigachat a.x-4.0 mellum "
      "modern-bert ",
      { scan_pattern_gpt2 },
      0 },
    { " llama-bpe llama3 llama-v3 falcon3 pixtral falcon-h1 midm-2.0 lfm2 ",
      { scan_pattern_llama3 },
      NAMED_WHOLE_WORDS | NAMED_BEGINS },
    { " smaug-bpe dbrx chatglm-bpe glm4 ", { scan_pattern_llama3 }, 0 },
    { " qwen2 qwen3 qwen ", { scan_pattern_qwen2 }, NAMED_NFC },
    { " deepseek-r1-qwen stablelm2 megrez hunyuan solar-open grok-2 kormo ", { scan_pattern_qwen2 }, 0 },
    { " qwen35 ",
      { CONTRACTIONS
        "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" SPACES },
      NAMED_NFC },
    { " ufakzeka ", { WORD "|\\p{N}|" SIGNS "[\\r\\n]*" SPACES }, 0 },
    { " laguna ", { "[^\\n]+|[\\n]+", scan_pattern_qwen2 }, 0 },
    { " llama4 gpt-4o kanana2 talkie minimax-m2 ", { scan_pattern_o200k }, 0 },
    { " tiny_aya cohere2moe ", { "\\d{1,3}(?=(?:\\d{3})*\\b)", scan_pattern_o200k }, 0 },
    { " tekken ", { tekken }, NAMED_WHOLE_WORDS | NAMED_BEGINS },
    { " youtu ", { youtu_scripts, youtu }, NAMED_WHOLE_WORDS },
    { " deepseek-v3 hunyuan-dense joyai-llm hy_v4 ",
      { scan_pattern_numbers3, scan_pattern_cjk, scan_pattern_deepseek },
      0 },
    { " spark2_5 ", { scan_pattern_numbers3, scan_pattern_cjk, spark, scan_pattern_number }, 0 },
    { " deepseek-llm ",
      { "[\\r\\n]", deepseek_llm_letters,
        "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+", "\\s+$",
        deepseek_cjk, scan_pattern_number },
      0 },
    { " deepseek-coder ",
      { "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", deepseek_cjk, scan_pattern_number },
      0 },
    { " falcon ", { RUNS, scan_pattern_gpt2, bytes, "\\p{N}+", "[0-9][0-9][0-9]" }, 0 },
    { " smollm starcoder refact command-r codeshell exaone minerva-7b mellum2 ",
      { scan_pattern_number, scan_pattern_gpt2 },
      0 },
    { " bloom poro-chat gpt3-finnish ", { bloom }, 0 },
    { " viking ", { bloom, scan_pattern_number }, 0 },
    { " chameleon ",
      { "<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", scan_pattern_number,
        "[\\p{P}$+<=>^`|~]", scan_pattern_gpt2 },
      NAMED_BEGINS },
    { " kimi-k2 ", { kimi }, 0 },
    { " superbpe ", { "\\p{N}+", "(?=(\\d{3})+(?!\\d))" }, 0 },
    { " bailingmoe bailingmoe2 llada-moe ",
      { "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
        "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" },
      0 },
    { " seed-coder ", { CONTRACTIONS "|" WORD "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" SPACES }, 0 },
    { " afmoe ",
      { "\\p{Nd}+", "\\A\\p{Nd}{1,2}(?=\\p{Nd}{3}+\\z)", "\\p{Nd}{3}", afmoe_scripts, scan_pattern_deepseek },
      0 },
    { " exaone-moe ",
      { CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|" SIGNS
                     "[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" },
      0 },
    { " minicpm5 ",
      { scan_pattern_numbers3, CONTRACTIONS "|" WORD "|\\p{N}+|" SIGNS "[\\r\\n]*" SPACES },
      NAMED_WHOLE_WORDS },
    { " jais-2 ", { CONTRACTIONS "|" WORD "|\\p{N}{1,3}|" SIGNS "[\\r\\n]*|" JAIS_SPACES }, 0 },
};

bool pretoken_add_named(struct pretoken *p, const char *name, size_t len, unsigned *flags, struct err *e)
{
    char key[MAX_NAME + 3];
    if (len == 0 || len > MAX_NAME || memchr(name, ' ', len))
        return err_set(e, ERR_FORMAT, "the file's pre-tokenizer has no usable name");
    key[0] = ' ';
    memcpy(key + 1, name, len);
    memcpy(key + 1 + len, " ", 2);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!strstr(table[i].names, key)) continue;
        for (int k = 0; k < MAX_STEPS && table[i].step[k]; k++) {
            const char *s = table[i].step[k];
            enum split_behavior b = s == RUNS ? SPLIT_CONTIGUOUS : SPLIT_ISOLATED;
            if (!(s == bytes ? pretoken_add_bytes(p, e) : pretoken_add(p, s, strlen(s), b, false, false, e)))
                return false;
        }
        if (flags) *flags = table[i].flags;
        return true;
    }
    return err_set(e, ERR_UNSUPPORTED,
                   "the pre-tokenizer \"%.*s\" (tokenizer.ggml.pre) is not known to this build", (int)len,
                   name);
}
