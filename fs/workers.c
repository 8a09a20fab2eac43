/*
 * Threads that read requests and handle them. There is always one that reads: whoever takes the
 * last free reader's place starts another. How many there can be is bounded by the gates, since
 * only requests behind a gate can take long.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "creds.h"
#include "view_internal.h"

#define WORKERS_IDLE 8 /* readers kept for the next burst */

static void *reader(void *data);

static int thread_start(void *(*fn)(void *data), void *data)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, 512 << 10);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = -pthread_create(&thread, &attr, fn, data);
	(void)pthread_attr_destroy(&attr);
	return r;
}

/* Before a request is handled: somebody else must be reading meanwhile. */
static void reader_busy(struct view *view)
{
	bool start;

	pthread_mutex_lock(&view->work_lock);
	start = --view->idle == 0 && !view->stopped;
	if (start)
		view->idle++;
	pthread_mutex_unlock(&view->work_lock);
	if (start && thread_start(reader, view) < 0) {
		pthread_mutex_lock(&view->work_lock);
		view->idle--;
		pthread_mutex_unlock(&view->work_lock);
	}
}

/* Afterwards. Returns false when this reader is one too many. */
static bool reader_free(struct view *view)
{
	bool stay;

	pthread_mutex_lock(&view->work_lock);
	stay = view->idle < WORKERS_IDLE && !view->stopped;
	if (stay)
		view->idle++;
	pthread_mutex_unlock(&view->work_lock);
	return stay;
}

/*
 * The connection has ended. The daemon is told at once: other threads may hang on a dead device
 * for ever.
 */
static void stop(struct view *view, int err)
{
	bool first;

	pthread_mutex_lock(&view->work_lock);
	first = !view->stopped;
	view->stopped = true;
	view->idle--;
	pthread_mutex_unlock(&view->work_lock);
	if (first) /* ENODEV: unmounted, the normal end */
		view->done(err == -ENODEV ? 0 : err, view->done_data);
}

static bool request_is_again(const char *buf, size_t size)
{
	const struct fuse_in_header *head = (const struct fuse_in_header *)buf;

	return size >= sizeof(*head) && head->unique & WIRE_UNIQUE_RESEND;
}

static void read_requests(struct view *view, char *buf)
{
	for (;;) {
		ssize_t n = channel_read(&view->channel, buf);
		bool again;

		if (n == -EAGAIN)
			continue;
		if (n < 0) {
			stop(view, (int)n);
			return;
		}
		/* what is sent again comes first and never waits: one reader keeps the order */
		again = request_is_again(buf, (size_t)n);
		if (!again)
			reader_busy(view);
		view_dispatch(view, buf, (size_t)n);
		if (!again && !reader_free(view))
			return;
	}
}

/* A reader's memory: what is written begins at a page. */
#define BUFFER_MAP (4096 + CHANNEL_MAX_WRITE)

/*
 * The memory is there before the first request: a page that is missing while the kernel copies a
 * request cannot be had any more once the process has been killed, and then the request fails
 * with EIO instead of being sent again (fuse_dev_do_read, faultin_page). With passthrough the
 * data of writes does not come this way.
 */
static char *buffer_map(const struct view *view)
{
	size_t ready = view->channel.features.passthrough ? 4 * 4096 : BUFFER_MAP;
	char *map = mmap(NULL, BUFFER_MAP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);

	for (size_t at = 0; map != MAP_FAILED && at < ready; at += 4096)
		*(volatile char *)(map + at) = 0;
	return map;
}

static void *reader(void *data)
{
	struct view *view = data;
	char *map = buffer_map(view);

	if (map != MAP_FAILED && creds_thread_start() == 0)
		read_requests(view, map + 4096 - CHANNEL_WRITE_OFFSET);
	else
		stop(view, -ENOMEM);
	if (map != MAP_FAILED)
		(void)munmap(map, BUFFER_MAP);
	return NULL;
}

/* Handles what waited at a gate, then goes. */
static void *runner(void *data)
{
	struct request *req = data;

	if (creds_thread_start() == 0)
		view_run(req);
	else
		view_refuse(req, -EAGAIN);
	return NULL;
}

void workers_run(struct request *req)
{
	if (thread_start(runner, req) < 0)
		view_refuse(req, -EAGAIN);
}

int view_start(struct view *view, void (*done)(int err, void *data), void *data)
{
	int r;

	view->done = done;
	view->done_data = data;
	view->idle = 1;
	/* what the server that died had read but not answered: to come before all else */
	if (view->channel.restarted && view->channel.features.resend)
		(void)channel_notify_resend(&view->channel);
	r = thread_start(reader, view);
	if (r < 0)
		view->idle = 0;
	return r;
}
