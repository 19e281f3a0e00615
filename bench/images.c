/* images.c - speed and memory of an image model through the engine's door, as JSON lines.
 *
 *     build/release/bench/images MODEL SIZE STEPS [threads]        SIZE: side of the picture in pixels
 *
 * load     seconds to a loaded model
 * first    from the request to the end of the first step: the text encoders are in it
 * step     the best of the others, one pass through the network (guidance by a second pass is off)
 * decode   from the last step to the finished picture, the better of two pictures
 * memory   resident at most, of it anonymous and mapped from files at the ends of the phases, in MiB */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "image/image.h"

struct memory {
    long most, anonymous, file; /* KiB */
};

static void look(struct memory *m)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[200];
    long kb;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmHWM: %ld", &kb) == 1) m->most = kb;
        if (sscanf(line, "RssAnon: %ld", &kb) == 1 && kb > m->anonymous) m->anonymous = kb;
        if (sscanf(line, "RssFile: %ld", &kb) == 1 && kb > m->file) m->file = kb;
    }
    if (f) fclose(f);
}

static bool draw(struct image_model *model, int side, int steps, struct memory *m, struct err *e)
{
    struct image_job *job;
    struct image_event ev;
    const struct image_request r = { .prompt = "a red bicycle by the sea",
                                     .width = side,
                                     .height = side,
                                     .n = 2,
                                     .steps = steps,
                                     .guidance = image_info(model)->takes_negative ? 1 : -1 };
    double last = clock_seconds(), step = 1e30, decode = 1e30;
    bool ok = true;
    if (!image_submit(model, &r, NULL, NULL, &job, NULL, e)) return false;
    while (image_wait(job, &ev)) {
        const double now = clock_seconds(), took = now - last;
        last = now;
        look(m);
        if (ev.type == IMAGE_EV_PROGRESS && ev.step == 1 && ev.index == 0)
            printf("{\"test\":\"first\",\"seconds\":%.3f}\n", took);
        else if (ev.type == IMAGE_EV_PROGRESS)
            step = took < step ? took : step;
        else if (ev.type == IMAGE_EV_IMAGE)
            decode = took < decode ? took : decode;
        else if (ev.type == IMAGE_EV_DONE)
            printf("{\"test\":\"step\",\"seconds\":%.3f}\n{\"test\":\"decode\",\"seconds\":%.3f}\n", step,
                   decode);
        else if (ev.type == IMAGE_EV_ERROR) {
            *e = ev.error;
            ok = false;
        }
        fflush(stdout);
        image_event_free(&ev);
    }
    image_job_free(job);
    return ok;
}

int main(int argc, char **argv)
{
    struct err e = { 0 };
    struct pool *pool;
    struct device *dev;
    struct image_model *model;
    struct memory m = { 0 };
    if (argc < 4) {
        fprintf(stderr, "usage: %s MODEL SIZE STEPS [threads]\n", argv[0]);
        return 2;
    }
    if (!pool_new(&pool, argc > 4 ? atoi(argv[4]) : 0, &e) || !device_cpu_open(&dev, pool, ~0u, &e))
        goto fail;
    const double t = clock_seconds();
    if (!image_load(&model, argv[1], NULL, dev, &e)) goto fail;
    look(&m);
    printf("{\"test\":\"load\",\"device\":\"%s\",\"family\":\"%s\",\"seconds\":%.3f,\"weights_mb\":%.0f}\n",
           device_name(dev), image_info(model)->family, clock_seconds() - t,
           (double)image_info(model)->weight_bytes / 1048576);
    fflush(stdout);
    if (!draw(model, atoi(argv[2]), atoi(argv[3]), &m, &e)) goto fail;
    printf("{\"test\":\"memory\",\"most_mb\":%.0f,\"anonymous_mb\":%.0f,\"file_mb\":%.0f}\n",
           (double)m.most / 1024, (double)m.anonymous / 1024, (double)m.file / 1024);
    image_free(model);
    device_close(dev);
    pool_free(pool);
    return 0;
fail:
    fprintf(stderr, "%s\n", e.msg);
    return 1;
}
