#include "base/mem.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where the address sanitizer is in, running out of memory is answered as malloc answers it. */
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

Test(mem, gives_something_to_free_even_for_nothing)
{
    void *none = mem_alloc(0);
    cr_assert_not_null(none);
    none = mem_realloc(none, 0);
    cr_assert_not_null(none);
    mem_free(none);
    mem_free(NULL);
}

Test(mem, clears_what_is_asked_for_as_zero)
{
    static const char zero[64];
    char *bytes = mem_zalloc(sizeof(zero));
    cr_assert_eq(memcmp(bytes, zero, sizeof(zero)), 0);
    mem_free(bytes);
}

Test(mem, copies_a_string_with_its_end)
{
    char text[] = "links";
    char *copy = mem_strdup(text);
    text[0] = 'L';
    cr_assert_str_eq(copy, "links");
    mem_free(copy);
}

Test(mem, keeps_the_bytes_when_it_grows)
{
    char *bytes = mem_alloc(4);
    memcpy(bytes, "link", 4);
    bytes = mem_realloc(bytes, 100000);
    cr_assert_eq(memcmp(bytes, "link", 4), 0);
    mem_free(bytes);
}

Test(mem, aborts_with_a_message_when_there_is_none_left)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        volatile size_t size = SIZE_MAX / 4;
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        mem_alloc(size);
        _exit(0);
    }
    close(ends[1]);
    char text[4096];
    size_t len = 0;
    for (ssize_t n; (n = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = 0;
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    cr_assert_not_null(strstr(text, "links: out of memory"), "it said: %s", text);
}
