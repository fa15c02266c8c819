#define _GNU_SOURCE
#include "modules/log/sink.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lua/vm.h"
#include "modules/log/writer.h"

static ev_loop *loop;
static char folder[] = "/tmp/links-log-XXXXXX", path[64];
static links_log_sink *sink;
static log_line line;

enum { PATIENCE = 60000 };

static void setup(void)
{
    log_close_ms = PATIENCE;
    loop = ev_loop_new();
    cr_assert_eq(vm_open(loop), 0);
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/app.log", folder);
    log_line_init(&line);
}

static void remove_all(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

static void teardown(void)
{
    vm_close();
    log_close();
    ev_loop_free(loop);
    remove_all();
}

TestSuite(log_sink, .init = setup, .fini = teardown, .timeout = 120);

static links_log_options options_of(int kind)
{
    return (links_log_options){
        .kind = kind, .path = path, .buffer_size = 65536, .flush_interval = 1000, .mode = 0600};
}

static int open_with(links_log_options o) { return links_log_open_sink(&sink, &o); }

static int put(const char *message)
{
    links_log_begin(&line.view, LINKS_LOG_TEXT, 0, LINKS_LOG_INFO, "", 0, message, strlen(message));
    links_log_end(&line.view, 0);
    return links_log_put(sink, &line.view, LINKS_LOG_INFO, 0);
}

static char *read_file(const char *name)
{
    static char text[1 << 20];
    int fd = open(name, O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static int count_of(const char *text, const char *word)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, word)); at += strlen(word))
        n++;
    return n;
}

static void nap(void) { usleep(1000); }

static void await_stats(bool (*done)(void))
{
    for (int i = 0; i < PATIENCE; i++) {
        links_log_stats(sink);
        if (done())
            return;
        nap();
    }
    cr_assert_fail("waited too long");
}

static bool has_failed(void) { return sink->error != 0; }
static bool is_well(void) { return sink->error == 0 && sink->bytes > 0; }

Test(log_sink, writes_what_it_was_given_before_the_process_ends)
{
    cr_assert_eq(open_with(options_of(LINKS_LOG_TO_FILE)), 0);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(put("hello"), 0);
    links_log_drain();
    cr_assert_eq(count_of(read_file(path), "INFO  hello\n"), 100);
    put("last");
    links_log_free_sink(sink);
    log_close();
    cr_assert_eq(count_of(read_file(path), "last\n"), 1);
}

Test(log_sink, appends_to_what_is_there)
{
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(open_with(options_of(LINKS_LOG_TO_FILE)), 0);
        put("again");
        links_log_free_sink(sink);
        log_close();
    }
    cr_assert_eq(count_of(read_file(path), "again\n"), 3);
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
}

Test(log_sink, cannot_be_opened_where_there_is_no_folder)
{
    snprintf(path, sizeof(path), "%s/none/app.log", folder);
    cr_assert_eq(open_with(options_of(LINKS_LOG_TO_FILE)), -ENOENT);
}

Test(log_sink, drops_and_counts_what_a_full_buffer_cannot_take_and_tells_of_it)
{
    int fds[2];
    char text[65536];
    cr_assert_eq(pipe(fds), 0);
    fcntl(fds[0], F_SETPIPE_SZ, 4096);
    links_log_options o = options_of(LINKS_LOG_TO_FD);
    o.port = fds[1];
    o.buffer_size = 4096;
    o.flush_interval = 0; /* no loop runs here, whose timer would tell of the last lines */
    cr_assert_eq(open_with(o), 0);
    int dropped = 0;
    for (int i = 0; i < 1000; i++)
        dropped += put("a line that nobody reads");
    links_log_stats(sink);
    cr_assert_gt(dropped, 500);
    cr_assert_eq(sink->dropped, dropped);
    cr_assert_eq(sink->lines, 1000 - dropped);

    /* It may be told of in several lines. */
    size_t len = 0;
    int told = 0, lines = 0;
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    for (int i = 0; i < PATIENCE && told + lines < 1000; i++) {
        ssize_t n = read(fds[0], text + len, sizeof(text) - 1 - len);
        len += n > 0 ? (size_t)n : 0;
        text[len] = 0;
        told = 0;
        for (const char *at = text; (at = strstr(at, " dropped=")) && strchr(at, '\n'); at++)
            told += atoi(at + 9);
        lines = count_of(text, "nobody reads\n");
        nap();
    }
    cr_assert_eq(told, dropped);
    cr_assert_eq(lines, 1000 - dropped);
    links_log_free_sink(sink);
    log_close();
    close(fds[0]);
    close(fds[1]);
}

