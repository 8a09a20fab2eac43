/*
 * Precedence over other programs on a busy CPU. What needs several threads in turn, each of which
 * waits for the CPU behind all programs that want it, takes longer than all of them together.
 *
 * Nice values count among the processes of a control group. Where no control group has a share of
 * the CPU, the kernel gives each session the same one (autogroup in sched(7)), and they count only
 * among the processes of a session; then the session has a nice value, too.
 *
 * A lower nice value takes CAP_SYS_NICE or an RLIMIT_NICE of 40 (setpriority(2)). Nothing here
 * blocks.
 */
#pragma once

#include <sys/types.h>

#include "util.h"

/*
 * Gives precedence to the calling process, which must have one thread, and not to its children
 * (SCHED_RESET_ON_FORK). Returns 0; -EALREADY if somebody has given it another nice value or
 * scheduling policy, which it keeps; or -errno.
 */
int priority_take(void);

/* Gives precedence to all threads of another process, or takes it back. */
void priority_of_process(pid_t pid, bool precedence);

/* The same for the session of the caller, if it leads one: else others are in it. */
void priority_of_session(bool precedence);
