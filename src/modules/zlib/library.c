#include "modules/zlib/library.h"

#include <dlfcn.h>
#include <stddef.h>

void *library_open(const char *const *names)
{
    void *library = NULL;
    for (; *names && !library; names++)
        library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
    return library;
}

bool library_find(void *library, const char *name, void *to)
{
    void *address = library ? dlsym(library, name) : NULL;
    *(void **)to = address;
    return address != NULL;
}
