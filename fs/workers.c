#include "workers.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include "creds.h"
#include "spin.h"
#include "view_internal.h"

#define PARKED_MAX  8 /* threads kept for the next burst */
#define READERS_MAX 4

/* The watcher's clock, in ticks. */
#define TICK_NS	    1000000L
#define TICK_LONG   8  /* times as long, when there is one client, and it gets on */
#define TICKS_ALONE 4  /* of one client that gets on: then a tick is twice as long */
#define TICKS_BUSY  8  /* with a request pending at each: one reader more */
#define CALM	    20 /* as long with none pending: one less */
#define TICKS_STILL 64 /* without any request: it goes to sleep */

static void *reader(void *data);

static int thread_start(void *(*fn)(void *data), void *data)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	follow_leave_caller();
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, 512 << 10);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = -pthread_create(&thread, &attr, fn, data);
	(void)pthread_attr_destroy(&attr);
	return r;
}

static unsigned cpus_usable(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return 1; /* more than 1024 of them, or not allowed */
	return (unsigned)CPU_COUNT(&cpus);
}

void workers_init(struct workers *workers)
{
	(void)pthread_mutex_init(&workers->lock, NULL);
	(void)pthread_cond_init(&workers->work, NULL);
	(void)pthread_cond_init(&workers->watch, NULL);
	follow_place_init(&workers->place);
	list_init(&workers->buffers);
	workers->wanted = 1;
	workers->wanted_max = MIN(READERS_MAX, cpus_usable());
}

/* Whether the caller is to read now; if so, it counts as reading. */
static bool reader_admit(struct workers *w)
{
	unsigned reading = atomic_load(&w->reading);

	do {
		if (reading >= atomic_load(&w->wanted))
			return false;
	} while (!atomic_compare_exchange_weak(&w->reading, &reading, reading + 1));
	return true;
}

/* Waits until somebody is to read. Returns false when this thread is one too many. */
static bool reader_park(struct workers *w)
{
	bool stay;

	pthread_mutex_lock(&w->lock);
	while ((stay = !w->stopped) && !reader_admit(w)) {
		stay = w->parked < PARKED_MAX;
		if (!stay)
			break;
		w->parked++;
		pthread_cond_wait(&w->work, &w->lock);
		w->parked--;
	}
	pthread_mutex_unlock(&w->lock);
	return stay;
}

/* A thread that was started to read is there, or there will be none. */
static void reader_started(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	w->starting = false;
	pthread_mutex_unlock(&w->lock);
}

/*
 * One thread more that tries to read; one at a time, or a burst of requests would start many before
 * the first of them reads. A thread that cannot be had is tried for again.
 */
static void reader_call(struct view *view)
{
	struct workers *w = &view->workers;
	bool start;

	pthread_mutex_lock(&w->lock);
	start = w->parked == 0 && !w->starting && !w->stopped;
	w->starting |= start;
	pthread_mutex_unlock(&w->lock);
	if (!start)
		pthread_cond_signal(&w->work); /* who wakes up finds the lock free */
	else if (thread_start(reader, view) < 0)
		reader_started(w);
}

void workers_yield(struct view *view)
{
	if (atomic_load(&view->workers.reading) == 0)
		reader_call(view);
}

/* The last reader has something to do: it is looked after from now on. */
static void watch_begin(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->watched, true);
	pthread_cond_signal(&w->watch);
	pthread_mutex_unlock(&w->lock);
}

/*
 * The connection has ended. The daemon is told at once: other threads may hang on a dead device
 * for ever.
 */
static void stop(struct workers *w, int err)
{
	bool first;

	pthread_mutex_lock(&w->lock);
	first = !w->stopped;
	w->stopped = true;
	pthread_cond_broadcast(&w->work);
	pthread_cond_broadcast(&w->watch);
	pthread_mutex_unlock(&w->lock);
	if (first) /* ENODEV: unmounted, the normal end */
		w->done(err == -ENODEV ? 0 : err, w->done_data);
}

static bool request_is_again(const char *buf, size_t size)
{
	const struct fuse_in_header *head = (const struct fuse_in_header *)buf;

	return size >= sizeof(*head) && head->unique & WIRE_UNIQUE_RESEND;
}

/*
 * After a read. What is sent again after a restart comes before all else and never waits (gate.c):
 * one reader keeps its order, and nobody watches until the first request that is new.
 */
static void reader_took(struct workers *w, bool again)
{
	if (!again)
		atomic_store(&w->repeating, false);
	atomic_fetch_add(&w->taken, 1);
	if (atomic_fetch_sub(&w->reading, 1) == 1 && !again && !atomic_load(&w->watched))
		watch_begin(w);
}

/*
 * Whether a second reader could be of use: what one client does not wait for keeps nobody waiting.
 * (Clients of a pid namespace that is not seen from here have no number: there may be several.)
 * While much data moves there is one at once, so that nobody has to be called for each request.
 */
