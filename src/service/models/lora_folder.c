/* lora_folder.c - see lora_folder.h. */
#include "service/models/lora_folder.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_weights(const char *name)
{
    size_t n = strlen(name), m = strlen(".safetensors");
    return name[0] != '.' && n > m && strcmp(name + n - m, ".safetensors") == 0;
}

/* The folder's only weight file; false: none, or several. */
static bool only_file(const char *dir, char *out, size_t size)
{
    int found = 0;
    bool fits = true;
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));) {
        if (!is_weights(f->d_name) || ++found > 1) continue;
        int n = snprintf(out, size, "%s/%s", dir, f->d_name);
        fits = n >= 0 && (size_t)n < size;
    }
    if (d) closedir(d);
    return found == 1 && fits && is_file(out);
}

bool lora_folder_find(const char *dir, const char *name, char **path, struct err *e)
{
    static const char *const end[] = { ".safetensors", "", "/adapter_model.safetensors",
                                       "/pytorch_lora_weights.safetensors" };
    char at[PATH_MAX];
    bool found = false, plain = *name && *name != '.' && !strchr(name, '/') && strlen(name) < 256;
    for (size_t i = 0; plain && !found && i < sizeof end / sizeof *end; i++) {
        found = snprintf(at, sizeof at, "%s/%s%s", dir, name, end[i]) < (int)sizeof at && is_file(at) &&
                is_weights(strrchr(at, '/') + 1);
    }
    if (plain && !found && snprintf(at, sizeof at, "%s/%s", dir, name) < (int)sizeof at) {
        char folder[PATH_MAX];
        memcpy(folder, at, sizeof folder);
        found = only_file(folder, at, sizeof at);
    }
    if (!found)
        return err_set(e, ERR_REQUEST, "no adapter is called \"%.100s\" in the server's folder of adapters",
                       name);
    *path = strdup(at);
    return *path || err_set(e, ERR_NOMEM, "out of memory");
}
