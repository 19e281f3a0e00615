/* safety.c - is a picture unsafe, and what then: the classifier, and the policy of catalog/safety.yaml. */
#include "service/safety.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <yaml.h>

#include "service/safety_data.h"

enum { N_CLASSES = 5 };
static const char *const classes[N_CLASSES] = { "drawing", "hentai", "neutral", "porn", "sexy" };

struct safety {
    struct device *dev;
    pthread_mutex_t lock;                /* the classifier serves one picture at a time */
    struct image_classifier *classifier; /* loaded with the first picture */
    bool unsafe[N_CLASSES];
    double threshold;
    enum safety_action action;
};

/* ---- the policy -------------------------------------------------------------------------------------------- */

static const yaml_node_t *member(yaml_document_t *d, const yaml_node_t *map, const char *key)
{
    if (!map || map->type != YAML_MAPPING_NODE) return NULL;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(d, p->key);
        if (k->type == YAML_SCALAR_NODE && !strcmp((const char *)k->data.scalar.value, key)) {
            return yaml_document_get_node(d, p->value);
        }
    }
    return NULL;
}

static const char *scalar(const yaml_node_t *n)
{
    return n && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : "";
}

static bool read_policy(struct safety *s, yaml_document_t *d, struct err *e)
{
    const yaml_node_t *images = member(d, yaml_document_get_root_node(d), "images");
    const yaml_node_t *list = member(d, images, "unsafe");
    const char *threshold = scalar(member(d, images, "threshold")),
               *action = scalar(member(d, images, "action"));
    static const char *const actions[] = { "pass", "blur", "reject" };
    if (!list || list->type != YAML_SEQUENCE_NODE)
        return err_set(e, ERR_FORMAT, "safety policy: images.unsafe must be a list of classes");
    for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top; i++) {
        const char *name = scalar(yaml_document_get_node(d, *i));
        int k = 0;
        while (k < N_CLASSES && strcmp(classes[k], name) != 0) k++;
        if (k == N_CLASSES) return err_set(e, ERR_FORMAT, "safety policy: there is no class \"%.60s\"", name);
        s->unsafe[k] = true;
    }
    char *end;
    s->threshold = strtod(threshold, &end);
    if (end == threshold || *end || !(s->threshold > 0 && s->threshold <= 1)) {
        return err_set(e, ERR_FORMAT,
                       "safety policy: images.threshold must be above 0 and at most 1, got \"%.60s\"",
                       threshold);
    }
    for (int k = 0; k < 3; k++) {
        if (!strcmp(actions[k], action)) {
            s->action = (enum safety_action)k;
            return true;
        }
    }
    return err_set(e, ERR_FORMAT, "safety policy: images.action must be pass, blur or reject, got \"%.60s\"",
                   action);
}

static bool load_policy(struct safety *s, const char *path, struct err *e)
{
    FILE *f = NULL;
    yaml_parser_t p;
    yaml_document_t d;
    if (path && *path && !(f = fopen(path, "rb")))
        return err_set(e, ERR_IO, "safety policy %s: %s", path, strerror(errno));
    bool ok = yaml_parser_initialize(&p);
    if (!ok) {
        err_set(e, ERR_NOMEM, "no memory for the safety policy");
    } else {
        if (f)
            yaml_parser_set_input_file(&p, f);
        else
            yaml_parser_set_input_string(&p, (const unsigned char *)safety_policy,
                                         (size_t)(safety_policy_end - safety_policy));
        ok = yaml_parser_load(&p, &d);
        if (!ok) {
            err_set(e, ERR_FORMAT, "safety policy, line %zu: %s", p.problem_mark.line + 1,
                    p.problem ? p.problem : "not YAML");
        } else {
            ok = read_policy(s, &d, e);
            yaml_document_delete(&d);
        }
        yaml_parser_delete(&p);
    }
    if (f) fclose(f);
    return ok;
}

/* ---- the classifier ---------------------------------------------------------------------------------------- */

/* The weights are part of the binary; the reader of weight files wants a file, so they pass through one for a moment: one in memory, which
 * no full disk can refuse, nor a killed process leave behind. */
static bool load_classifier(struct safety *s, struct err *e)
{
    char path[40];
    int fd = memfd_create("hearth-classifier", MFD_CLOEXEC);
    if (fd < 0) return err_set(e, ERR_IO, "no memory for the classifier's weights: %s", strerror(errno));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    size_t left = (size_t)(safety_weights_end - safety_weights);
    const char *at = safety_weights;
    bool ok = true;
    while (ok && left) {
        ssize_t n = write(fd, at, left);
        if (n < 0 && errno == EINTR) continue;
        ok = n > 0 || err_set(e, ERR_IO, "no memory for the classifier's weights: %s", strerror(errno));
        if (ok) {
            at += n;
            left -= (size_t)n;
        }
    }
    ok = ok && image_classifier_load(&s->classifier, path, s->dev, e);
    close(fd);
    return ok;
}

bool safety_load(struct safety **out, const char *policy_path, struct device *dev, struct err *e)
{
    struct safety *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&s->lock, NULL);
    s->dev = dev;
    if (load_policy(s, policy_path, e)) {
        *out = s;
        return true;
    }
    safety_free(s);
    return false;
}

void safety_free(struct safety *s)
{
    if (!s) return;
    image_classifier_free(s->classifier);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- pictures ---------------------------------------------------------------------------------------------- */

/* Means over a coarse grid, spread out again: nothing finer than a sixteenth of the picture remains. */
static void blur(struct image_rgb *p)
{
    int step = (p->width > p->height ? p->width : p->height) / 16 + 1;
    for (int y0 = 0; y0 < p->height; y0 += step) {
        for (int x0 = 0; x0 < p->width; x0 += step) {
            int x1 = x0 + step < p->width ? x0 + step : p->width,
                y1 = y0 + step < p->height ? y0 + step : p->height;
            uint64_t sum[3] = { 0 }, n = (uint64_t)(x1 - x0) * (uint64_t)(y1 - y0);
            for (int y = y0; y < y1; y++) {
                for (int x = x0; x < x1; x++) {
                    for (int c = 0; c < 3; c++)
                        sum[c] += p->pixels[((size_t)y * (size_t)p->width + (size_t)x) * 3 + (size_t)c];
                }
            }
            for (int y = y0; y < y1; y++) {
                for (int x = x0; x < x1; x++) {
                    for (int c = 0; c < 3; c++) {
                        p->pixels[((size_t)y * (size_t)p->width + (size_t)x) * 3 + (size_t)c] =
                            (unsigned char)(sum[c] / n);
                    }
                }
            }
        }
    }
}

bool safety_check(struct safety *s, struct image_rgb *picture, bool apply, bool *nsfw, bool *filtered,
                  struct err *e)
{
    float p[N_CLASSES];
    double unsafe = 0;
    pthread_mutex_lock(&s->lock);
    bool ok = (s->classifier || load_classifier(s, e)) && image_classify(s->classifier, picture, p, e);
    pthread_mutex_unlock(&s->lock);
    if (!ok) return false;
    for (int k = 0; k < N_CLASSES; k++) unsafe += s->unsafe[k] ? (double)p[k] : 0;
    *nsfw = unsafe >= s->threshold;
    *filtered = *nsfw && apply && s->action != SAFETY_PASS;
    if (*filtered && s->action == SAFETY_BLUR) blur(picture);
    if (*filtered && s->action == SAFETY_REJECT)
        memset(picture->pixels, 0, (size_t)picture->width * (size_t)picture->height * 3);
    return true;
}