static void note_request(struct workers *w, const struct fuse_in_header *head)
{
	bool another = head->pid == 0 || head->pid != atomic_load(&w->client);
	unsigned one = 1;

	if (another && request_is_waited_for(head)) {
		atomic_store(&w->client, head->pid);
		atomic_store(&w->several, true);
	}
	if (!request_moves_much(head))
		return;
	atomic_store(&w->much, true);
	if (w->wanted_max > 1)
		(void)atomic_compare_exchange_strong(&w->wanted, &one, 2);
}

/*
 * The only reader looks for a while before it sleeps; of several, one would do so in vain, and one
 * that is on the client's CPU would keep it from running.
 */
static ssize_t read_request(struct view *view, struct spin *spin, bool bound, char *buf)
{
	ssize_t n;

	if (bound || atomic_load(&view->workers.wanted) > 1)
		return channel_read(&view->channel, buf);
	spin_begin(spin, view->channel.fd);
	n = channel_read(&view->channel, buf);
	spin_end(spin);
	return n;
}

/* Whether the caller is to read; it may have waited until then. */
static bool reader_stays(struct workers *w, struct follow *follow)
{
	if (reader_admit(w))
		return true;
	follow_rest(follow);
	return reader_park(w);
}

static void read_requests(struct view *view, char *buf)
{
	struct workers *w = &view->workers;
	struct spin spin = {0};
	struct follow follow;

	follow_init(&follow, &w->place, w->may_follow);
	while (reader_stays(w, &follow)) {
		ssize_t n = read_request(view, &spin, follow_is_bound(&follow), buf);

		reader_took(w, n < 0 || request_is_again(buf, (size_t)n));
		if (n >= 0) {
			note_request(w, (const struct fuse_in_header *)buf);
			follow_request(&follow, (const struct fuse_in_header *)buf);
			view_dispatch(view, buf, (size_t)n);
			follow_answered(&follow);
		} else if (n != -EAGAIN) {
			stop(w, (int)n);
			break;
		}
	}
	follow_done(&follow);
}

/* A reader's memory: what is written begins at a page. */
#define BUFFER_MAP (4096 + CHANNEL_MAX_WRITE)
#define BUFFER_FEW (4 * 4096)

struct buffer {
	struct list link; /* workers->buffers */
};
_Static_assert(sizeof(struct buffer) <= 4096 - CHANNEL_WRITE_OFFSET, "it fits before a request");

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; passthrough is newer */
#endif

/* Under the lock. Not by writing to it: its reader may be reading. */
static void buffer_complete(struct buffer *buffer)
{
	(void)madvise(buffer, BUFFER_MAP, MADV_POPULATE_WRITE);
}

/*
 * The memory is there before the first request: a page that is missing while the kernel copies a
 * request cannot be had any more once the process has been killed, and then the request fails
 * with EIO instead of being sent again (fuse_dev_do_read, faultin_page). With passthrough the data
 * of writes do not come this way: then the rest is there before a file is open whose writes do.
 */
