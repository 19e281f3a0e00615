/* Any bytes as a batch's file, and as the body that makes a batch: lines are the file's own, what is taken has all that a request needs, what is refused
 * says why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "http/dialects/batch_parse.h"
#include "service/batch/line_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct json_limits limits = { 32, 10000 };

static void look(const char *text, size_t len)
{
    struct batch_line l;
    struct batch_fault f = { 0 };
    if (batch_parse_line(&l, text, len, &limits, "/v1/embeddings", &f)) {
        if (!*l.custom_id || !json_is_object(l.body)) abort();
        json_decref(l.root);
    } else if (!f.code || !*f.msg || l.root) {
        abort();
    }
}

static void read_lines(const uint8_t *data, size_t size, size_t most)
{
    struct line_reader r;
    struct err e = { 0 };
    const char *text;
    size_t len;
    int64_t before = 0;
    const int fd = memfd_create("lines", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    line_reader_init(&r, fd, 0, (int64_t)size, most);
    for (enum line_read got; (got = line_reader_next(&r, &text, &len, &e)) != LINE_END;) {
        if (got == LINE_FAILED || r.line <= before || (got == LINE_READ && (len == 0 || len > most))) abort();
        before = r.line;
        if (got == LINE_READ && (memchr(text, '\n', len) || !memmem(data, size, text, len))) abort();
        if (got == LINE_READ) look(text, len);
    }
    line_reader_free(&r);
    close(fd);
}

static void make(const char *text, size_t len)
{
    struct batch_row r = { 0 };
    struct fault f = { 0 };
    json_t *body;
    if (!json_in_parse(text, len, &limits, &body, &f)) return;
    if (batch_parse(&r, body, true, &f)) {
        if (!r.window_s || !*r.endpoint || !file_folder_id_ok(r.input_file)) abort();
        batch_row_free(&r);
    } else if (f.err.code == ERR_NONE || !*f.err.msg) {
        abort();
    }
    json_decref(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    read_lines(data + 1, size - 1, data[0] & 1 ? 16 : 100000);
    make((const char *)data + 1, size - 1);
    return 0;
}
