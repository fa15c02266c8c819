/* The version of links: `links -v`, the Server field, the man page. */
#ifndef LINKS_VERSION_H
#define LINKS_VERSION_H

#define LINKS_VERSION "0.1.0"

#endif
