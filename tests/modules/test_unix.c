#include "modules/net/unix.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

static char folder[32];
static char path[64];

static void setup(void)
{
    strcpy(folder, "/tmp/links-unix-XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/s", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

TestSuite(unix_socket, .init = setup, .fini = teardown);

static int open_socket(unix_file *file, int unlink_stale)
{
    links_unix_options o = {.mode = 0600, .unlink_stale = unlink_stale, .uid = -1, .gid = -1};
    return unix_bind(file, path, strlen(path), &o);
}

Test(unix_socket, has_the_mode_that_was_asked_for_and_goes_when_it_is_removed)
{
    unix_file file;
    struct stat st;
    int fd = open_socket(&file, 1);
    cr_assert_geq(fd, 0);
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
    unix_file_remove(&file);
    unix_file_remove(&file);
    cr_assert_eq(stat(path, &st), -1);
    close(fd);
}

Test(unix_socket, leaves_no_file_behind_where_its_owner_cannot_be_set)
{
    unix_file file;
    links_unix_options o = {.mode = 0600, .unlink_stale = 1, .uid = 0, .gid = -1};
    cr_assert_eq(chmod(folder, 0777), 0);
    if (geteuid() == 0)
        cr_assert_eq(seteuid(12345), 0);
    cr_assert_eq(unix_bind(&file, path, strlen(path), &o), -EPERM);
    cr_assert_eq(access(path, F_OK), -1);
    if (getuid() == 0)
        cr_assert_eq(seteuid(0), 0);
}

Test(unix_socket, replaces_a_stale_file_only_where_asked_to)
{
    unix_file file, other;
    int fd = open_socket(&file, 0);
    cr_assert_geq(fd, 0);
    cr_assert_null(file.path);
    close(fd);
    cr_assert_eq(open_socket(&other, 0), -EADDRINUSE);
    fd = open_socket(&other, 1);
    cr_assert_geq(fd, 0);
    unix_file_remove(&other);
    close(fd);
}

Test(unix_socket, does_not_replace_one_that_somebody_listens_on)
{
    unix_file file, other;
    int fd = open_socket(&file, 1);
    cr_assert_eq(listen(fd, 1), 0);
    cr_assert_eq(open_socket(&other, 1), -EADDRINUSE);
    unix_file_remove(&file);
    close(fd);
}

Test(unix_socket, does_not_remove_a_file_that_is_another_by_now)
{
    unix_file file;
    int fd = open_socket(&file, 1);
    char moved[80];
    snprintf(moved, sizeof(moved), "%s.old", path);
    rename(path, moved);
    FILE *plain = fopen(path, "w");
    cr_assert(plain);
    fclose(plain);
    unix_file_remove(&file);
    cr_assert_eq(access(path, F_OK), 0);
    unlink(moved);
    close(fd);
}

Test(unix_socket, turns_paths_into_addresses_and_back)
{
    struct sockaddr_un un;
    char text[112];
    int len = unix_address(&un, path, strlen(path));
    cr_assert_gt(len, 0);
    cr_assert_eq(unix_path_of(&un, (socklen_t)len, text), (int)strlen(path));
    cr_assert_eq(memcmp(text, path, strlen(path)), 0);
    cr_assert_eq(unix_path_of(&un, sizeof(sa_family_t), text), 0);
    if (unix_has_abstract) {
        len = unix_address(&un, "@name", 5);
        cr_assert_eq(unix_path_of(&un, (socklen_t)len, text), 5);
        cr_assert_eq(memcmp(text, "@name", 5), 0);
    }
}

Test(unix_socket, refuses_paths_that_are_none)
{
    struct sockaddr_un un;
    char longest[200];
    memset(longest, 'x', sizeof(longest));
    cr_assert_eq(unix_address(&un, "", 0), -EINVAL);
    cr_assert_eq(unix_address(&un, "a\0b", 3), -EINVAL);
    cr_assert_eq(unix_address(&un, longest, sizeof(longest)), -ENAMETOOLONG);
    cr_assert_eq(unix_address(&un, longest, sizeof(un.sun_path)), -ENAMETOOLONG);
    cr_assert_gt(unix_address(&un, longest, sizeof(un.sun_path) - 1), 0);
}
