/* What a child does first after fork. */
#pragma once

#include <sys/types.h>

#include "util.h"

/*
 * Closes every fd above 2 that is not among the count fds kept (negative ones are ignored, the
 * array is sorted in place). A child that does not exec gets rid of its parent's fds so.
 */
void process_keep_fds(int *fds, size_t count);

/* Opens /dev/null for those of the fds 0-2 that are closed: another file would become one. */
void process_fill_stdio(void);

/*
 * In a child that its parent ends: a terminal and a service manager send the signals that stop a
 * program to all of its processes, but only the parent may begin to stop. Nor is it suspended with
 * the parent, since others may wait for it. Call it after loop_signals_reset().
 */
void process_ignore_stop(void);

/*
 * In a child: makes the kernel kill it when its parent ends. Returns 0, or -ESRCH when the
 * parent, which had the pid parent, has ended already.
 */
int process_die_with(pid_t parent);

/*
 * Kills a child that was forked just now and that nobody can watch, and reaps it. It has had no
 * time to come to a device that it would have to be waited for.
 */
void process_kill_new(pid_t pid);

/*
 * execvp(3) that tells "not found" as shells do: -ENOENT if no directory of PATH has the file, also
 * where some of them may not be searched. Returns -errno, or not at all.
 */
int process_exec(char *const *argv);

/*
 * Whether a thread of a process waits for a device ("disk sleep" in proc(5)), and so could not be
 * killed just now. Not if it has ended.
 */
bool process_waits(pid_t pid);
/*
 * Whether none of the threads of a process that was killed can get on: all that have not ended wait
 * for a device, and the next thing that each does is to end.
 */
bool process_hangs(pid_t pid);

/* pidfd_open(2) and pidfd_send_signal(2): the fd or 0, or -errno. */
int process_pidfd_open(pid_t pid);
int process_pidfd_kill(int pidfd, int signo);
