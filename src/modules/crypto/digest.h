/*
 * The hashes by number, for the files of this folder.
 */
#ifndef LINKS_MODULES_CRYPTO_DIGEST_H
#define LINKS_MODULES_CRYPTO_DIGEST_H

#include <openssl/evp.h>

/* NULL for a number that nobody has. */
const EVP_MD *digest_md(int alg);

/* The name libcrypto knows it by. */
const char *digest_name(int alg);

#endif
