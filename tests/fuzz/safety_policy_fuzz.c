/* Any bytes as a policy file, and as a text that a fixed policy reads: whole and in pieces it is found to be the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/safety/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char file[] = "words:\n  default: p\n  lists:\n    - name: a\n      words: [violence, kill you, "
                           "sex, 暴力, 폭력, bomb*, ナイフ]\n"
                           "  policies:\n    - name: p\n      refuse: [a]\n";

static void as_file(const char *text, size_t len)
{
    struct word_rules *r;
    struct err e = { ERR_NONE, "" };
    if (word_rules_read(&r, "f", text, len, &e)) {
        struct word_found f = { 0 };
        const struct word_policy *p = word_rules_find(r, "", &e);
        if (!p || !word_check(r, p, text, len, &f, &e)) abort();
        if ((f.verdict == WORD_REFUSE) != (f.reason[0] != 0)) abort();
        word_found_free(&f);
        word_rules_free(r);
    } else if (e.code != ERR_FORMAT || strncmp(e.msg, "f:", 2) != 0) {
        abort();
    }
}

static void as_text(const struct word_rules *r, const char *text, size_t len, size_t piece)
{
    struct word_found f = { 0 };
    struct err e;
    const struct word_policy *p = word_rules_find(r, "", &e);
    struct phrase_context c = { 0 };
    struct phrase_hit hit;
    struct buf window = BUF_INIT(0), out = BUF_INIT(0);
    bool found = false;
    size_t settled;
    if (!word_check(r, p, text, len, &f, &e)) abort();
    const bool whole = f.verdict == WORD_REFUSE;
    word_found_free(&f);
    for (size_t i = 0; i < len && !found;) {
        size_t n = piece < len - i ? piece : len - i;
        while (i + n < len && (text[i + n] & 0xc0) == 0x80) n++;
        buf_append(&window, text + i, n);
        i += n;
        if (!phrases_find_growing(word_rules_phrases(r), p->refuse, window.data, window.len, i < len, &c,
                                  &found, &hit, &settled, &e))
            abort();
        if (settled > window.len || (found && (hit.begin >= hit.end || hit.end > window.len))) abort();
        buf_append(&out, window.data, settled);
        buf_drop(&window, settled);
    }
    if (whole != found) abort(); /* cut anywhere, a text is refused for what it is refused for as a whole */
    if (!found && out.len != len) abort();
    buf_free(&window);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct word_rules *rules;
    struct err e;
    if (!rules && !word_rules_read(&rules, "p", file, strlen(file), &e)) abort();
    if (!size) return 0;
    if (data[0] & 1)
        as_file((const char *)data + 1, size - 1);
    else
        as_text(rules, (const char *)data + 1, size - 1, 1 + (data[0] >> 2) % 20);
    return 0;
}
