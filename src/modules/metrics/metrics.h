/*
 * Numbers that say what a program does: counters, gauges and histograms, in memory that all
 * processes of a cluster can read.
 *
 * Each process has a slab of its own, in which it alone writes: so counting is an addition to a
 * number in memory, without a lock, and what a process has counted is there when it is killed. A
 * slab is an array of cells and a list of records that say what they are. Its owner appends to the
 * list, and tells by one store how long it is. The lock of a slab is held by its owner for life; a
 * process that finds one without an owner goes on with it, and counts on from where it was left.
 */
#ifndef LINKS_MODULES_METRICS_METRICS_H
#define LINKS_MODULES_METRICS_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    LINKS_METRIC_COUNTER = 1,
    LINKS_METRIC_SUM = 2, /* a gauge, of which that of all processes is the sum, */
    LINKS_METRIC_MAX = 3, /* the greatest, */
    LINKS_METRIC_MIN = 4, /* the least */
    LINKS_METRIC_HISTOGRAM = 5,
};

/* A metric (family 0), or one series of it. */
typedef struct links_metric {
    uint32_t size;    /* of the record, with what follows: the next one is there */
    uint32_t family;  /* of a series: where its metric's record is, and 0 for a metric */
    uint32_t cell;    /* of a series: the first of its cells */
    uint16_t kind;    /* of a metric */
    uint16_t nbounds; /* of a histogram: the upper bounds of its buckets, first in `bytes` */
    uint16_t len;     /* of the name, or of a series' labels as they are written out */
    uint16_t help_len;
    uint32_t unused;
    char bytes[];
} links_metric;

/* What one process has. */
typedef struct links_slab {
    const char *records;
    const double *cells;
    uint32_t from, to; /* where the first record is, and the end */
    int32_t alive;     /* its process is there */
} links_slab;

/* Takes a slab for this process; in a worker, of the memory of its cluster, which has so many
 * workers; 0 for a process by itself. 0 or a failure: the process counts by itself then. Once is
 * enough. */
LINKS_API int links_metrics_open(int workers);

/* The metric of that name: the place of its record; LINKS_FULL, LINKS_TOO_LARGE. */
LINKS_API int links_metrics_family(int kind, const char *name, size_t len, const char *help,
                                   size_t help_len, const double *bounds, int nbounds);

/* The cells of the series that has those labels: one; of a histogram one for each bucket and for
 * those above all, and one for the sum. NULL where there is no room. */
LINKS_API double *links_metrics_series(int family, const char *labels, size_t len);

/* Puts a value into a histogram. */
LINKS_API void links_metrics_observe(double *cells, const double *bounds, int nbounds,
                                     double value);

/* The slab of the nth process (0: first): 1, or 0 beyond the last. */
LINKS_API int links_metrics_slab(int nth, links_slab *slab);

/* The descriptor that a master lends to its workers; made at first use, for so many of them. Or
 * -errno. */
int metrics_lend(int workers);

/* Lets go of the slab and the memory. */
void metrics_close(void);

#endif
