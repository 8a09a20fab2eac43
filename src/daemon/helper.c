#include "helper.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/process.h"

struct helper {
	pid_t pid;
	struct loop_child *child;
	struct loop_timer *deadline;
	helper_done_fn done;
	void *data;
};

static void finish(struct helper *h, int err)
{
	helper_done_fn done = h->done;
	void *data = h->data;

	loop_child_forget(h->child);
	loop_timer_remove(h->deadline);
	free(h);
	done(err, data);
}

/* The exit status is the errno: all of them are below 256. */
static void child_ended(pid_t pid, int status, void *data)
{
	struct helper *h = data;

	(void)pid;
	h->child = NULL;
	finish(h, WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO);
}

static void expired(void *data)
{
	struct helper *h = data;

	(void)kill(h->pid, SIGKILL);
	finish(h, -ETIMEDOUT);
}

int helper_start(struct loop *loop, int (*fn)(const void *what), const void *what,
		 uint64_t deadline_ms, helper_done_fn done, void *data, struct helper **ret_helper)
{
	struct helper *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	*h = (struct helper){.done = done, .data = data};
	h->pid = fork();
	if (h->pid == 0) {
		loop_signals_reset();
		process_ignore_stop();
		process_keep_fds(NULL, 0);
		_exit(-fn(what));
	}
	r = h->pid < 0 ? -errno : loop_child_add(loop, h->pid, child_ended, h, &h->child);
	if (r < 0) {
		if (h->pid > 0)
			process_kill_new(h->pid);
		free(h);
		return r;
	}
	r = loop_timer_add(loop, deadline_ms, expired, h, &h->deadline);
	if (r < 0) {
		helper_cancel(h);
		return r;
	}
	*ret_helper = h;
	return 0;
}

struct helper *helper_cancel(struct helper *h)
{
	if (h)
		(void)kill(h->pid, SIGKILL);
	return helper_leave(h);
}

struct helper *helper_leave(struct helper *h)
{
	if (!h)
		return NULL;
	loop_child_forget(h->child);
	loop_timer_remove(h->deadline);
	free(h);
	return NULL;
}