static struct buffer *buffer_map(struct view *view)
{
	struct workers *w = &view->workers;
	size_t ready = view->channel.features.passthrough ? BUFFER_FEW : BUFFER_MAP;
	char *map = mmap(NULL, BUFFER_MAP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	struct buffer *buffer = (struct buffer *)map;

	if (map == MAP_FAILED)
		return NULL;
	for (size_t at = 0; at < ready; at += 4096)
		*(volatile char *)(map + at) = 0;
	pthread_mutex_lock(&w->lock);
	list_append(&w->buffers, &buffer->link);
	if (w->buffers_whole)
		buffer_complete(buffer);
	pthread_mutex_unlock(&w->lock);
	return buffer;
}

static void buffer_unmap(struct workers *w, struct buffer *buffer)
{
	pthread_mutex_lock(&w->lock);
	list_remove(&buffer->link);
	pthread_mutex_unlock(&w->lock);
	(void)munmap(buffer, BUFFER_MAP);
}

void workers_expect_writes(struct view *view)
{
	struct workers *w = &view->workers;

	if (!view->channel.features.passthrough)
		return;
	pthread_mutex_lock(&w->lock);
	if (!w->buffers_whole) {
		list_for_each (it, &w->buffers)
			buffer_complete(CONTAINER_OF(it, struct buffer, link));
	}
	w->buffers_whole = true;
	pthread_mutex_unlock(&w->lock);
}

static void *reader(void *data)
{
	struct view *view = data;
	struct buffer *buffer = buffer_map(view);
	int r = creds_thread_start();

	reader_started(&view->workers);
	if (!buffer)
		return NULL;
	if (r == 0)
		read_requests(view, (char *)buffer + 4096 - CHANNEL_WRITE_OFFSET);
	else
		stop(&view->workers, r);
	buffer_unmap(&view->workers, buffer);
	return NULL;
}

static void no_thread_for(struct request *req)
{
	struct workers *w = &req->view->workers;

	while (req && view_may_refuse(req))
		req = view_refuse(req, -EAGAIN);
	if (!req)
		return;
	pthread_mutex_lock(&w->lock);
	req->next = w->unstarted;
	w->unstarted = req;
	pthread_mutex_unlock(&w->lock);
	watch_begin(w);
}

/* Handles what waited at a gate, then goes. */
static void *runner(void *data)
{
	struct request *req = data;

	if (creds_thread_start() == 0)
		view_run(req);
	else
		no_thread_for(req);
	return NULL;
}

void workers_run(struct request *req)
{
	if (thread_start(runner, req) < 0)
		no_thread_for(req);
}

/* For what no thread could be had before. */
static void start_again(struct workers *w)
{
	struct request *req;
	struct request *next;

	pthread_mutex_lock(&w->lock);
	req = w->unstarted;
	w->unstarted = NULL;
	pthread_mutex_unlock(&w->lock);
	for (; req; req = next) {
		next = req->next;
		workers_run(req);
	}
}

/* What the watcher has seen, tick by tick. */
struct watch {
	unsigned length; /* of a tick, times TICK_NS */
	unsigned alone;	 /* ticks in a row of this length with one client that got on */
	unsigned taken;
	unsigned still; /* ticks in a row: no request was read, */
	unsigned busy;	/* a request was pending, */
	unsigned calm;	/* how long none was, and little data moved, times TICK_NS */
};

static bool request_pending(const struct view *view)
{
	struct pollfd fd = {.fd = view->channel.fd, .events = POLLIN};

	return poll(&fd, 1, 0) == 1 && fd.revents & POLLIN;
}

/* As many readers as it takes. */
static void watch_load(struct view *view, struct watch *watch, bool several, bool much)
{
	struct workers *w = &view->workers;
	unsigned wanted = atomic_load(&w->wanted);
	bool pending = (several || much) && request_pending(view);

	watch->busy = pending ? watch->busy + 1 : 0;
	watch->calm = pending || much ? 0 : watch->calm + watch->length;
	if (watch->busy >= TICKS_BUSY && wanted < w->wanted_max) {
		atomic_store(&w->wanted, wanted + 1);
		watch->busy = 0;
		reader_call(view);
	}
	if (watch->calm >= CALM && wanted > 1) {
		atomic_store(&w->wanted, wanted - 1);
		watch->calm = 0;
	}
}

/*
 * Who looks after a client disturbs it: where something else runs or has just run when it is to be
 * woken, on its CPU or on the other of two, it is moved, and its reader has to follow it. On Linux
 * 6.18 that happened at nearly every tick of a millisecond: an unlink took 156 us instead of 42.
 */
static void watch_lengthen(struct watch *watch, bool several)
{
	if (several || watch->still > 0) {
		watch->alone = 0;
		watch->length = 1;
	} else if (++watch->alone == TICKS_ALONE) {
		watch->alone = 0;
		watch->length = MIN(2 * watch->length, TICK_LONG);
	}
}

static void watch_tick(struct view *view, struct watch *watch)
{
	struct workers *w = &view->workers;
	unsigned taken = atomic_load(&w->taken);
	bool several = atomic_exchange(&w->several, false);
	bool much = atomic_exchange(&w->much, false);

	watch->still = taken == watch->taken ? watch->still + 1 : 0;
	watch->taken = taken;
	if (watch->still > 0)
		workers_yield(view); /* none reads, none has since the last tick */
	if (watch->still == 1)
		follow_release(&w->place, atomic_load(&w->reading) == 0 || request_pending(view));
	watch_load(view, watch, several, much);
	watch_lengthen(watch, several || much);
	start_again(w);
}

/* Sleeps until there are requests again. Returns false when there will be no more. */
static bool watch_sleep(struct workers *w)
{
	bool stopped;

	pthread_mutex_lock(&w->lock);
	atomic_store(&w->watched, false);
	/* who took the last reader's place before that counted on us */
	if ((atomic_load(&w->reading) == 0 && !atomic_load(&w->repeating)) || w->unstarted)
		atomic_store(&w->watched, true);
	while (!atomic_load(&w->watched) && !w->stopped)
		pthread_cond_wait(&w->watch, &w->lock);
	stopped = w->stopped;
	pthread_mutex_unlock(&w->lock);
	return !stopped;
}

static void *watcher(void *data)
{
	struct view *view = data;
	struct watch watch = {.still = TICKS_STILL};
	struct timespec tick = {0};

	while (watch.still < TICKS_STILL || watch_sleep(&view->workers)) {
		if (watch.still >= TICKS_STILL)
			watch = (struct watch){.length = 1,
					       .taken = atomic_load(&view->workers.taken)};
		tick.tv_nsec = TICK_NS * (long)watch.length;
		(void)nanosleep(&tick, NULL);
		watch_tick(view, &watch);
	}
	return NULL;
}

int view_start(struct view *view, void (*done)(int err, void *data), void *data)
{
	int r;

	view->workers.done = done;
	view->workers.done_data = data;
	/* what the server that died had read but not answered: to come before all else */
	if (view->channel.restarted && view->channel.features.resend) {
		atomic_store(&view->workers.repeating, true);
		(void)channel_notify_resend(&view->channel);
	}
	view->workers.may_follow = follow_possible();
	if (view->channel.restarted)
		media_abandon_orphans(view);
	if (atomic_load(&view->files.writes_come))
		workers_expect_writes(view);
	r = thread_start(watcher, view);
	return r < 0 ? r : thread_start(reader, view);
}
