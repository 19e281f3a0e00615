/* options_file.c - reads the configuration file with libyaml's event parser. */
#include "cli/options_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#include "base/buf.h"

typedef bool set_fn(void *arg, const char *file, const char *key, const char *value, int index,
                    struct err *e);

enum place { OUTSIDE, KEY, VALUE, IN_LIST };

/* Names each at most once: of two lines that disagree one would be lost. */
static bool note_key(struct buf *seen, const char *key)
{
    char entry[160];
    int n = snprintf(entry, sizeof entry, "\n%s\n", key);
    for (int i = 0; i < n; i++)
        if (entry[i] == '_') entry[i] = '-';
    return !(seen->data && strstr(seen->data, entry)) && buf_puts(seen, entry);
}

static bool walk(yaml_parser_t *p, const char *path, struct buf *seen, set_fn *set, void *arg, struct err *e)
{
    enum place place = OUTSIDE;
    char key[128] = "";
    int index = 0, documents = 0;
    for (;;) {
        yaml_event_t ev;
        bool ok = true;
        if (!yaml_parser_parse(p, &ev))
            return err_set(e, ERR_FORMAT, "%s:%zu: %s", path, p->problem_mark.line + 1,
                           p->problem ? p->problem : "not YAML");
        const char *text = ev.type == YAML_SCALAR_EVENT ? (const char *)ev.data.scalar.value : "";
        yaml_event_type_t type = ev.type;
        size_t line = ev.start_mark.line + 1;
        switch (type) {
        case YAML_SCALAR_EVENT:
            if (place == KEY) {
                snprintf(key, sizeof key, "%s", text);
                index = 0;
                place = VALUE;
                if (!note_key(seen, key))
                    ok = err_set(e, ERR_FORMAT, "%s:%zu: \"%s\" stands there twice", path, line, key);
            } else if (place == VALUE || place == IN_LIST) {
                ok = set(arg, path, key, text, index++, e);
                if (place == VALUE) place = KEY;
            } else if (*text) {
                ok = err_set(e, ERR_FORMAT, "%s:%zu: expected `name: value` lines", path, line);
            }
            break;
        case YAML_MAPPING_START_EVENT:
            if (place == OUTSIDE)
                place = KEY;
            else
                ok = err_set(e, ERR_FORMAT, "%s:%zu: \"%s\" takes a value or a list, not a mapping", path,
                             line, key);
            break;
        case YAML_MAPPING_END_EVENT: place = OUTSIDE; break;
        case YAML_SEQUENCE_START_EVENT:
            if (place == VALUE)
                place = IN_LIST;
            else
                ok = err_set(e, ERR_FORMAT, "%s:%zu: a list is only possible as the value of a name", path,
                             line);
            break;
        case YAML_SEQUENCE_END_EVENT: place = KEY; break;
        case YAML_ALIAS_EVENT:
            ok = err_set(e, ERR_FORMAT, "%s:%zu: aliases are not supported here", path, line);
            break;
        case YAML_DOCUMENT_START_EVENT:
            if (documents++) ok = err_set(e, ERR_FORMAT, "%s:%zu: a second document", path, line);
            break;
        default: break;
        }
        yaml_event_delete(&ev);
        if (!ok) return false;
        if (type == YAML_STREAM_END_EVENT) return true;
    }
}

bool options_file_read(const char *path, set_fn *set, void *arg, struct err *e)
{
    yaml_parser_t p;
    struct stat st;
    FILE *f = fopen(path, "r");
    if (!f) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (!fstat(fileno(f), &st) && S_ISDIR(st.st_mode)) {
        fclose(f);
        return err_set(e, ERR_IO, "%s: a folder, not a configuration file", path);
    }
    if (!yaml_parser_initialize(&p)) {
        fclose(f);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    yaml_parser_set_input_file(&p, f);
    struct buf seen = BUF_INIT(1 << 20);
    bool ok = walk(&p, path, &seen, set, arg, e);
    buf_free(&seen);
    yaml_parser_delete(&p);
    fclose(f);
    return ok;
}
