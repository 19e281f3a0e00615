/* spm_model.c - see spm_model.h. Protocol buffers: a field is a varint key (number << 3 | wire type) and its value. */
#include "text/tokenizer/spm_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer/tokenizer_vocab.h"
#include "text/unicode.h"

struct reader {
    const uint8_t *p, *end;
};

struct field {
    uint64_t number, value; /* value of a varint or fixed32 field */
    int wire;
    struct reader bytes; /* of a length-delimited field */
};

static bool varint(struct reader *r, uint64_t *out)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64 && r->p < r->end; shift += 7) {
        uint8_t b = *r->p++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) return *out = v, true;
    }
    return false;
}

/* The next field; false when it is not well formed. */
static bool next(struct reader *r, struct field *f)
{
    uint64_t key, n;
    if (!varint(r, &key)) return false;
    *f = (struct field){ .number = key >> 3, .wire = (int)(key & 7) };
    size_t left = (size_t)(r->end - r->p);
    switch (f->wire) {
    case 0: return varint(r, &f->value);
    case 1:
        if (left < 8) return false;
        r->p += 8;
        return true;
    case 2:
        if (!varint(r, &n) || n > (uint64_t)(r->end - r->p)) return false;
        f->bytes = (struct reader){ r->p, r->p + n };
        r->p += n;
        return true;
    case 5:
        if (left < 4) return false;
        f->value =
            (uint64_t)r->p[0] | (uint64_t)r->p[1] << 8 | (uint64_t)r->p[2] << 16 | (uint64_t)r->p[3] << 24;
        r->p += 4;
        return true;
    default: return false;
    }
}

static bool read_piece(struct reader r, struct spm_piece *p)
{
    struct field f;
    *p = (struct spm_piece){ .text = "", .type = SPM_NORMAL };
    while (r.p < r.end) {
        if (!next(&r, &f)) return false;
        if (f.number == 1 && f.wire == 2) {
            p->text = (const char *)f.bytes.p;
            p->len = (size_t)(f.bytes.end - f.bytes.p);
        } else if (f.number == 2 && f.wire == 5) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&p->score, &bits, sizeof bits);
        } else if (f.number == 3 && f.wire == 0 && f.value >= SPM_NORMAL && f.value <= SPM_BYTE) {
            p->type = (enum spm_type)f.value;
        }
    }
    return isfinite(p->score) && utf8_valid(p->text, p->len) == p->len;
}

static bool add_piece(struct spm_model *m, size_t *cap, struct reader r, struct err *e)
{
    if (m->n == VOCAB_MAX)
        return err_set(e, ERR_LIMIT, "a SentencePiece model of more than %d pieces", VOCAB_MAX);
    if (m->n == *cap) {
        size_t more = *cap ? *cap * 2 : 4096;
        struct spm_piece *p = realloc(m->piece, more * sizeof *p);
        if (!p) return err_set(e, ERR_NOMEM, "no memory for %zu pieces", more);
        m->piece = p;
        *cap = more;
    }
    return read_piece(r, &m->piece[m->n++]) ||
           err_set(e, ERR_FORMAT, "piece %zu of the SentencePiece model is damaged", m->n - 1);
}

static bool read_normalizer(struct spm_model *m, struct reader r)
{
    struct field f;
    while (r.p < r.end) {
        if (!next(&r, &f)) return false;
        if (f.number == 2 && f.wire == 2 && f.bytes.p != f.bytes.end) {
            m->charsmap = f.bytes.p;
            m->charsmap_len = (size_t)(f.bytes.end - f.bytes.p);
        }
        if (f.wire != 0) continue;
        if (f.number == 3) m->dummy_prefix = f.value != 0;
        if (f.number == 4) m->remove_extra = f.value != 0;
        if (f.number == 5) m->escape = f.value != 0;
    }
    return true;
}

static void set_name(char *out, size_t size, struct reader r)
{
    size_t n = (size_t)(r.end - r.p);
    if (n >= size) return; /* no such piece will be found */
    memcpy(out, r.p, n);
    out[n] = 0;
}

static bool read_trainer(struct spm_model *m, struct reader r)
{
    struct field f;
    while (r.p < r.end) {
        if (!next(&r, &f)) return false;
        if (f.wire == 0 && f.number == 3 && f.value >= SPM_UNIGRAM && f.value <= SPM_CHAR)
            m->kind = (enum spm_kind)f.value;
        if (f.wire == 0 && f.number == 24) m->whitespace_behind = f.value != 0;
        if (f.wire == 0 && f.number == 35) m->byte_fallback = f.value != 0;
        if (f.wire == 2 && f.number == 46) set_name(m->bos, sizeof m->bos, f.bytes);
        if (f.wire == 2 && f.number == 47) set_name(m->eos, sizeof m->eos, f.bytes);
    }
    return true;
}

static bool read_denormalizer(struct spm_model *m, struct reader r)
{
    struct field f;
    while (r.p < r.end) {
        if (!next(&r, &f)) return false;
        if (f.number == 2 && f.wire == 2 && f.bytes.p != f.bytes.end) m->denormalizes = true;
    }
    return true;
}

bool spm_model_parse(struct spm_model *m, const uint8_t *data, size_t len, struct err *e)
{
    struct reader r = { data, data + len };
    struct field f;
    size_t cap = 0;
    *m = (struct spm_model){ .kind = SPM_UNIGRAM,
                             .dummy_prefix = true,
                             .remove_extra = true,
                             .escape = true,
                             .bos = "<s>",
                             .eos = "</s>" };
    while (r.p < r.end) {
        bool ok = next(&r, &f);
        if (ok && f.wire == 2 && f.number == 2) ok = read_trainer(m, f.bytes);
        if (ok && f.wire == 2 && f.number == 3) ok = read_normalizer(m, f.bytes);
        if (ok && f.wire == 2 && f.number == 5) ok = read_denormalizer(m, f.bytes);
        if (!ok)
            err_set(e, ERR_FORMAT, "the SentencePiece model is damaged at byte %zu", (size_t)(r.p - data));
        if (!ok || (f.number == 1 && f.wire == 2 && !add_piece(m, &cap, f.bytes, e))) {
            spm_model_free(m);
            return false;
        }
    }
    return true;
}

void spm_model_free(struct spm_model *m)
{
    free(m->piece);
    *m = (struct spm_model){ 0 };
}
