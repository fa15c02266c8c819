/*
 * What a service tells its service manager, by the protocol of systemd (sd_notify(3)): assignments
 * in one datagram to the socket that NOTIFY_SOCKET names. lib/links/process/notify.lua says when.
 */
#ifndef LINKS_MODULES_PROCESS_NOTIFY_H
#define LINKS_MODULES_PROCESS_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and takes them out of the environment. */
void notify_open(void);
void notify_close(void);

/* The path of the socket; NULL: nobody wants to hear. */
LINKS_API const char *links_notify_socket(void);

/* Within how many microseconds it wants to hear again and again; 0: it does not. */
LINKS_API double links_notify_watchdog(void);

/* Sends assignments with line ends between them. Where the socket is full it waits, a second at
 * most, if `insists`. 0, LINKS_NOT_FOUND where nobody wants to hear, or -errno. */
LINKS_API int links_notify(const char *text, size_t len, int insists);

#endif
