/* pipeline_files.h - what pipeline_files.c (folders) and pipeline_single.c (single files) share. */
#ifndef HEARTH_IMAGE_PIPELINE_FILES_H
#define HEARTH_IMAGE_PIPELINE_FILES_H

#include "image/pipeline.h"

struct pipeline_path {
    char s[1024];
};
struct pipeline_path pipeline_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool pipeline_is_file(const char *path);
bool pipeline_is_dir(const char *path);

/* Of a model_index.json: its pipeline class, and a component's class, by which the reference goes whatever the component's own files
 * say. NULL: not named (a component that is left out is there as [null, null]). */
const char *pipeline_class(const json_t *index);
const char *pipeline_component(const json_t *index, const char *name);

/* The file stays open as long as the pipeline. */
bool pipeline_open(struct pipeline *p, const char *path, struct weights **out, struct err *e);
struct nn_source pipeline_source(struct pipeline *p, struct weights *w, const char *what);

/* Components out of folders of diffusers' form in dir: vae, text_encoder, text_encoder_2. index: model_index.json, NULL: there is none. */
bool pipeline_vae_folder(struct pipeline *p, const char *dir, const json_t *index, struct err *e);
bool pipeline_clip_folder(struct pipeline *p, const char *dir, const json_t *index, int which, struct err *e);
bool pipeline_t5_folder(struct pipeline *p, const char *dir, const json_t *index, struct err *e);

/* pipeline_single.c: a checkpoint, or the folder that holds one, with what it lacks beside it. */
bool pipeline_single(struct pipeline *p, const char *path, struct err *e);
/* Is its denoiser one that is known? Reads headers only. */
bool pipeline_single_check(const char *path, struct err *e);

#endif
