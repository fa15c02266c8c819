/*
 * Timers: a hierarchical wheel of one-millisecond ticks.
 *
 * Read a deadline as a number in base 64. A timer hangs on the level of the highest digit in which
 * its deadline differs from the wheel's tick, in the slot of that digit. So on every level the
 * occupied slots lie ahead of the tick's own digit, a lower level is due before a higher one, and
 * the next slot to visit is the lowest bit of the lowest bitmap that is not empty: no list is ever
 * searched. When the tick reaches a slot above level 0, that slot's timers move down; a timer
 * moves at most WHEEL_LEVELS - 1 times in its life. The place depends on the tick and the deadline
 * alone, so timers of one deadline are always in one list, in the order they were started.
 *
 * A deadline is the first tick that begins when the delay is over, so no timer fires early.
 */
#include <assert.h>

#include "loop.h"

enum { NS_PER_MS = 1000 * 1000, SLOT_NONE = -1, SLOT_SOON = WHEEL_LEVELS * WHEEL_SLOTS };

_Static_assert(sizeof(ev_timer) <= 48, "a timer is embedded in every connection and every task");

/* The wheel must reach a deadline from any time that a monotonic clock can show. */
_Static_assert(EV_TIMER_MAX_MS < (int64_t)1 << (WHEEL_LEVELS * WHEEL_BITS - 1), "wheel too small");

void timers_init(ev_loop *loop)
{
    wheel *w = &loop->wheel;
    w->tick_ms = loop->now_ms;
    for (int i = 0; i < WHEEL_LEVELS * WHEEL_SLOTS; i++)
        list_init(&w->slots[i]);
    list_init(&w->soon);
    list_init(&w->ripe);
}

/* --- on and off the wheel ------------------------------------------------------------------- */

static void hang(wheel *w, ev_timer *timer)
{
    assert(timer->at_ms >= w->tick_ms);
    uint64_t differs = (uint64_t)(timer->at_ms ^ w->tick_ms) | (WHEEL_SLOTS - 1);
    int level = (63 - __builtin_clzll(differs)) / WHEEL_BITS;
    assert(level < WHEEL_LEVELS);
    int digit = (int)(timer->at_ms >> (level * WHEEL_BITS)) & (WHEEL_SLOTS - 1);
    timer->slot = (int16_t)(level * WHEEL_SLOTS + digit);
    w->occupied[level] |= (uint64_t)1 << digit;
    list_push_back(&w->slots[timer->slot], &timer->link);
}

/* A timer that is about to fire is off its slot's list already, but still on one: taking it off
 * then finds its former slot empty or in other use, and the bit right in both cases. */
static void unhang(wheel *w, ev_timer *timer)
{
    int slot = timer->slot;
    list_remove(&timer->link);
    timer->slot = SLOT_NONE;
    if (slot != SLOT_SOON && list_empty(&w->slots[slot]))
        w->occupied[slot / WHEEL_SLOTS] &= ~((uint64_t)1 << slot % WHEEL_SLOTS);
}

void ev_timer_init(ev_timer *timer, ev_timer_cb *cb)
{
    *timer = (ev_timer){.cb = cb, .slot = SLOT_NONE};
    list_init(&timer->link);
}

bool ev_timer_active(const ev_timer *timer) { return timer->slot != SLOT_NONE; }

/* The first tick that begins `delay_ms` or more after the loop's time. */
static int64_t deadline_ms(const ev_loop *loop, int64_t delay_ms)
{
    return loop->now_ms + delay_ms + (loop->now_ns % NS_PER_MS != 0);
}

