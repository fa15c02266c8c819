-- What C does for metrics: src/modules/metrics/metrics.h.
local ffi = require "ffi"

ffi.cdef [[
typedef struct links_metric {
    uint32_t size;
    uint32_t family;
    uint32_t cell;
    uint16_t kind;
    uint16_t nbounds;
    uint16_t len;
    uint16_t help_len;
    uint32_t unused;
    char bytes[];
} links_metric;
typedef struct links_slab {
    const char *records;
    const double *cells;
    uint32_t from, to;
    int32_t alive;
} links_slab;
int links_metrics_open(int workers);
int links_metrics_family(int kind, const char *name, size_t len, const char *help,
                                   size_t help_len, const double *bounds, int nbounds);
double *links_metrics_series(int family, const char *labels, size_t len);
void links_metrics_observe(double *cells, const double *bounds, int nbounds,
                                     double value);
int links_metrics_slab(int nth, links_slab *slab);
]]

return { C = ffi.C, COUNTER = 1, SUM = 2, MAX = 3, MIN = 4, HISTOGRAM = 5 }
