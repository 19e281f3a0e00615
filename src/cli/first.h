/* first.h - what somebody reads who types `hearth` and nothing else. */
#ifndef HEARTH_CLI_FIRST_H
#define HEARTH_CLI_FIRST_H

/* What is here, and the commands to go on with, to standard output. Returns the exit status. */
int first_steps(void);

#endif
