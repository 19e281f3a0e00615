/* picture_fields.h - fields of image requests that more than one API knows, and what each of them is made of. */
#ifndef HEARTH_HTTP_DIALECTS_PICTURE_FIELDS_H
#define HEARTH_HTTP_DIALECTS_PICTURE_FIELDS_H

#include "http/dialects/picture_dialect.h"

/* A field of a request on its way into w. */
struct picture_value {
    struct picture_wire *w;
    const char *name, *shape; /* of its row */
    const json_t *v;          /* not null */
    struct fault *f;
};

/* A row of a dialect's table. */
struct picture_field {
    struct json_member member;
    bool (*take)(struct picture_value *a);
};
#define PICTURE_FIELD(name, shape, take)                                                                     \
    {                                                                                                        \
        { name, 1, shape }, take                                                                             \
    }
/* For the table: takes a row's value. */
bool picture_field_take(void *wire, const void *row, const json_t *v, struct fault *f);

/* ---- values ---- */

/* "NAME why", as the dialect says it. False. */
bool picture_bad(struct picture_value *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Within the range of its row. Numbers may come as text, as several clients send them. An integer that is not 0 before is another field's of the same meaning. */
bool picture_int(struct picture_value *a, int64_t *out);
bool picture_num(struct picture_value *a, double *out);
bool picture_flag(struct picture_value *a, bool *out);
/* One of the words, a list ended by NULL; *out is its place. */
bool picture_word(struct picture_value *a, const char *const *words, int *out);
bool picture_size(struct picture_value *a, int64_t width, int64_t height);
/* "640x480"; 0 below each: none. */
bool picture_pixels(const char *s, int *width, int *height);
/* Sizes by name: "square_hd". NULL ends them. */
struct picture_named {
    const char *name;
    int width, height;
};
extern const struct picture_named picture_named_sizes[];
const struct picture_named *picture_size_named(const char *s);
bool picture_lora(struct picture_value *a, const char *name, size_t len, double weight);

/* ---- fields ---- */

bool picture_field_prompt(struct picture_value *a);
bool picture_field_negative(struct picture_value *a);
bool picture_field_model(struct picture_value *a);
bool picture_field_n(struct picture_value *a);
bool picture_field_width(struct picture_value *a);
bool picture_field_height(struct picture_value *a);
bool picture_field_ratio(struct picture_value *a);
bool picture_field_steps(struct picture_value *a);
bool picture_field_guidance(struct picture_value *a);
bool picture_field_seed(struct picture_value *a);
bool picture_field_format(struct picture_value *a);
bool picture_field_sampler(struct picture_value *a);
bool picture_field_strength(struct picture_value *a);
bool picture_field_image_strength(
    struct picture_value *a); /* high: stay near the picture; above 1: percent */
bool picture_field_clip_skip(struct picture_value *a);
bool picture_field_safety(struct picture_value *a);
bool picture_field_loras(
    struct picture_value *a); /* "NAME:0.8,OTHER", or a list of names and of {name, weight} */
/* These have no effect here, and their absence would not be noticed. */
bool picture_field_any_text(struct picture_value *a);
bool picture_field_any_flag(struct picture_value *a);
bool picture_field_refuse(struct picture_value *a);

#endif
