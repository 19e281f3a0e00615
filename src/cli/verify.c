/* verify.c - `hearth verify`: what a picture's C2PA manifest says, and whether it is true. */
#include "service/c2pa/verify.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "cli/signing.h"

enum { MAX_FILE = 256 << 20 };

static bool read_file(struct buf *b, const char *path, struct err *e)
{
    char block[65536];
    FILE *f = fopen(path, "rbe");
    if (!f) return err_set(e, ERR_IO, "%s", strerror(errno));
    for (size_t n; !b->failed && (n = fread(block, 1, sizeof block, f));) buf_append(b, block, n);
    const int why = ferror(f) ? errno : 0;
    fclose(f);
    if (why) return err_set(e, ERR_IO, "%s", strerror(why));
    return !b->failed || err_set(e, ERR_LIMIT, "is larger than %d MB", MAX_FILE >> 20);
}

/* What is wrong with a picture that was not changed; NULL: nothing. */
static const char *stranger(const struct c2pa_report *r)
{
    return r->known == C2PA_UNKNOWN
               ? "whose certificate leads to none that is known here (--c2pa-trust FILE names some)"
           : r->known == C2PA_ENDED ? "whose certificate is known here, but has ended or does not hold yet"
                                    : NULL;
}

static const char *verdict(bool intact, const struct c2pa_report *r, const struct err *e)
{
    if (!intact) return e->code == ERR_NOT_FOUND ? "none" : e->code == ERR_FORMAT ? "broken" : "error";
    return r->known == C2PA_KNOWN ? "signed" : "unknown";
}

static bool print_json(const char *path, bool intact, const struct c2pa_report *r, const struct err *e)
{
    json_t *o = json_pack("{s:s, s:s}", "file", path, "verdict", verdict(intact, r, e));
    if (!intact) json_object_set_new(o, "problem", json_string(e->msg));
    if (intact) {
        json_object_set_new(o, "signer", json_string(r->signer));
        json_object_set_new(o, "program", json_string(r->program));
        json_object_set_new(o, "made", json_string(r->made));
        json_object_set_new(o, "digital_source_type", json_string(r->source));
        if (stranger(r)) json_object_set_new(o, "problem", json_string(stranger(r)));
    }
    const bool ok = o && !json_dumpf(o, stdout, JSON_COMPACT) && putchar('\n') == '\n';
    json_decref(o);
    return ok;
}

static void print_line(const char *path, bool intact, const struct c2pa_report *r, const struct err *e)
{
    if (!intact) {
        printf("%s: %s\n", path, e->msg);
        return;
    }
    printf("%s: %s signed by %s", path, stranger(r) ? "unchanged, but" : "unchanged,", r->signer);
    if (stranger(r)) printf(", %s", stranger(r));
    if (*r->program) printf("; made by %s", r->program);
    if (*r->made) printf(", %s", r->made);
    if (*r->source) printf(" (%s)", r->source);
    printf("\n");
}

/* One line of what was found; true: as it was signed, by somebody who is known. */
static bool verify(const struct options *o, const struct c2pa_trust *t, const char *path)
{
    struct buf file = BUF_INIT(MAX_FILE);
    struct c2pa_report r = { .known = C2PA_UNKNOWN };
    struct err e = { 0 };
    const bool intact =
        read_file(&file, path, &e) && c2pa_verify(t, file.data ? file.data : "", file.len, &r, &e);
    buf_free(&file);
    if (o->json) return print_json(path, intact, &r, &e) && intact && r.known == C2PA_KNOWN;
    print_line(path, intact, &r, &e);
    return intact && r.known == C2PA_KNOWN;
}

int cmd_verify(int argc, char **argv)
{
    struct options o;
    struct err e = { 0 };
    struct c2pa_trust *t = NULL;
    int rc = options_parse(&o, CMD_VERIFY, argc, argv);
    if (rc < 0 && !o.args.n) {
        fprintf(stderr, "hearth verify: there is no file\n");
        rc = 2;
    }
    if (rc < 0 && !signing_trust(&t, &o, &e)) {
        fprintf(stderr, "hearth verify: %s\n", e.msg);
        rc = 2;
    }
    if (rc < 0) {
        rc = 0;
        for (int i = 0; i < o.args.n; i++)
            if (!verify(&o, t, o.args.v[i])) rc = 1;
    }
    c2pa_trust_free(t);
    options_free(&o);
    return rc;
}