Test(log_sink, ends_with_the_process_though_its_reader_has_stopped)
{
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    fcntl(fds[0], F_SETPIPE_SZ, 4096);
    links_log_options o = options_of(LINKS_LOG_TO_FD);
    o.port = fds[1];
    cr_assert_eq(open_with(o), 0);
    for (int i = 0; i < 1000; i++)
        put("a line that nobody reads");
    links_log_free_sink(sink);
    log_close_ms = LOG_CLOSE_MS;
    log_close();
    /* The thread has a moment to see that it is to end. */
    close(fds[0]);
    sleep(2);
}

Test(log_sink, outlives_a_reader_who_has_left)
{
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    close(fds[0]);
    links_log_options o = options_of(LINKS_LOG_TO_FD);
    o.port = fds[1];
    o.flush_interval = 0;
    cr_assert_eq(open_with(o), 0);
    put("nobody");
    await_stats(has_failed);
    cr_assert_eq(sink->error, -EPIPE);
    links_log_free_sink(sink);
    log_close();
    close(fds[1]);
}

Test(log_sink, says_that_the_disk_is_full_and_keeps_what_it_can)
{
    strcpy(path, "/dev/full");
    links_log_options o = options_of(LINKS_LOG_TO_FILE);
    o.flush_interval = 0;
    o.buffer_size = 4096;
    cr_assert_eq(open_with(o), 0);
    for (int i = 0; i < 200; i++)
        put("lost");
    await_stats(has_failed);
    cr_assert_eq(sink->error, -ENOSPC);
    cr_assert_gt(sink->dropped, 0);
    cr_assert_eq(sink->bytes, 0);
    links_log_free_sink(sink);
}

Test(log_sink, writes_a_file_of_that_name_after_the_old_one_was_moved_away)
{
    char moved[80];
    cr_assert_eq(open_with(options_of(LINKS_LOG_TO_FILE)), 0);
    put("old");
    snprintf(moved, sizeof(moved), "%s.1", path);
    links_log_drain();
    cr_assert_eq(rename(path, moved), 0);
    links_log_reopen(sink);
    links_log_drain();
    put("new");
    links_log_drain();
    cr_assert(strstr(read_file(moved), "old\n"));
    cr_assert(strstr(read_file(path), "new\n"));
    cr_assert_not(strstr(read_file(path), "old\n"));
    links_log_free_sink(sink);
}

Test(log_sink, waits_for_a_folder_that_has_gone_to_come_back)
{
    cr_assert_eq(open_with(options_of(LINKS_LOG_TO_FILE)), 0);
    put("first");
    links_log_drain();
    remove_all();
    links_log_reopen(sink);
    await_stats(has_failed);
    cr_assert_eq(sink->error, -ENOENT);
    put("second");
    cr_assert_eq(mkdir(folder, 0700), 0);
    await_stats(is_well);
    for (int i = 0; i < PATIENCE && !strstr(read_file(path), "second\n"); i++)
        nap();
    cr_assert(strstr(read_file(path), "second\n"));
    links_log_free_sink(sink);
}

static bool has_dropped(void) { return sink->dropped > 0; }

Test(log_sink, keeps_and_counts_its_lines_while_its_folder_is_gone)
{
    links_log_options o = options_of(LINKS_LOG_TO_FILE);
    o.buffer_size = 4096;
    o.flush_interval = 0;
    cr_assert_eq(open_with(o), 0);
    put("first");
    links_log_drain();
    links_log_stats(sink);
    double before = sink->bytes;
    remove_all();
    put("second");
    await_stats(has_failed);
    cr_assert_eq(sink->error, -ENOENT);
    int lost = 0;
    for (int i = 0; i < 200; i++)
        lost += put("third") != 0;
    await_stats(has_dropped);
    cr_assert_eq(sink->dropped, lost);
    cr_assert_eq(sink->bytes, before);
    cr_assert_eq(mkdir(folder, 0700), 0);
    links_log_drain();
    cr_assert_eq(count_of(read_file(path), "second\n"), 1);
    cr_assert_eq(count_of(read_file(path), "third\n"), 200 - lost);
    links_log_free_sink(sink);
}

