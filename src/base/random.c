#define _DEFAULT_SOURCE
#include "random.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/random.h>
#endif

uint32_t random_bits(void)
{
    static _Thread_local uint32_t block[64];
    static _Thread_local unsigned left;
    if (!left) {
        if (getentropy(block, sizeof(block)) < 0) {
            perror("links: getentropy");
            abort(); /* to go on with what can be guessed would be worse */
        }
        left = sizeof(block) / sizeof(*block);
    }
    return block[--left];
}
