/* attach.c - see attach.h. */
#include "cli/attach.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "service/request.h"

static bool read_file(struct buf *b, const char *path, struct err *e)
{
    char part[65536];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f) return err_set(e, ERR_IO, "cannot open %.200s: %s", path, strerror(errno));
    while ((n = fread(part, 1, sizeof part, f)) > 0 && buf_append(b, part, n)) continue;
    const bool failed = ferror(f) != 0;
    fclose(f);
    if (failed) return err_set(e, ERR_IO, "cannot read %.200s", path);
    return !b->failed ||
           err_set(e, ERR_LIMIT, "%.200s is larger than %d MB", path, REQUEST_PICTURE_BYTES >> 20);
}

/* By its first bytes; NULL: none that is read. */
static const char *mime_of(const struct buf *b)
{
    if (b->len > 8 && memcmp(b->data, "\x89PNG", 4) == 0) return "image/png";
    if (b->len > 3 && memcmp(b->data, "\xff\xd8\xff", 3) == 0) return "image/jpeg";
    if (b->len > 12 && memcmp(b->data, "RIFF", 4) == 0 && memcmp(b->data + 8, "WEBP", 4) == 0)
        return "image/webp";
    return NULL;
}

static json_t *picture_part(const char *path, struct err *e)
{
    struct buf file = BUF_INIT(REQUEST_PICTURE_BYTES), url = BUF_INIT(0);
    json_t *part = NULL;
    char *text = NULL;
    bool ok = read_file(&file, path, e);
    const char *mime = ok ? mime_of(&file) : NULL;
    if (ok && !mime) ok = err_set(e, ERR_REQUEST, "%.200s is no picture: PNG, JPEG and WebP are read", path);
    if (ok) {
        const size_t cap = sodium_base64_ENCODED_LEN(file.len, sodium_base64_VARIANT_ORIGINAL);
        text = malloc(cap);
        if (text)
            sodium_bin2base64(text, cap, (const unsigned char *)file.data, file.len,
                              sodium_base64_VARIANT_ORIGINAL);
        if (text && buf_printf(&url, "data:%s;base64,", mime) && buf_puts(&url, text))
            part = json_pack("{s:s, s:{s:s}}", "type", "image_url", "image_url", "url", url.data);
        if (!part) err_set(e, ERR_NOMEM, "out of memory");
    }
    free(text);
    buf_free(&url);
    buf_free(&file);
    return part;
}

json_t *attach_content(const char *text, size_t len, const struct str_list *files, struct err *e)
{
    json_t *said = json_stringn(text, len);
    if (!said) return err_set(e, ERR_REQUEST, "that line is not valid UTF-8"), NULL;
    if (!files->n) return said;
    json_t *parts = json_pack("[{s:s, s:o}]", "type", "text", "text", said);
    bool ok = parts || err_set(e, ERR_NOMEM, "out of memory");
    for (int i = 0; ok && i < files->n; i++) {
        json_t *part = picture_part(files->v[i], e);
        ok = part && (!json_array_append_new(parts, part) || err_set(e, ERR_NOMEM, "out of memory"));
    }
    if (ok) return parts;
    json_decref(parts);
    return NULL;
}
