/* actor.c - see actor.h. */
#include "cli/actor.h"

#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

struct actor actor_user(char user[ACTOR_USER])
{
    struct passwd p, *found = NULL;
    char room[4096];
    if (!getpwuid_r(getuid(), &p, room, sizeof room, &found) && found)
        snprintf(user, ACTOR_USER, "cli:%.70s", p.pw_name);
    else
        snprintf(user, ACTOR_USER, "cli:%u", (unsigned)getuid());
    return (struct actor){ user, "" };
}
