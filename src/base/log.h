/* log.h - one line per event on standard error: time, level, text.
 *
 * The level is one of the two mutable variables of the process (the other is the stop flag). Thread safe: a line
 * is one write(2). Control characters in a message are written as \xNN, so that a client cannot forge a line. */
#ifndef HEARTH_BASE_LOG_H
#define HEARTH_BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

#endif
