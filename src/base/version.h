/* version.h - which hearth this is: a tag, with the commit behind it when there are commits since; "unknown" outside a repository. */
#ifndef HEARTH_BASE_VERSION_H
#define HEARTH_BASE_VERSION_H

extern const char hearth_version[];

#endif
