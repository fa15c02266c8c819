/*
 * Replays a corpus: calls a fuzz target once for each file named on the command line, and tells
 * in TAP what it did. A crash ends the process; the last "#" line names the file then.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes of the file, in a block of exactly their size so that ASan sees one byte too many. */
static uint8_t *file_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;

    uint8_t *data = NULL;
    long len = -1;
    if (fseek(file, 0, SEEK_END) == 0 && (len = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0)
        data = malloc(len ? (size_t)len : 1);
    if (data && fread(data, 1, (size_t)len, file) != (size_t)len) {
        free(data);
        data = NULL;
    }
    fclose(file);
    *size = (size_t)len;
    return data;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        printf("# %s\n", argv[i]);
        fflush(stdout);

        size_t size;
        uint8_t *data = file_read(argv[i], &size);
        if (data) {
            LLVMFuzzerTestOneInput(data, size);
            free(data);
            printf("ok - %s\n", argv[i]);
        } else {
            perror(argv[i]);
            printf("not ok - %s\n", argv[i]);
            failed = 1;
        }
    }
    return failed;
}
