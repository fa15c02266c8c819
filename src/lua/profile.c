#include "lua/profile.h"

#include <errno.h>
#include <lauxlib.h>
#include <luajit.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>

#include "base/mem.h"

enum {
    DEPTH = 64,         /* frames of a stack */
    TABLE_SIZE = 16384, /* places for stacks that differ, a power of two */
    STACKS_MAX = 12288,
};

/* The only timer that LuaJIT would set for itself: it rings after weeks of computing. */
#define MODE "li2000000000"

typedef struct stack {
    char *text; /* NULL: a free place */
    size_t len;
    uint64_t samples;
} stack;

static struct {
    int wanted;
    bool lent; /* the program profiles by itself */
    bool on;   /* atomic */
    struct sigaction luajit;
    void (*on_signal)(void);

    bool sampling;
    stack *stacks;
    int nstacks;
    uint64_t lost; /* samples of stacks that there was no room for */
} all;

bool profile_is_on(void) { return __atomic_load_n(&all.on, __ATOMIC_ACQUIRE); }

void profile_on_signal(void (*fn)(void)) { all.on_signal = fn; }

/* --- samples ---------------------------------------------------------------------------------- */

static uint32_t hash_of(const char *text, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)text[i]) * 16777619u;
    return h;
}

static void count(const char *text, size_t len, int samples)
{
    uint32_t at = hash_of(text, len);
    for (;; at++) {
        stack *s = &all.stacks[at & (TABLE_SIZE - 1)];
        if (!s->text) {
            if (all.nstacks == STACKS_MAX) {
                all.lost += (uint64_t)samples;
                return;
            }
            all.nstacks++;
            s->text = memcpy(mem_alloc(len), text, len);
            s->len = len;
        }
        if (s->len == len && memcmp(s->text, text, len) == 0) {
            s->samples += (uint64_t)samples;
            return;
        }
    }
}

static void append(char *to, size_t size, size_t *len, const char *text, size_t n)
{
    if (n > size - *len)
        n = size - *len;
    memcpy(to + *len, text, n);
    *len += n;
}

/* The functions from the outermost in, then the line, then what LuaJIT itself was doing. */
static void on_sample(void *data, lua_State *L, int samples, int vmstate)
{
    char text[8192];
    size_t len = 0, n;
    (void)data;
    if (!all.sampling)
        return;
    const char *part = luaJIT_profile_dumpstack(L, "FZ;", -DEPTH, &n);
    append(text, sizeof(text), &len, part, n);
    part = luaJIT_profile_dumpstack(L, "l", 1, &n);
    if (n) {
        append(text, sizeof(text), &len, ";", 1);
        append(text, sizeof(text), &len, part, n);
    }
    if (vmstate == 'G')
        append(text, sizeof(text), &len, ";[garbage collector]", 20);
    else if (vmstate == 'J')
        append(text, sizeof(text), &len, ";[compiler]", 11);
    count(text, len, samples);
}

static void set_timer(int interval_ms)
{
    struct itimerval timer = {0};
    timer.it_value.tv_sec = timer.it_interval.tv_sec = interval_ms / 1000;
    timer.it_value.tv_usec = timer.it_interval.tv_usec = interval_ms % 1000 * 1000;
    setitimer(ITIMER_PROF, &timer, NULL);
}

/* --- on and off ------------------------------------------------------------------------------- */

static void on_sigprof(int signum)
{
    int error = errno;
    if (all.on_signal)
        all.on_signal();
    all.luajit.sa_handler(signum);
    errno = error;
}

static void turn_on(lua_State *L)
{
    if (all.on || all.lent || !all.wanted)
        return;
    luaJIT_profile_start(L, MODE, on_sample, NULL);
    struct sigaction ours = {.sa_handler = on_sigprof, .sa_flags = SA_RESTART};
    sigemptyset(&ours.sa_mask);
    sigaction(SIGPROF, &ours, &all.luajit);
    __atomic_store_n(&all.on, true, __ATOMIC_RELEASE);
}

/* A signal that is on its way still finds a handler: LuaJIT puts back what was there before it,
 * which would end the process. */
static void turn_off(lua_State *L)
{
    if (!all.on)
        return;
    __atomic_store_n(&all.on, false, __ATOMIC_RELEASE);
    all.sampling = false;
    luaJIT_profile_stop(L);
    struct sigaction none = {.sa_handler = SIG_IGN};
    sigemptyset(&none.sa_mask);
    sigaction(SIGPROF, &none, NULL);
}

void profile_want(lua_State *L, bool wanted)
{
    all.wanted += wanted ? 1 : -1;
    if (wanted)
        turn_on(L);
    else if (!all.wanted)
        turn_off(L);
}

void profile_close(lua_State *L)
{
    all.wanted = 0;
    turn_off(L);
    all.lent = false;
}

/* --- for Lua ---------------------------------------------------------------------------------- */

static void free_stacks(void)
{
    for (int i = 0; all.stacks && i < TABLE_SIZE; i++)
        mem_free(all.stacks[i].text);
    mem_free(all.stacks);
    all.stacks = NULL;
    all.nstacks = 0;
    all.lost = 0;
}

/* profileStart(interval in ms) -> boolean: begins to sample; false where somebody does already. */
static int core_profile_start(lua_State *L)
{
    bool possible = !all.sampling && !all.lent;
    if (possible) {
        profile_want(L, true);
        free_stacks();
        all.stacks = mem_zalloc(TABLE_SIZE * sizeof(stack));
        all.sampling = true;
        set_timer((int)luaL_checkinteger(L, 1));
    }
    lua_pushboolean(L, possible);
    return 1;
}

/* profileStop() -> {stack = samples}, samples that were lost: nil where nobody samples. */
static int core_profile_stop(lua_State *L)
{
    if (!all.stacks)
        return 0;
    all.sampling = false;
    set_timer(0);
    lua_newtable(L);
    for (int i = 0; i < TABLE_SIZE; i++) {
        const stack *s = &all.stacks[i];
        if (!s->text)
            continue;
        lua_pushlstring(L, s->text, s->len);
        lua_pushnumber(L, (lua_Number)s->samples);
        lua_rawset(L, -3);
    }
    lua_pushnumber(L, (lua_Number)all.lost);
    free_stacks();
    profile_want(L, false);
    return 2;
}

/* profileLend(boolean): there is one profiler; the program has it, or has done with it. */
static int core_profile_lend(lua_State *L)
{
    bool lent = lua_toboolean(L, 1);
    if (lent)
        turn_off(L);
    all.lent = lent;
    if (!lent)
        turn_on(L);
    return 0;
}

void profile_add(lua_State *L)
{
    lua_pushcfunction(L, core_profile_start);
    lua_setfield(L, -2, "profileStart");
    lua_pushcfunction(L, core_profile_stop);
    lua_setfield(L, -2, "profileStop");
    lua_pushcfunction(L, core_profile_lend);
    lua_setfield(L, -2, "profileLend");
}
