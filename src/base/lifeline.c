#include "lifeline.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>

#include "process.h"
#include "util.h"

struct start {
	int fd;
	int err;
	sem_t done;
};

static void *hold(void *data)
{
	struct start *start = data;
	int kept[] = {start->fd};
	sigset_t all;

	start->err = unshare(CLONE_FILES) < 0 ? -errno : 0;
	if (start->err == 0)
		process_keep_fds(kept, ARRAY_SIZE(kept));
	(void)sigfillset(&all);
	(void)sem_post(&start->done); /* start is not ours any more */
	for (;;)
		(void)sigsuspend(&all);
	return NULL;
}

int lifeline_start(int fd)
{
	struct start start = {.fd = fd};
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (sem_init(&start.done, 0, 0) < 0)
		return -errno;
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = -pthread_create(&thread, &attr, hold, &start);
	(void)pthread_attr_destroy(&attr);
	while (r == 0 && sem_wait(&start.done) < 0)
		; /* a signal */
	(void)sem_destroy(&start.done);
	close_fd(fd);
	return r < 0 ? r : start.err;
}
