#include "measure.h"

#include <stdio.h>
#include <time.h>

#include "modules/metrics/metrics.h"
#include "server.h"

enum {
    ABORTED = 499, /* the status of a request whose client left before it was answered */
    STATUSES = 600,
    BOUNDS_MAX = 64,
};

bool http_measures;

static struct {
    int statuses;
    double *by_status[STATUSES]; /* NULL: none yet, or no room */
    double *under_way, *received, *sent, *duration;
    double bounds[BOUNDS_MAX];
    int nbounds;
} all;

static void count(int status)
{
    char labels[32];
    if (status < 100 || status >= STATUSES)
        status = STATUSES - 1;
    double **cell = &all.by_status[status];
    if (!*cell) {
        int len = snprintf(labels, sizeof(labels), "status=\"%d\"", status);
        *cell = links_metrics_series(all.statuses, labels, (size_t)len);
    }
    if (*cell)
        **cell += 1;
}

void http_measure_begin(http_request *r)
{
    r->measured = true;
    *all.under_way += 1;
}

void http_measure_end(http_request *r)
{
    struct timespec now;
    r->measured = false;
    *all.under_way -= 1;
    *all.received += (double)r->head_len + (double)r->body_read;
    *all.sent += (double)r->res.sent;
    count(r->res.status ? r->res.status : ABORTED);
    clock_gettime(CLOCK_MONOTONIC, &now);
    double at = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    double seconds = at - (double)r->start_ns / 1e9;
    links_metrics_observe(all.duration, all.bounds, all.nbounds, seconds > 0 ? seconds : 0);
}

void http_measure_refused(http_conn *c, int status)
{
    if (c->req && c->req->measured)
        c->req->res.status = status; /* it is counted when it is over, which is at once */
    else
        count(status);
}

void links_http_measure(int statuses, double *under_way, double *received, double *sent,
                        double *duration, const double *bounds, int nbounds)
{
    all.statuses = statuses;
    all.under_way = under_way;
    all.received = received;
    all.sent = sent;
    all.duration = duration;
    all.nbounds = nbounds < BOUNDS_MAX ? nbounds : BOUNDS_MAX;
    for (int i = 0; i < all.nbounds; i++)
        all.bounds[i] = bounds[i];
    http_measures = true;
}
