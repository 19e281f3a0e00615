/* paths.h - taking this machine's folders out of a message before somebody else reads it. */
#ifndef HEARTH_BASE_PATHS_H
#define HEARTH_BASE_PATHS_H

/* Every path in msg that lies in `folder`, as it is written or as it resolves, is left with what stands behind the folder, and the folder
 * itself with its last part. A message that was cut off inside of the folder's name loses that piece. In place: it only becomes shorter. */
void paths_hide(char *msg, const char *folder);

#endif
