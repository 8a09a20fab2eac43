#include "loop.h"

#include <assert.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

#include "list.h"

/* Of a child that somebody else has reaped: it is not known to have ended well. */
#define STATUS_UNKNOWN 0xff00

struct loop_fd {
	struct loop *loop;
	struct list link;
	int fd; /* borrowed; -EBADF once removed */
	loop_fd_fn fn;
	void *data;
};

struct loop_timer {
	struct loop *loop;
	struct list link;
	uint64_t due_ms; /* 0: fired */
	loop_timer_fn fn;
	void *data;
};

struct loop_child {
	struct list link;
	struct loop_fd *source;
	pid_t pid;
	int pidfd;
	loop_child_fn fn;
	void *data;
};

struct loop {
	int epoll_fd;
	int timer_fd;
	int signal_fd;
	struct loop_fd *timer_source;
	struct loop_fd *signal_source;
	loop_signal_fn signal_fn;
	void *signal_data;
	struct list fds;      /* of loop_fd */
	struct list removed;  /* of loop_fd: freed when no event of this round can name them */
	struct list timers;   /* of loop_timer, unordered: there are few */
	bool timers_stale;    /* one was removed: the kernel's timer may be set for it */
	struct list children; /* of loop_child */
	bool quit;
	int code;
};

uint64_t now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t now_ms(void)
{
	return now_us() / 1000;
}

static int timers_arm(struct loop *loop)
{
	struct itimerspec when = {0};
	uint64_t due = UINT64_MAX;

	list_for_each (it, &loop->timers) {
		struct loop_timer *t = CONTAINER_OF(it, struct loop_timer, link);

		due = MIN(due, t->due_ms);
	}
	if (due != UINT64_MAX) {
		when.it_value.tv_sec = (time_t)(due / 1000);
		when.it_value.tv_nsec = (long)(due % 1000) * 1000000 + 1;
	}
	return timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0 ? -errno : 0;
}

/* A timer that was removed is not to wake anybody, a deadline for example that was kept. */
static void timers_disarm_removed(struct loop *loop)
{
	if (loop->timers_stale)
		(void)timers_arm(loop);
	loop->timers_stale = false;
}

/* Behind those that are due no later. */
static void due_insert(struct list *due, struct loop_timer *timer)
{
	struct list *at = due->next;

	while (at != due && CONTAINER_OF(at, struct loop_timer, link)->due_ms <= timer->due_ms)
		at = at->next;
	list_append(at, &timer->link);
}

static void timers_fire(int fd, uint32_t events, void *data)
{
	struct loop *loop = data;
	uint64_t expirations;
	uint64_t now = now_ms();
	struct list due = LIST_INIT(due);

	(void)events;
	(void)!read(fd, &expirations, sizeof(expirations));
	list_for_each_safe (it, tmp, &loop->timers) {
		struct loop_timer *t = CONTAINER_OF(it, struct loop_timer, link);

		if (t->due_ms <= now) {
			list_remove(it);
			due_insert(&due, t);
		}
	}
	while (!list_empty(&due)) {
		struct loop_timer *t = CONTAINER_OF(due.next, struct loop_timer, link);

		list_remove(&t->link);
		t->due_ms = 0;
		t->fn(t->data);
	}
	(void)timers_arm(loop);
}

int loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return -ENOMEM;
	list_init(&loop->fds);
	list_init(&loop->removed);
	list_init(&loop->timers);
	list_init(&loop->children);
	loop->signal_fd = -EBADF;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->timer_fd < 0) {
		r = -errno;
		loop_free(loop);
		return r;
	}
	r = loop_fd_add(loop, loop->timer_fd, EPOLLIN, timers_fire, loop, &loop->timer_source);
	if (r < 0) {
		loop_free(loop);
		return r;
	}
	*ret_loop = loop;
	return 0;
}

static void fds_free(struct list *head)
{
	list_for_each_safe (it, tmp, head) {
		list_remove(it);
		free(CONTAINER_OF(it, struct loop_fd, link));
	}
}

static void child_free(struct loop_child *child)
{
	list_remove(&child->link);
	loop_fd_remove(child->source);
	close_fd(child->pidfd);
	free(child);
}

struct loop *loop_free(struct loop *loop)
{
	if (!loop)
		return NULL;
	list_for_each_safe (it, tmp, &loop->children) {
		child_free(CONTAINER_OF(it, struct loop_child, link));
	}
	list_for_each_safe (it, tmp, &loop->timers) {
		list_remove(it); /* the owner frees it with loop_timer_remove() */
	}
	fds_free(&loop->fds);
	fds_free(&loop->removed);
	close_fd(loop->signal_fd);
	close_fd(loop->timer_fd);
	close_fd(loop->epoll_fd);
	free(loop);
	return NULL;
}

