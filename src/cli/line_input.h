/* line_input.h - lines that a person types at a terminal, with editing and history.
 *
 * Ctrl-C while a line is typed drops that line and says so, instead of ending the process or being swallowed.
 * Threads   one owner. Signals: the caller's SIGINT handler sets the flag given to line_input_open(). */
#ifndef HEARTH_CLI_LINE_INPUT_H
#define HEARTH_CLI_LINE_INPUT_H

#include <stdatomic.h>
#include <stdbool.h>

struct line_input;

/* history_path: the file that lines are kept in, made readable for its owner alone; NULL: none. interrupted is cleared whenever a line is
 * begun. NULL when there is no memory or no terminal. Free with line_input_close(), which writes the history. */
struct line_input *line_input_open(const char *history_path, atomic_bool *interrupted);
void line_input_close(struct line_input *in);

enum line_kind { LINE_TEXT, LINE_INTERRUPTED, LINE_END };

/* The next line without its newline; *line is malloc'ed and the caller's with LINE_TEXT. */
enum line_kind line_input_next(struct line_input *in, const char *prompt, char **line);

/* Keeps a message in the history, one entry however many lines it has. */
void line_input_remember(struct line_input *in, const char *message);

#endif
