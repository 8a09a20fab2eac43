/*
 * A reader that stays on its client's CPU.
 *
 * A call that a client waits for costs two wake-ups. Where both are on one CPU they cost next to
 * nothing; where they are on two, each sends an interrupt to a CPU that may be asleep, which is
 * most of what the call costs, above all in virtual machines. The scheduler puts them on two: when
 * the reply wakes the client, this thread is still running on the client's CPU, and another one is
 * idle. So while one client makes one call after another, its reader
 *  - binds itself to the CPU that the client runs on, and follows it from there;
 *  - is of the policy SCHED_IDLE there: a CPU that runs nothing else counts as idle
 *    (select_idle_sibling() in kernel/sched/fair.c), and the client is woken where it was.
 *
 * A thread of that policy hardly runs where there is other work. So somebody who is not bound, the
 * watcher in workers.c, looks after it every one to eight milliseconds, and lets it go when it does
 * not get on (follow_release()); then there is a pause.
 *
 * To come back from SCHED_IDLE takes CAP_SYS_NICE, or an RLIMIT_NICE of 20 (sched(7)). Without it,
 * and where the client is in a pid namespace that is not seen from here, nothing of this happens.
 */
#pragma once

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/wire.h"

enum follow_state {
	FOLLOW_NEVER,	 /* not allowed to, or one CPU is all there is */
	FOLLOW_WATCHING, /* whether it is always the same client */
	FOLLOW_BOUND,	 /* to the client's CPU */
};

/* The one thread of a server that is bound: with several clients there is nobody to follow. */
struct follow_place {
	pthread_mutex_t lock; /* a leaf; for all below */
	int tid;	      /* 0: none */
	cpu_set_t mask;	      /* where it may run otherwise */

	atomic_ullong off_until_us; /* it did not pay */
};

/* One thread's own. */
struct follow {
	enum follow_state state;
	struct follow_place *place;
	uint32_t pid;	   /* whose requests come; a thread's id, as the kernel's */
	int stat_fd;	   /* its /proc/PID/stat, or -EBADF */
	int cpu;	   /* where we are bound to */
	unsigned streak;   /* requests of this client in a row */
	unsigned unlooked; /* since we looked where it is */
	unsigned restless; /* moves in quick succession */
	uint64_t answered_us;
	uint64_t aside_us; /* since when we handle what nobody waits for; 0: we do not */
};

/*
 * Whether a thread of this process can go to SCHED_IDLE and come back, and there is more than one
 * CPU to run on. Starts a thread to try. Does not block on a device.
 */
bool follow_possible(void);

void follow_place_init(struct follow_place *place);

/* possible: what follow_possible() said. The caller is the thread whose follow it is. */
void follow_init(struct follow *follow, struct follow_place *place, bool possible);
/* The thread may run everywhere again. */
void follow_done(struct follow *follow);

/* A request has been read and will be handled by this thread: where to be for it. */
void follow_request(struct follow *follow, const struct fuse_in_header *head);
/* It has been handled; what comes next tells where the client went on. */
void follow_answered(struct follow *follow);
/* This thread has something else to do than to serve one client: it may run everywhere again. */
void follow_leave(struct follow *follow);
/* It will have nothing to do for a while: nothing of its client is kept, either. */
void follow_rest(struct follow *follow);

static inline bool follow_is_bound(const struct follow *follow)
{
	return follow->state == FOLLOW_BOUND;
}

/*
 * By another thread, once a tick: whoever is bound has not read anything since the last one.
 * waited_for: although there was something to do. It may run everywhere again.
 */
void follow_release(struct follow_place *place, bool waited_for);

/* Before a thread is started: it would inherit where the caller is bound to. */
void follow_leave_caller(void);
