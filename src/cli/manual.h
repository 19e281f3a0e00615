/* manual.h - the manual page, made from the tables of commands and options. */
#ifndef HEARTH_CLI_MANUAL_H
#define HEARTH_CLI_MANUAL_H

/* hearth(1) in the man macros of troff, to standard output. */
void manual_print(void);

#endif
