/*
 * The threads that read requests and handle them.
 *
 * One thread reads, handles and reads again. A second one that waits in read() would be woken for
 * the next request in its turn, on another CPU and with cold caches: with one reader a stream of
 * requests is two to three times as fast where the CPUs do not sleep (tests/bench, rows open and
 * unlink). The price is that somebody else has to read while a request waits for a device:
 *  - who expects to wait calls workers_yield() first;
 *  - a watcher looks once a millisecond while there are requests (less often while one client gets
 *    on), and wakes another reader when the one that there is does not come back, or several when
 *    more requests come than one can handle. A client that makes one call after another has one
 *    request at a time, whatever is pending of those that it does not wait for. Large requests
 *    have two readers at once. The watcher sleeps when nothing happens.
 * While one client makes one call after another, the reader stays on the client's CPU (follow.h);
 * the watcher lets it go.
 * How many threads there can be is bounded by the gates, since only requests behind a gate wait.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/list.h"
#include "fs/follow.h"

struct request;
struct view;

struct workers {
	atomic_uint reading; /* threads in read() */
	atomic_uint wanted;  /* how many are to be there */
	atomic_uint taken;   /* requests read, to see that something happens */
	atomic_uint client;  /* whose request was the last that somebody waits for */
	atomic_bool several; /* since the last tick there was another one, */
	atomic_bool much;    /* and much data moved */
	atomic_bool watched;
	atomic_bool repeating; /* after a restart, until the first request that is new */
	unsigned wanted_max;
	bool may_follow; /* their clients, from CPU to CPU */
	struct follow_place place;

	pthread_mutex_t lock;	   /* for all below, and for going to sleep */
	pthread_cond_t work;	   /* somebody is to read */
	pthread_cond_t watch;	   /* watched has become true */
	struct list buffers;	   /* the memory of all that read */
	bool buffers_whole;	   /* all of it is there */
	unsigned parked;	   /* threads that wait for work */
	struct request *unstarted; /* for which there was no thread; the watcher tries again */
	bool starting;		   /* one has been started and does not read yet */
	bool stopped;
	void (*done)(int err, void *data);
	void *done_data;
};

/* Before view_start(). */
void workers_init(struct workers *workers);

/* Makes sure that somebody reads while the caller waits for a device. Takes workers->lock. */
void workers_yield(struct view *view);

/*
 * Before the first file is open whose writes come to us: makes sure that there is memory for them.
 * Takes workers->lock.
 */
void workers_expect_writes(struct view *view);

/*
 * A thread more for a request that waited at the gate and runs now. When none can be had it gets an
 * error, or waits if it must not get lost.
 */
void workers_run(struct request *req);
