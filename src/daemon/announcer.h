/*
 * The process that makes names appear and vanish with a real mkdir(2) and rmdir(2) in the view,
 * because only these raise inotify events and drop the kernel's dentries. They wait for the
 * server, so the broker must not call them itself.
 */
#pragma once

#include "base/limits.h"
#include "base/loop.h"

struct announcer;

struct announcer_events {
	/* A process was started; the server must know its pid before it does anything. */
	void (*started)(pid_t pid, void *data);
	/* A request ended, err as from the system call. */
	void (*done)(uint32_t id, bool make, int err, void *data);
	void *data;
};

/* mountpoint: where the view is mounted; copied. Nothing is started. Returns 0 or -ENOMEM. */
int announcer_new(struct loop *loop, const char *mountpoint, const struct announcer_events *events,
		  struct announcer **ret_announcer);
/* Kills the process and forgets what is queued. Accepts NULL, returns NULL. */
struct announcer *announcer_free(struct announcer *announcer);

/*
 * Starts the process, once the view can be used; calls events->started. Returns 0, also when there
 * was a shortage (util.h) and it will be tried again, or -errno.
 */
int announcer_start(struct announcer *announcer);
/* The process, or 0. */
pid_t announcer_pid(const struct announcer *announcer);
/* Kills the process. */
void announcer_stop(struct announcer *announcer);

/*
 * Queues a mkdir or an rmdir; they are done one after another, in order, and each is told with
 * events->done, never from within this call. Returns 0 or -ENOMEM.
 */
int announcer_queue(struct announcer *announcer, uint32_t id, bool make, const char *name);
