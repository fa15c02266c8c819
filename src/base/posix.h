/*
 * What POSIX.1-2008 has and macOS names otherwise, or lacks.
 */
#ifndef LINKS_BASE_POSIX_H
#define LINKS_BASE_POSIX_H

#ifdef __APPLE__
#define st_atim   st_atimespec
#define st_mtim   st_mtimespec
#define st_ctim   st_ctimespec
#define fdatasync fsync
#endif

#endif
