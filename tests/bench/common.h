/* What the helpers of the benchmark have in common. */
#pragma once

#include <stdint.h>

uint64_t bench_now_ns(void);

/* Prints what failed and errno, and ends the program. */
void bench_fail(const char *what) __attribute__((noreturn));
