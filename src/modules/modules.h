/*
 * The modules as a whole, for main.c: what must be started before Lua runs and ended after it.
 */
#ifndef LINKS_MODULES_MODULES_H
#define LINKS_MODULES_MODULES_H

#include "ev/ev.h"

/* Starts what the modules share (the flush step of the streams, pools). */
void modules_open(ev_loop *loop);

/* Ends it; the VM is closed by then, so every handle has been freed. */
void modules_close(ev_loop *loop);

/* Prints the versions of the libraries inside, a line each. */
void modules_print_versions(void);

#endif
