/*
 * What tests ask of valgrind, where its headers are installed: what is there to be counted, or to
 * race, is counted and raced in the other variants, and takes 30 times as long here.
 */
#ifndef LINKS_TESTS_DIRECT_VALGRIND_H
#define LINKS_TESTS_DIRECT_VALGRIND_H

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_ENABLE_ERROR_REPORTING
#endif

#endif