int loop_run(struct loop *loop)
{
	while (!loop->quit) {
		struct epoll_event events[32];
		int n;

		timers_disarm_removed(loop);
		n = epoll_wait(loop->epoll_fd, events, ARRAY_SIZE(events), -1);
		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++) {
			struct loop_fd *s = events[i].data.ptr;

			if (s->fd >= 0)
				s->fn(s->fd, events[i].events, s->data);
		}
		fds_free(&loop->removed);
	}
	loop->quit = false;
	return loop->code;
}

void loop_quit(struct loop *loop, int code)
{
	loop->quit = true;
	loop->code = code;
}

int loop_fd_add(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *data,
		struct loop_fd **ret_source)
{
	struct loop_fd *s = calloc(1, sizeof(*s));
	struct epoll_event ev = {.events = events};

	if (!s)
		return -ENOMEM;
	*s = (struct loop_fd){.loop = loop, .fd = fd, .fn = fn, .data = data};
	ev.data.ptr = s;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		free(s);
		return -errno;
	}
	list_append(&loop->fds, &s->link);
	if (ret_source)
		*ret_source = s;
	return 0;
}

int loop_fd_events(struct loop_fd *source, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = source};

	return epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &ev) < 0 ? -errno : 0;
}

struct loop_fd *loop_fd_remove(struct loop_fd *source)
{
	if (!source)
		return NULL;
	(void)epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = -EBADF;
	list_remove(&source->link);
	list_append(&source->loop->removed, &source->link);
	return NULL;
}

int loop_timer_add(struct loop *loop, uint64_t delay_ms, loop_timer_fn fn, void *data,
		   struct loop_timer **ret_timer)
{
	struct loop_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	*t = (struct loop_timer){
		.loop = loop, .due_ms = now_ms() + delay_ms, .fn = fn, .data = data};
	list_append(&loop->timers, &t->link);
	*ret_timer = t;
	return timers_arm(loop);
}

struct loop_timer *loop_timer_remove(struct loop_timer *timer)
{
	if (!timer)
		return NULL;
	list_remove(&timer->link);
	timer->loop->timers_stale = true;
	free(timer);
	return NULL;
}

static void signals_read(int fd, uint32_t events, void *data)
{
	struct loop *loop = data;
	struct signalfd_siginfo info;

	(void)events;
	while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		loop->signal_fn(&info, loop->signal_data);
}

int loop_signals(struct loop *loop, const sigset_t *set, loop_signal_fn fn, void *data)
{
	assert(loop->signal_fd < 0);
	if (sigprocmask(SIG_BLOCK, set, NULL) < 0)
		return -errno;
	loop->signal_fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->signal_fd < 0)
		return -errno;
	loop->signal_fn = fn;
	loop->signal_data = data;
	return loop_fd_add(loop, loop->signal_fd, EPOLLIN, signals_read, loop,
			   &loop->signal_source);
}

void loop_signals_reset(void)
{
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		if (signo != SIGPIPE)
			(void)signal(signo, SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void child_exited(int fd, uint32_t events, void *data)
{
	struct loop_child *child = data;
	int status = STATUS_UNKNOWN;

	(void)fd;
	(void)events;
	if (waitpid(child->pid, &status, WNOHANG) == 0)
		return;
	if (child->fn)
		child->fn(child->pid, status, child->data);
	child_free(child);
}

int loop_child_add(struct loop *loop, pid_t pid, loop_child_fn fn, void *data,
		   struct loop_child **ret_child)
{
	struct loop_child *child = calloc(1, sizeof(*child));
	int r;

	if (!child)
		return -ENOMEM;
	*child = (struct loop_child){.pid = pid, .fn = fn, .data = data};
	child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */
	if (child->pidfd < 0) {
		r = -errno;
		free(child);
		return r;
	}
	r = loop_fd_add(loop, child->pidfd, EPOLLIN, child_exited, child, &child->source);
	if (r < 0) {
		close_fd(child->pidfd);
		free(child);
		return r;
	}
	list_append(&loop->children, &child->link);
	if (ret_child)
		*ret_child = child;
	return 0;
}

static bool child_known(const struct loop *loop, pid_t pid)
{
	list_for_each (it, &loop->children)
		if (CONTAINER_OF(it, struct loop_child, link)->pid == pid)
			return true;
	return false;
}

static FILE *children_open(void)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	return fopen(path, "re");
}

void loop_reap_strangers(const struct loop *loop)
{
	FILE *f = children_open();
	int pid;

	if (!f)
		return;
	while (fscanf(f, "%d", &pid) == 1)
		if (!child_known(loop, pid))
			(void)waitpid(pid, NULL, WNOHANG);
	(void)fclose(f);
}

int loop_adopt_strangers(struct loop *loop)
{
	FILE *f = children_open();
	int r = 0;
	int pid;

	if (!f)
		return -errno;
	while (r == 0 && fscanf(f, "%d", &pid) == 1)
		if (!child_known(loop, pid))
			r = loop_child_add(loop, pid, NULL, NULL, NULL);
	(void)fclose(f);
	return r;
}

struct loop_child *loop_child_forget(struct loop_child *child)
{
	if (child) {
		child->fn = NULL;
		child->data = NULL;
	}
	return NULL;
}
