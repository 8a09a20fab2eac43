/*
 * What takes the view away when the daemon is killed. A dead mount would stay behind: in the
 * mount namespace that we share with others, and wherever it has propagated to.
 */
#pragma once

#include "base/loop.h"

struct guard;

/*
 * To be called before the view is mounted. Process 1 of a container takes everything with it when
 * it is killed, its mount namespace, too; so there the mounts from now on are kept from
 * propagating out of it. Elsewhere a process is started that waits for the daemon's end and then
 * unmounts. Returns 0 or -errno.
 */
int guard_new(struct loop *loop, const char *mountpoint, struct guard **ret_guard);
/* The process, or 0; and the same process for the program that is executed next. */
pid_t guard_pid(const struct guard *guard);
int guard_take(struct loop *loop, pid_t pid, struct guard **ret_guard);
/* The daemon ends in order: nothing is left to guard. Accepts NULL, returns NULL. */
struct guard *guard_free(struct guard *guard);
