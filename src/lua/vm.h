/*
 * The LuaJIT VM of the process: opened with links' own library in it, given a program to run,
 * closed. main.c is its only caller, and the tests.
 */
#ifndef LINKS_LUA_VM_H
#define LINKS_LUA_VM_H

#include <stdbool.h>

#include "ev/ev.h"

/* Opens the VM and the scheduler on `loop`. 0 or -ENOMEM. One per process at a time. */
int vm_open(ev_loop *loop);

/* Closes both: finalizers run, what still waits is forgotten. */
void vm_close(void);

/* What the command line asks for. The strings live until vm_close. */
typedef struct vm_program {
    char **argv; /* the command line, whole */
    int argc;
    int script; /* index of the script in argv, 0: none; its arguments follow */
    struct {
        char kind; /* 'e': code to run, 'l': a module to require */
        const char *text;
    } first[64]; /* done before the script, in this order */
    int nfirst;
    bool from_stdin;     /* the script is standard input */
    const char *tool;    /* one of links' own programs, to be run instead; its arguments follow */
    const char *workers; /* of the cluster that is to run it; NULL: none */
    bool is_worker;      /* it is one of a cluster's */
    bool is_service;     /* a service manager wants to hear of it */
    bool strict;         /* writing an undeclared global is an error */
} vm_program;

/* Spawns the program's main task: see lib/links/boot.lua. It runs as the loop turns. */
void vm_start(const vm_program *program);

/* The main task is over. */
bool vm_main_over(void);

/* It has failed in a way that lib/links/boot.lua could not catch. */
bool vm_main_failed(void);

/* What the main task waits for: a constant, NULL if it does not wait. */
const char *vm_main_waits(void);

/* Lua has asked the process to exit (core.exit); `code` gets the exit code. */
bool vm_exit_asked(int *code);

/* What the program leaves unsaid if it ends by itself now (core.lastWords); NULL: nothing. */
const char *vm_last_words(void);

/* Cancels every task, at the first call, and returns how many are not over. */
int vm_cancel_all(void);

/* Prints the versions of everything inside, a line each. */
void vm_print_versions(void);

#endif
