/*
 * Files as answers, as Lua calls them (lib/links/http/static.lua): a folder whose files are found,
 * kept open or in memory, and sent, with what HTTP has to say about them (conditions, ranges,
 * encodings). Files are opened and looked at on threads; what is in the cache is answered at once.
 */
#ifndef LINKS_MODULES_HTTP_FILES_H
#define LINKS_MODULES_HTTP_FILES_H

#include "http.h"

enum {
    LINKS_FILES_NO_LINKS,     /* a symbolic link is as good as nothing */
    LINKS_FILES_LINKS_INSIDE, /* followed where they stay below the folder */
    LINKS_FILES_LINKS_ALL,
};

typedef struct links_http_files_options {
    const char *index;         /* the file that stands for its folder; "": none */
    const char *cache_control; /* the field's value; "": no such field */
    int cache_files;           /* how many are kept; 0: each is opened for its request */
    int cache_file_size;       /* up to so many bytes one is kept in memory */
    int cache_check;           /* ms that pass before a file is looked at again */
    int links;
    int dotfiles, etag, last_modified, ranges, gzip, zstd, br;
} links_http_files_options;

/* The fields that Lua may read. */
typedef struct links_http_files {
    double ticket; /* after LINKS_AGAIN: for the next call */
    double hits, loads;
    int32_t cached;
    int32_t slash; /* after -EISDIR: the path ends in a slash */
} links_http_files;

/* A folder; it needs not exist yet. Free by links_http_files_free, also while it is in use. */
LINKS_API links_http_files *links_http_files_new(const char *folder,
                                                 const links_http_files_options *options);
LINKS_API void links_http_files_free(links_http_files *files);

/* The media type of an extension (lower case, no dot; "": any other). */
LINKS_API void links_http_files_type(links_http_files *files, const char *extension,
                                     const char *type);

enum {
    LINKS_FILES_DECODED = 1, /* the path is no part of a URL: percent signs are its own */
};

/* Answers with a file. `path` is looked for below the folder; NULL: the path of the request
 * without its first `len` bytes. `ticket` is 0, and after LINKS_AGAIN what the files say. Answers
 * with another status than 200 pay no heed to conditions and ranges.
 *
 * 0: answered, the request is over; LINKS_CLOSED: so it is, the client has left. Otherwise it is
 * not: -ENOENT; -EISDIR for a folder without index; LINKS_UNSUPPORTED for a method other than GET
 * and HEAD; LINKS_HTTP_HEADERS_SENT; -errno. Parks. */
LINKS_API int links_http_files_send(links_http_files *files, links_http_req *r, const char *path,
                                    size_t len, int flags, int status, double ticket);

/* What the client says of a coding of the answer (Accept-Encoding): 0 to 1000, -1 for nothing. */
LINKS_API int links_http_accepts(const links_http_req *r, const char *coding);

#endif
