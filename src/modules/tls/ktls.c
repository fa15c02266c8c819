#include "modules/tls/ktls.h"

/* <openssl/bio.h> has two of these numbers for everybody, and the others in a comment: what libssl
 * says to BIOs, and any BIO that stands in between passes on. */
enum { FIRST = 72, SET_KEYS = 72, LAST = 76 };

BIO *ktls_new(SSL *ssl, int fd)
{
    if (!ktls_prepare(fd))
        return NULL;
    BIO *kernel = BIO_new_socket(fd, BIO_NOCLOSE);
    if (kernel)
        (void)SSL_set_options(ssl, SSL_OP_ENABLE_KTLS);
    return kernel;
}

bool ktls_is_on(BIO *kernel) { return kernel && BIO_get_ktls_send(kernel); }

bool ktls_is_ours(int command) { return command >= FIRST && command <= LAST; }

bool ktls_only_asks(int command)
{
    return command == BIO_CTRL_GET_KTLS_SEND || command == BIO_CTRL_GET_KTLS_RECV;
}

long ktls_ctrl(BIO *kernel, const SSL *ssl, int command, long number, void *data, bool is_clear)
{
    if (command == BIO_CTRL_GET_KTLS_RECV)
        return 0; /* what comes is read ahead, and decrypted here */
    if (command == SET_KEYS && (!number || !is_clear || SSL_version(ssl) != TLS1_3_VERSION))
        return 0;
    return BIO_ctrl(kernel, command, number, data);
}
