/*
 * TLS that the system's kernel encrypts: once the handshake is over it is given the keys, and what
 * is written to the socket goes out in records. So files are sent without passing through the
 * process. libssl gives the keys away; what it has to say later (tickets, alerts) it says through
 * its own BIO for sockets.
 */
#ifndef LINKS_MODULES_TLS_KTLS_H
#define LINKS_MODULES_TLS_KTLS_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* Makes a socket ready for it; false where the kernel, or this kind of socket, does not have it.
 * (ktls_linux.c, ktls_bsd.c) */
bool ktls_prepare(int fd);

/* For a connection that is about to begin on a socket: the BIO to be asked, or NULL where it is not
 * to be had. */
BIO *ktls_new(SSL *ssl, int fd);

/* Whether the kernel encrypts what is written. */
bool ktls_is_on(BIO *kernel);

/* What libssl says about it to a BIO that stands before this one; 0: no. What is kept must have
 * left before (`is_clear`): it would be encrypted twice. */
bool ktls_is_ours(int command);
long ktls_ctrl(BIO *kernel, const SSL *ssl, int command, long number, void *data, bool is_clear);

/* Whether `command` only asks. */
bool ktls_only_asks(int command);

#endif