void ev_timer_start(ev_loop *loop, ev_timer *timer, int64_t delay_ms, int32_t repeat_ms)
{
    wheel *w = &loop->wheel;
    if (ev_timer_active(timer))
        unhang(w, timer);
    else
        loop->stats.timers++;
    timer->repeat_ms = repeat_ms > 0 ? repeat_ms : 0;
    if (delay_ms <= 0) {
        timer->at_ms = loop->now_ms;
        timer->slot = SLOT_SOON;
        list_push_back(&w->soon, &timer->link);
        return;
    }
    if (delay_ms > EV_TIMER_MAX_MS)
        delay_ms = EV_TIMER_MAX_MS;
    timer->at_ms = deadline_ms(loop, delay_ms);
    hang(w, timer);
}

void ev_timer_stop(ev_loop *loop, ev_timer *timer)
{
    if (!ev_timer_active(timer))
        return;
    unhang(&loop->wheel, timer);
    loop->stats.timers--;
}

/* --- the step of the turn --------------------------------------------------------------------- */

/* The lowest level that has timers, and when its first slot begins; false if there is none. */
static bool next_slot(const wheel *w, int *level, int *slot, int64_t *begins_ms)
{
    for (int l = 0; l < WHEEL_LEVELS; l++) {
        if (!w->occupied[l])
            continue;
        int digit = __builtin_ctzll(w->occupied[l]);
        int64_t above = w->tick_ms >> ((l + 1) * WHEEL_BITS);
        *level = l;
        *slot = l * WHEEL_SLOTS + digit;
        *begins_ms = (above << WHEEL_BITS | digit) << (l * WHEEL_BITS);
        return true;
    }
    return false;
}

int64_t timers_next_ms(const ev_loop *loop)
{
    const wheel *w = &loop->wheel;
    int level, slot;
    int64_t begins_ms;
    if (!list_empty(&w->soon))
        return loop->now_ms;
    return next_slot(w, &level, &slot, &begins_ms) ? begins_ms : -1;
}

/* Takes it off its list, arms it again if it repeats, and only then calls it: the callback may
 * stop it, start it otherwise, or free it. */
static void fire(ev_loop *loop, ev_timer *timer)
{
    list_remove(&timer->link);
    if (timer->repeat_ms) {
        timer->at_ms += timer->repeat_ms;
        if (timer->slot == SLOT_SOON || timer->at_ms <= loop->now_ms)
            timer->at_ms = deadline_ms(loop, timer->repeat_ms);
        hang(&loop->wheel, timer);
    } else {
        timer->slot = SLOT_NONE;
        loop->stats.timers--;
    }
    timer->cb(loop, timer);
}

static ev_timer *first_of(list *timers)
{
    return list_empty(timers) ? NULL : CONTAINER_OF(timers->next, ev_timer, link);
}

void timers_begin(ev_loop *loop) { list_move_all(&loop->wheel.ripe, &loop->wheel.soon); }

/* Those without a delay came in the order of the clock, so they mix with the wheel's by their
 * heads; of one deadline, those of the wheel were started earlier. */
static void fire_ripe(ev_loop *loop, int64_t before_ms)
{
    for (ev_timer *t; (t = first_of(&loop->wheel.ripe)) && t->at_ms < before_ms;)
        fire(loop, t);
}

/* What callbacks start meanwhile has a later deadline than `now_ms`, or waits on `soon`: this ends,
 * and I/O is polled before any of them. */
void timers_run(ev_loop *loop)
{
    wheel *w = &loop->wheel;
    int64_t now_ms = loop->now_ms;
    int level, slot;
    int64_t begins_ms;
    list due;
    list_init(&due);

    while (next_slot(w, &level, &slot, &begins_ms) && begins_ms <= now_ms) {
        fire_ripe(loop, begins_ms);
        w->tick_ms = begins_ms;
        w->occupied[level] &= ~((uint64_t)1 << slot % WHEEL_SLOTS);
        list_move_all(&due, &w->slots[slot]);
        for (ev_timer *t; (t = first_of(&due));) {
            if (level == 0) {
                fire(loop, t);
            } else {
                list_remove(&t->link);
                hang(w, t);
            }
        }
    }
    fire_ripe(loop, INT64_MAX);
    w->tick_ms = now_ms;
}