Test(log_sink, goes_on_with_the_old_file_where_no_descriptor_is_left)
{
    struct rlimit before, none;
    cr_assert_eq(open_with(options_of(LINKS_LOG_TO_FILE)), 0);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    links_log_reopen(sink);
    await_stats(has_failed);
    cr_assert_eq(sink->error, -EMFILE);
    put("still here");
    links_log_drain();
    setrlimit(RLIMIT_NOFILE, &before);
    cr_assert(strstr(read_file(path), "still here\n"));
    await_stats(is_well);
    links_log_free_sink(sink);
}

/* How many rotated files there are, and the lines of all. */
static int count_files(int *lines, int *packed)
{
    int n = 0;
    *lines = *packed = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char name[400];
        if (strncmp(entry->d_name, "app.log", 7) != 0)
            continue;
        n += strlen(entry->d_name) > 7;
        *packed += strstr(entry->d_name, ".gz") != NULL;
        snprintf(name, sizeof(name), "%s/%s", folder, entry->d_name);
        *lines += count_of(read_file(name), " line\n");
    }
    closedir(dir);
    return n;
}

Test(log_sink, rotates_by_size_and_keeps_as_many_as_it_may)
{
    int lines, packed;
    links_log_options o = options_of(LINKS_LOG_TO_FILE);
    o.rotate_size = 1000;
    o.keep = 3;
    cr_assert_eq(open_with(o), 0);
    for (int i = 0; i < 200; i++) {
        put("line");
        links_log_drain();
    }
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_leq(st.st_size, 1000);
    cr_assert_eq(count_files(&lines, &packed), 3);
    cr_assert_gt(lines, 60);
    links_log_free_sink(sink);
}

Test(log_sink, loses_no_line_when_several_processes_rotate_one_file)
{
    enum { PROCESSES = 4, LINES = 500 };
    links_log_options o = options_of(LINKS_LOG_TO_FILE);
    o.rotate_size = 4000;
    o.keep = 10000;
    for (int p = 0; p < PROCESSES; p++) {
        if (fork())
            continue;
        if (open_with(o) != 0)
            _exit(1);
        for (int i = 0; i < LINES; i++) {
            put("line");
            if (i % 7 == 0)
                links_log_drain();
        }
        links_log_drain();
        _exit(0);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        wait(&status);
        cr_assert_eq(status, 0);
    }
    int lines, packed;
    cr_assert_gt(count_files(&lines, &packed), 5);
    cr_assert_eq(lines, PROCESSES * LINES);
}

Test(log_sink, compresses_what_it_has_rotated)
{
    int lines, packed = 0;
    links_log_options o = options_of(LINKS_LOG_TO_FILE);
    o.rotate_size = 1000;
    o.keep = 5;
    o.compress = 1;
    cr_assert_eq(open_with(o), 0);
    for (int i = 0; i < 40; i++) {
        put("line");
        links_log_drain();
    }
    for (int i = 0; i < PATIENCE && !packed; i++) {
        count_files(&lines, &packed);
        nap();
    }
    cr_assert_gt(packed, 0);
    links_log_free_sink(sink);
}

static int listen_at(int type)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    strcpy(un.sun_path, path);
    int fd = socket(AF_UNIX, type, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    if (type == SOCK_STREAM)
        cr_assert_eq(listen(fd, 5), 0);
    return fd;
}

Test(log_sink, sends_a_datagram_without_a_line_end_for_each_line)
{
    char text[256];
    int fd = listen_at(SOCK_DGRAM);
    cr_assert_eq(open_with(options_of(LINKS_LOG_TO_DGRAM)), 0);
    put("one");
    put("two");
    links_log_drain();
    ssize_t n = recv(fd, text, sizeof(text), 0);
    cr_assert_eq(memcmp(text + n - 3, "one", 3), 0);
    n = recv(fd, text, sizeof(text), 0);
    cr_assert_eq(memcmp(text + n - 3, "two", 3), 0);
    links_log_free_sink(sink);
    close(fd);
}

