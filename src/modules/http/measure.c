#include "measure.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "modules/metrics/metrics.h"
#include "server.h"

enum {
    ABORTED = 499,      /* the status of a request whose client left before it was answered */
    ROUTES_MAX = 65535, /* that have a number, */
    COUNTED_MAX = 1000, /* and that are counted apart: the first that are asked for */
    STATUSES_MAX = 32,  /* of one of them, likewise */
    BOUNDS_MAX = 64,
};

bool http_measures;

/* The requests of one status. */
typedef struct tally {
    int status;
    double *cell;
} tally;

/* What is counted of a route; of number 0, of all requests without one. */
typedef struct route {
    char *labels;
    size_t len;
    double *duration; /* NULL: not asked for yet */
    tally *tallies;
    int ntallies;
} route;

static route *routes;
static int nroutes, routes_size;

static struct {
    int statuses, durations, counted;
    double *under_way, *received, *sent;
    double bounds[BOUNDS_MAX], lost[BOUNDS_MAX + 2]; /* where there is no room */
    int nbounds;
} all;

static int add_route(const char *labels, size_t len)
{
    if (nroutes == routes_size) {
        routes_size = routes_size ? routes_size * 2 : 16;
        routes = mem_realloc(routes, (size_t)routes_size * sizeof(route));
    }
    routes[nroutes] = (route){.labels = mem_alloc(len + 1), .len = len};
    memcpy(routes[nroutes].labels, labels, len);
    return nroutes++;
}

int links_http_route(const char *labels, size_t len)
{
    if (!nroutes)
        add_route("", 0);
    return nroutes <= ROUTES_MAX ? add_route(labels, len) : 0;
}

/* Where the requests of this status are counted: those that there is no room for with the ones that
 * have no route. */
static double *new_tally(route *of, int status)
{
    char text[16];
    double *cell = NULL;
    if (of == routes || of->ntallies < STATUSES_MAX) {
        int n = snprintf(text, sizeof(text), "status=\"%d\"", status);
        size_t before = of->len ? of->len + 1 : 0;
        char *labels = mem_alloc(before + (size_t)n);
        if (before) {
            memcpy(labels, of->labels, of->len);
            labels[of->len] = ',';
        }
        memcpy(labels + before, text, (size_t)n);
        cell = links_metrics_series(all.statuses, labels, before + (size_t)n);
        mem_free(labels);
    }
    return cell;
}

static double *tally_of(route *of, int status)
{
    for (int i = 0; i < of->ntallies; i++)
        if (of->tallies[i].status == status)
            return of->tallies[i].cell;
    double *cell = new_tally(of, status);
    if (!cell)
        cell = of == routes ? all.lost : tally_of(routes, status);
    of->tallies = mem_realloc(of->tallies, (size_t)(of->ntallies + 1) * sizeof(tally));
    of->tallies[of->ntallies++] = (tally){status, cell};
    return cell;
}

/* What a request is counted with: its route, unless there are too many. */
static route *route_of(const http_request *r)
{
    route *of = &routes[r->view.route];
    if (of->duration)
        return of;
    if (all.counted < COUNTED_MAX)
        of->duration = links_metrics_series(all.durations, of->labels, of->len);
    if (!of->duration)
        return routes;
    all.counted++;
    return of;
}

static void count(route *of, int status)
{
    *tally_of(of, status < 100 || status > 599 ? 599 : status) += 1;
}

void http_measure_begin(http_request *r)
{
    r->measured = true;
    *all.under_way += 1;
}

void http_measure_end(http_request *r)
{
    struct timespec now;
    route *of = route_of(r);
    r->measured = false;
    *all.under_way -= 1;
    *all.received += (double)r->head_len + (double)r->body_read;
    *all.sent += (double)r->res.sent;
    count(of, r->res.status ? r->res.status : ABORTED);
    clock_gettime(CLOCK_MONOTONIC, &now);
    double at = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    double seconds = at - (double)r->start_ns / 1e9;
    links_metrics_observe(of->duration, all.bounds, all.nbounds, seconds > 0 ? seconds : 0);
}

void http_measure_refused(http_conn *c, int status)
{
    if (c->req && c->req->measured)
        c->req->res.status = status; /* it is counted when it is over, which is at once */
    else
        count(routes, status);
}

void links_http_measure(int statuses, int durations, double *under_way, double *received,
                        double *sent, const double *bounds, int nbounds)
{
    all.statuses = statuses;
    all.durations = durations;
    all.under_way = under_way;
    all.received = received;
    all.sent = sent;
    all.nbounds = nbounds < BOUNDS_MAX ? nbounds : BOUNDS_MAX;
    for (int i = 0; i < all.nbounds; i++)
        all.bounds[i] = bounds[i];
    if (!nroutes)
        add_route("", 0);
    routes->duration = links_metrics_series(durations, "", 0);
    if (!routes->duration)
        routes->duration = all.lost;
    http_measures = true;
}
