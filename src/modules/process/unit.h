/*
 * The C side of the module "process", for main.c and the other modules: what has to be opened and
 * closed, and the end of the process.
 */
#ifndef LINKS_MODULES_PROCESS_UNIT_H
#define LINKS_MODULES_PROCESS_UNIT_H

#include <stdbool.h>

#include "ev/ev.h"

/* Called by modules_open and modules_close. */
void children_open(ev_loop *loop);
void children_close(void);
void signals_close(ev_loop *loop);
void process_close(void);
void pid_files_close(void);

/* Our end of the way to the master whose place we are to take; the caller's from then on. -1: there
 * is none. */
int process_take_upgrade(void);

/* Asks the children that are not detached to end, and returns how many have not. */
int children_end(void);

/* Keeps the command line for Lua; `argv` lives as long as the process. */
void process_arguments(int argc, char **argv);

/* --- the end of the process: ending.c ------------------------------------------------------ */

/* Takes SIGINT and SIGTERM, unless they are ignored, and SIGPIPE. The first SIGINT or SIGTERM
 * stops the loop; a second one, or two seconds in which Lua does not come back to the loop, end
 * the process at once. */
void ending_open(ev_loop *loop);
void ending_close(ev_loop *loop);

/* Process was asked to end by a signal or with a code: it is not the loop that ran dry. */
bool ending_asked(void);

/* After the loop has stopped: lets the program do what it has for its end; then, where it was
 * asked to end, cancels all tasks and gives them and the children a moment to clean up. */
void ending_wind_down(ev_loop *loop, int code);

/* The last call of main: dies of the signal, or returns the exit code. */
int ending_finish(void);

/* --- one per system ------------------------------------------------------------------------ */

/* See process.h. */
int process_program(char *path, size_t size);
int process_set_title(const char *title);
int process_core_pattern(char *pattern, size_t size);

/* Bytes that ru_maxrss of getrusage(2) counts in. */
extern const int process_maxrss_unit;

#endif
