/* version.c - the one file that is compiled again when the version changes (Makefile). */
#include "base/version.h"

const char hearth_version[] = HEARTH_VERSION;
