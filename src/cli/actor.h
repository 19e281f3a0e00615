/* actor.h - who does what a command does, for the audit: the user of this machine that runs it. */
#ifndef HEARTH_CLI_ACTOR_H
#define HEARTH_CLI_ACTOR_H

#include "service/account/audit.h"

enum { ACTOR_USER = 80 };

/* "cli:anna"; its text is in user. */
struct actor actor_user(char user[ACTOR_USER]);

#endif
