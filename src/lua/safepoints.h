/*
 * Where compiled code looks whether somebody wants it back.
 *
 * LuaJIT's profiler, in the mode "l", puts a look (IR_PROF: a test of one byte, and a snapshot) at
 * each line that it compiles. In the loop of a busy server that is a tenth of its instructions, and
 * most of these looks are of no use: what takes long is the program's code, or goes round a loop, or
 * calls C. So while a trace is recorded the mode is set anew for each instruction of it: it is on
 * where the trace begins, since whatever goes round comes by the beginning of one, and in all code
 * but that of links which every request runs; of that, on its first instruction, so that the line
 * that has called it has a look behind it.
 *
 * The mode is a number in LuaJIT's state. The function that sets it would throw away all compiled
 * code each time; so the number is set where it lies, which is found out by watching what that
 * function does. Where it is not found each line has its look.
 */
#ifndef LINKS_LUA_SAFEPOINTS_H
#define LINKS_LUA_SAFEPOINTS_H

#include <stdbool.h>

#include <lua.h>

/* How the profiler is started: with the only timer that LuaJIT would set for itself, which rings after
 * weeks of computing. */
#define SAFEPOINTS_MODE "li2000000000"

/* Takes the place of jit.attach: who attaches to an event is the only one to hear of it, and two
 * are ours. */
void safepoints_open(lua_State *L);

/* The profiler is about to start, in that mode; or to stop. */
void safepoints_begin(lua_State *L);
void safepoints_end(void);

/* Each line is to have its look, or not any more. What has been compiled is thrown away. */
void safepoints_everywhere(lua_State *L, bool everywhere);

#endif
