/* safety.c - is a picture unsafe, and what then: the classifier, and the policy of catalog/safety.yaml. */
#include "service/safety/safety.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/yaml_read.h"
#include "service/safety/safety_data.h"

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

struct policy {
    const struct yaml_tree *words; /* policy.c reads them */
    struct str_list unsafe;
    double threshold;
    enum safety_action action;
};

static const struct yaml_row image_rows[] = {
    { .key = "unsafe", .type = YAML_STRS, .offset = offsetof(struct policy, unsafe), .needed = true },
    { .key = "threshold",
      .type = YAML_NUMBER,
      .offset = offsetof(struct policy, threshold),
      .min = 1e-6,
      .max = 1,
      .needed = true },
    { .key = "action",
      .type = YAML_WORD,
      .offset = offsetof(struct policy, action),
      .words = "pass|blur|reject", /* as enum safety_action */
      .needed = true },
    { .key = NULL },
};
static const struct yaml_row policy_rows[] = {
    { .key = "images", .type = YAML_WITHIN, .within = image_rows, .needed = true },
    { .key = "words", .type = YAML_TREE, .offset = offsetof(struct policy, words) },
    { .key = NULL },
};

static bool take_policy(struct safety *s, const struct yaml_doc *d, const struct policy *p, struct err *e)
{
    const struct yaml_tree *list = yaml_member(yaml_member(&d->root, "images"), "unsafe");
    for (int i = 0; i < p->unsafe.n; i++) {
        int k = 0;
        while (k < N_CLASSES && strcmp(classes[k], p->unsafe.v[i]) != 0) k++;
        if (k == N_CLASSES)
            return yaml_bad(d, &list->item[i], e, "there is no class \"%.60s\"", p->unsafe.v[i]);
        s->unsafe[k] = true;
    }
    s->threshold = p->threshold;
    s->action = p->action;
    return true;
}

static bool load_policy(struct safety *s, const char *path, struct err *e)
{
    struct yaml_doc d = { 0 };
    struct policy p = { 0 };
    bool ok = path && *path ? yaml_read_file(&d, path, e)
                            : yaml_read_text(&d, "the built-in policy", safety_policy,
                                             (size_t)(safety_policy_end - safety_policy), e);
    ok = ok && yaml_fill(&d, &d.root, policy_rows, &p, e) && take_policy(s, &d, &p, e);
    yaml_fill_free(policy_rows, &p);
    yaml_doc_free(&d);
    return ok || err_wrap(e, "safety policy");
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

bool safety_score(struct safety *s, const struct image_rgb *picture, double *unsafe, bool *nsfw,
                  struct err *e)
{
    float p[N_CLASSES];
    pthread_mutex_lock(&s->lock);
    bool ok = (s->classifier || load_classifier(s, e)) && image_classify(s->classifier, picture, p, e);
    pthread_mutex_unlock(&s->lock);
    if (!ok) return false;
    *unsafe = 0;
    for (int k = 0; k < N_CLASSES; k++) *unsafe += s->unsafe[k] ? (double)p[k] : 0;
    *nsfw = *unsafe >= s->threshold;
    return true;
}

bool safety_check(struct safety *s, struct image_rgb *picture, bool apply, bool *nsfw, bool *filtered,
                  struct err *e)
{
    double unsafe;
    if (!safety_score(s, picture, &unsafe, nsfw, e)) return false;
    *filtered = *nsfw && apply && s->action != SAFETY_PASS;
    if (*filtered && s->action == SAFETY_BLUR) blur(picture);
    if (*filtered && s->action == SAFETY_REJECT)
        memset(picture->pixels, 0, (size_t)picture->width * (size_t)picture->height * 3);
    return true;
}