Test(log_sink, connects_again_when_the_daemon_comes_back)
{
    char text[256];
    cr_assert_eq(open_with(options_of(LINKS_LOG_TO_DGRAM)), 0);
    put("early");
    links_log_drain();
    links_log_stats(sink);
    cr_assert_eq(sink->error, -ENOENT);
    int fd = listen_at(SOCK_DGRAM);
    ssize_t n = recv(fd, text, sizeof(text), 0);
    cr_assert_eq(memcmp(text + n - 5, "early", 5), 0);
    close(fd);
    unlink(path);
    fd = listen_at(SOCK_DGRAM);
    put("later");
    links_log_drain();
    n = recv(fd, text, sizeof(text), 0);
    cr_assert_eq(memcmp(text + n - 5, "later", 5), 0);
    links_log_free_sink(sink);
    close(fd);
}

Test(log_sink, begins_with_a_whole_line_after_a_stream_broke)
{
    char text[65536];
    links_log_options o = options_of(LINKS_LOG_TO_STREAM);
    o.buffer_size = 1 << 20;
    int fd = listen_at(SOCK_STREAM);
    cr_assert_eq(open_with(o), 0);
    for (int i = 0; i < 10000; i++)
        put("a line of the stream");
    links_log_reopen(sink); /* and so the thread is woken */
    int client = accept(fd, NULL, NULL);
    nap();
    cr_assert_gt(recv(client, text, 1000, 0), 0);
    close(client);
    put("a line of the stream"); /* where the system has taken all of the others */
    links_log_reopen(sink);
    client = accept(fd, NULL, NULL);
    ssize_t n = recv(client, text, sizeof(text) - 1, 0);
    cr_assert_gt(n, 60);
    cr_assert_eq(memcmp(text + 4, "-", 1), 0, "%.40s", text);
    cr_assert_eq(memcmp(text + 19, ".", 1), 0, "%.40s", text);
    close(client);
    close(fd);
    links_log_free_sink(sink);
}

Test(log_sink, of_a_queue_gives_its_lines_to_who_takes_them)
{
    const char *data;
    links_log_options o = options_of(LINKS_LOG_TO_QUEUE);
    o.buffer_size = 256;
    cr_assert_eq(open_with(o), 0);
    links_log_retain(sink);
    int dropped = 0;
    for (int i = 0; i < 10; i++)
        dropped += put("queued");
    cr_assert_gt(dropped, 0);
    cr_assert_eq(links_log_left(sink), 1);
    for (int i = 0; i < 10 - dropped; i++) {
        int n = links_log_take(sink, &data);
        cr_assert_eq(memcmp(data + n - 6, "queued", 6), 0);
        cr_assert_eq(sink->level, LINKS_LOG_INFO);
    }
    int n = links_log_take(sink, &data);
    cr_assert_gt(n, 0);
    cr_assert_eq(sink->level, LINKS_LOG_WARN);
    cr_assert(memmem(data, (size_t)n, " dropped=", 9));
    links_log_free_sink(sink);
    cr_assert_eq(links_log_take(sink, &data), LINKS_CLOSED);
    links_log_free_sink(sink);
}

Test(log_sink, writes_what_is_left_when_the_process_crashes)
{
    for (int i = 0; i < 2; i++) {
        int status;
        pid_t pid = fork();
        if (!pid) {
            struct rlimit none = {0, 0};
            setrlimit(RLIMIT_CORE, &none);
            signal(SIGSEGV, SIG_DFL);
            signal(SIGABRT, SIG_DFL);
            if (open_with(options_of(LINKS_LOG_TO_FILE)) != 0)
                _exit(1);
            put(i ? "before the abort" : "before the crash");
            raise(i ? SIGABRT : SIGSEGV);
            _exit(2);
        }
        waitpid(pid, &status, 0);
        cr_assert(WIFSIGNALED(status));
        cr_assert_eq(WTERMSIG(status), i ? SIGABRT : SIGSEGV);
    }
    cr_assert(strstr(read_file(path), "before the crash\n"));
    cr_assert(strstr(read_file(path), "before the abort\n"));
}
