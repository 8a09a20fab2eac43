#include "supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/list.h"
#include "base/log.h"
#include "base/process.h"
#include "daemon/server.h"

/*
 * So many servers one after another that lived no longer than this: another one will not help. If
 * they were killed it may, but waits longer each time, for who kills them needs the time.
 */
#define SHORT_LIVES_MAX	 10
#define SHORT_LIFE_MS	 200
#define KILLED_WAIT_MS	 20
#define KILLED_WAITS_MAX 50
/* Messages that a server may leave unread; beyond, it is taken for hanging. */
#define QUEUE_MAX (4 * LIMIT_MEDIA)
/*
 * A server that was killed has all this time to end. One of its threads may wait in the kernel: for
 * a device that hangs, or for a lock of a client that waits for an answer of the next server.
 */
#define LINGER_MS 100
/* Until the next try to start a server for which there was no process or descriptor. */
#define RESTART_DELAY_MS 200

struct unsent {
	struct list link;
	struct link_message message;
	int fd;
};

struct supervisor {
	struct loop *loop;
	struct supervisor_events events;
	struct supervisor_args args;
	int nodes_fd;
	int fdstore;  /* the end that keeps the open files of the last server started */
	int sock;     /* -EBADF: no server, or it has closed its end */
	bool again;   /* the first server goes on from another one\'s state */
	int old_link; /* with a server that another program has started, or -EBADF */
	pid_t pid;
	struct loop_child *child;
	int life; /* hangs up when it is killed; -EBADF: not known */
	struct loop_fd *life_source;
	struct loop_timer *linger;
	struct loop_fd *source;
	struct list queue; /* of unsent */
	unsigned queued;
	uint64_t started_ms;
	unsigned short_lives;	    /* in a row */
	struct loop_timer *restart; /* another try to start a server */
	unsigned restart_tries;	    /* in a row, in vain */
	bool quitting;
	struct loop_timer *quit_timer;
};

static void server_process(const struct supervisor *s, int link_fd, int fdstore_fd, int life_fd)
{
	struct server_args args = {.fuse_fd = s->args.fuse_fd,
				   .link_fd = link_fd,
				   .nodes_fd = s->nodes_fd,
				   .fdstore_fd = fdstore_fd,
				   .previous_fd = s->fdstore,
				   .life_fd = life_fd,
				   .passthrough = s->args.passthrough,
				   .strict = s->args.strict,
				   .idle_timeout_ms = s->args.idle_timeout_ms};
	int kept[] = {args.fuse_fd, args.link_fd, args.nodes_fd, fdstore_fd, s->fdstore, life_fd};
	int r;

	loop_signals_reset();
	process_ignore_stop();
	process_keep_fds(kept, ARRAY_SIZE(kept));
	r = server_main(&args);
	/*
	 * Told to end: nobody follows, so nobody is to keep a medium's files open any longer. Else
	 * our threads must not find their files closed: they would tell clients, or leave what they
	 * could not close.
	 */
	if (r == 0)
		process_keep_fds(NULL, 0);
	_exit(r < 0);
}

static void queue_clear(struct supervisor *s)
{
	list_for_each_safe (it, tmp, &s->queue) {
		struct unsent *unsent = CONTAINER_OF(it, struct unsent, link);

		list_remove(it);
		close_fd(unsent->fd);
		free(unsent);
	}
	s->queued = 0;
}

static void link_drop(struct supervisor *s)
{
	s->source = loop_fd_remove(s->source);
	s->sock = close_fd(s->sock);
	queue_clear(s);
}

/* The link is of no use any more: the process must go, and process_ended() starts another. */
static void server_kill(struct supervisor *s)
{
	link_drop(s);
	if (s->pid > 0)
		(void)kill(s->pid, SIGKILL);
}

static void queue_flush(struct supervisor *s)
{
	list_for_each_safe (it, tmp, &s->queue) {
		struct unsent *unsent = CONTAINER_OF(it, struct unsent, link);
		int r = link_send(s->sock, &unsent->message, unsent->fd);

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			server_kill(s);
			return;
		}
		list_remove(it);
		close_fd(unsent->fd);
		free(unsent);
		s->queued--;
	}
	(void)loop_fd_events(s->source, EPOLLIN);
}

/* Reads what is there, but not for ever: other sources have their turn. */
static void link_read(struct supervisor *s)
{
	struct link_message message;

	for (int i = 0; i < 64 && s->sock >= 0; i++) {
		int fd = -EBADF;
		int r = link_receive(s->sock, &message, &fd);

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			if (r != -EPIPE)
				log_err("the server sent a damaged message");
			server_kill(s);
			return;
		}
		s->events.message(&message, fd, s->events.data);
	}
}

static void link_ready(int fd, uint32_t events, void *data)
{
	struct supervisor *s = data;

	(void)fd;
	if (events & EPOLLOUT)
		queue_flush(s);
	if (s->sock >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		link_read(s);
}

static void count_lives(struct supervisor *s)
{
	if (now_ms() - s->started_ms > SHORT_LIFE_MS)
		s->short_lives = 0;
	else
		s->short_lives++;
}

static int server_start(struct supervisor *s, bool again);

static void log_end(pid_t pid, int status)
{
	if (WIFSIGNALED(status))
		log_warning("the server (pid %d) was killed by signal %d, starting another one",
			    (int)pid, WTERMSIG(status));
	else
		log_warning("the server (pid %d) ended with status %d, starting another one",
			    (int)pid, WEXITSTATUS(status));
}

static void life_drop(struct supervisor *s)
{
	s->linger = loop_timer_remove(s->linger);
	s->life_source = loop_fd_remove(s->life_source);
	s->life = close_fd(s->life);
}

static void restart_expired(void *data);

/* Returns 1, or -errno. */
static int start_after(struct supervisor *s, uint64_t delay_ms)
{
	int r = loop_timer_add(s->loop, delay_ms, restart_expired, s, &s->restart);

	return r < 0 ? r : 1;
}

/*
 * For want of a process or a descriptor nothing is given up that waits for the next server. Returns
 * 1: it is there or will be, or -errno.
 */
static int start_next(struct supervisor *s)
{
	int r = server_start(s, true);

	if (r == 0) {
		s->restart_tries = 0;
		return 1;
	}
	if (s->pid > 0) { /* it cannot be watched: when it has ended there will be another */
		server_kill(s);
		return 1;
	}
	link_drop(s);
	life_drop(s);
	if (is_shortage(r) && s->restart_tries++ == 0)
		log_warning("cannot start the server: %s, trying again", strerror(-r));
	if (is_shortage(r))
		r = start_after(s, RESTART_DELAY_MS);
	if (r < 0)
		log_err("cannot start the server: %s", strerror(-r));
	return r < 0 ? r : 1;
}

/* Killed by the user or for want of memory: that is no fault of the program. */
static int start_next_of_killed(struct supervisor *s)
{
	unsigned waits;

	if (s->short_lives < SHORT_LIVES_MAX)
		return start_next(s);
	waits = MIN(s->short_lives - SHORT_LIVES_MAX + 1, KILLED_WAITS_MAX);
	return start_after(s, waits * (uint64_t)KILLED_WAIT_MS);
}

/* The server ends well of its own accord only when its connection is gone. */
static int follow_up(struct supervisor *s, pid_t pid, int status)
{
	if (s->quitting)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return -ENOTCONN;
	if (s->old_link >= 0) {
		s->old_link = close_fd(s->old_link);
		return start_next(s);
	}
	count_lives(s);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		log_end(pid, status);
		return start_next_of_killed(s);
	}
	if (s->short_lives >= SHORT_LIVES_MAX) {
		log_err("the server died %d times in a row, each time at once, giving up",
			SHORT_LIVES_MAX);
		return -ELOOP;
	}
	log_end(pid, status);
	return start_next(s);
}

static void give_up(struct supervisor *s, int err)
{
	s->fdstore = close_fd(s->fdstore);
	s->events.ended(err, s->events.data);
}

static void restart_expired(void *data)
{
	struct supervisor *s = data;
	int r;

	s->restart = loop_timer_remove(s->restart);
	r = start_next(s);
	if (r < 0)
		give_up(s, r);
}

static void process_ended(pid_t pid, int status, void *data)
{
	struct supervisor *s = data;
	int r;

	s->child = NULL;
	s->pid = 0;
	link_drop(s);
	life_drop(s);
	s->quit_timer = loop_timer_remove(s->quit_timer);
	r = follow_up(s, pid, status);
	if (r <= 0)
		give_up(s, r);
}

/*
 * None of its code runs any more: the next one need not wait until the process is gone. But while
 * one of its threads is only slow to end, that may still take a request from the kernel, which
 * nobody would ever answer: the next server has those sent again that were taken before it began.
 */
static void linger_expired(void *data)
{
	struct supervisor *s = data;

	s->linger = loop_timer_remove(s->linger);
	if (!process_hangs(s->pid) &&
	    loop_timer_add(s->loop, LINGER_MS, linger_expired, s, &s->linger) == 0)
		return;
	log_warning("a call of the server (pid %d) hangs, so it does not end; going on without it",
		    (int)s->pid);
	loop_child_forget(s->child);
	process_ended(s->pid, SIGKILL, s);
}

static void linger(struct supervisor *s)
{
	if (!s->linger)
		(void)loop_timer_add(s->loop, LINGER_MS, linger_expired, s, &s->linger);
}

static void life_ended(int fd, uint32_t events, void *data)
{
	struct supervisor *s = data;

	(void)fd;
	(void)events;
	s->life_source = loop_fd_remove(s->life_source);
	linger(s);
}

static int server_watch(struct supervisor *s)
{
	int r = loop_child_add(s->loop, s->pid, process_ended, s, &s->child);

	if (r < 0) {
		process_kill_new(s->pid);
		s->pid = 0;
		return r;
	}
	r = loop_fd_add(s->loop, s->life, EPOLLIN, life_ended, s, &s->life_source);
	return r < 0 ? r : loop_fd_add(s->loop, s->sock, EPOLLIN, link_ready, s, &s->source);
}

static int pair_make(int *ret_a, int *ret_b)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	*ret_a = pair[0];
	*ret_b = pair[1];
	return 0;
}

static int server_start(struct supervisor *s, bool again)
{
	_cleanup_close_ int theirs = -EBADF;
	_cleanup_close_ int fdstore = -EBADF;
	_cleanup_close_ int fdstore_theirs = -EBADF;
	_cleanup_close_ int life_theirs = -EBADF;
	int r = pair_make(&s->sock, &theirs);

	if (r == 0)
		r = pair_make(&fdstore, &fdstore_theirs);
	if (r == 0)
		r = pair_make(&s->life, &life_theirs);
	if (r < 0)
		return r;
	if (fcntl(s->sock, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	s->started_ms = now_ms();
	s->pid = fork();
	if (s->pid < 0) {
		r = -errno;
		s->pid = 0;
		return r;
	}
	if (s->pid == 0)
		server_process(s, theirs, fdstore_theirs, life_theirs);
	close_fd(s->fdstore);
	s->fdstore = TAKE_FD(fdstore);
	r = server_watch(s);
	if (r < 0)
		return r;
	s->events.started(again, s->events.data);
	return 0;
}

static struct supervisor *supervisor_alloc(struct loop *loop, const struct supervisor_args *args,
					   const struct supervisor_events *events)
{
	struct supervisor *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct supervisor){.loop = loop, .events = *events, .args = *args};
	s->sock = s->old_link = s->fdstore = s->nodes_fd = s->life = -EBADF;
	list_init(&s->queue);
	return s;
}

int supervisor_new(struct loop *loop, const struct supervisor_args *args,
		   const struct supervisor_events *events, struct supervisor **ret_supervisor)
{
	struct supervisor *s = supervisor_alloc(loop, args, events);

	if (!s) {
		close_fd(args->fuse_fd);
		return -ENOMEM;
	}
	s->nodes_fd = server_state_new();
	if (s->nodes_fd < 0) {
		int r = s->nodes_fd;

		supervisor_free(s);
		return r;
	}
	*ret_supervisor = s;
	return 0;
}

void supervisor_leave(const struct supervisor *s, struct supervisor_left *ret_left)
{
	*ret_left = (struct supervisor_left){.fuse_fd = s->args.fuse_fd,
					     .nodes_fd = s->nodes_fd,
					     .files_fd = s->fdstore,
					     .link_fd = s->sock,
					     .pid = s->pid};
}

int supervisor_take(struct loop *loop, const struct supervisor_args *args,
		    const struct supervisor_events *events, const struct supervisor_left *left,
		    struct supervisor **ret_supervisor)
{
	struct supervisor *s = supervisor_alloc(loop, args, events);
	int r;

	if (!s)
		return -ENOMEM;
	s->again = true;
	r = left->pid > 0 ? loop_child_add(loop, left->pid, process_ended, s, &s->child) : 0;
	if (r < 0) {
		free(s);
		return r;
	}
	s->args.fuse_fd = left->fuse_fd;
	s->nodes_fd = left->nodes_fd;
	s->fdstore = left->files_fd;
	s->old_link = left->link_fd;
	s->pid = left->pid;
	*ret_supervisor = s;
	return 0;
}

struct supervisor *supervisor_free(struct supervisor *s)
{
	if (!s)
		return NULL;
	server_kill(s);
	loop_child_forget(s->child);
	life_drop(s);
	loop_timer_remove(s->quit_timer);
	loop_timer_remove(s->restart);
	close_fd(s->old_link);
	close_fd(s->fdstore);
	close_fd(s->nodes_fd);
	close_fd(s->args.fuse_fd);
	free(s);
	return NULL;
}

/* A server that is killed is followed by one that has all it had: as good as any other end. */
int supervisor_start(struct supervisor *s)
{
	if (s->old_link < 0)
		return server_start(s, s->again);
	if (kill(s->pid, SIGKILL) < 0)
		return -errno;
	linger(s);
	return 0;
}

void supervisor_settings(struct supervisor *s, bool strict, uint64_t idle_timeout_ms)
{
	s->args.strict = strict;
	s->args.idle_timeout_ms = idle_timeout_ms;
}

static void queue_append(struct supervisor *s, const struct link_message *message, int fd)
{
	struct unsent *unsent = calloc(1, sizeof(*unsent));

	if (!unsent || s->queued >= QUEUE_MAX) {
		free(unsent);
		log_err("the server does not read its messages");
		server_kill(s);
		return;
	}
	unsent->message = *message;
	unsent->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -EBADF;
	list_append(&s->queue, &unsent->link);
	s->queued++;
	(void)loop_fd_events(s->source, EPOLLIN | EPOLLOUT);
}

void supervisor_send(struct supervisor *s, const struct link_message *message, int fd)
{
	int r = -EAGAIN;

	if (s->sock < 0)
		return;
	if (list_empty(&s->queue))
		r = link_send(s->sock, message, fd);
	if (r == -EAGAIN)
		queue_append(s, message, fd);
	else if (r < 0)
		server_kill(s);
}

bool supervisor_running(const struct supervisor *s)
{
	return s->pid > 0;
}

pid_t supervisor_pid(const struct supervisor *s)
{
	return s->pid;
}

void supervisor_expect_end(struct supervisor *s)
{
	s->quitting = true;
	s->restart = loop_timer_remove(s->restart);
}

static void quit_expired(void *data)
{
	struct supervisor *s = data;

	log_warning("the server does not end, killing it");
	server_kill(s);
}

void supervisor_quit(struct supervisor *s, uint64_t timeout_ms)
{
	const struct link_message message = {.type = LINK_QUIT};

	supervisor_expect_end(s);
	if (s->pid == 0) {
		s->events.ended(0, s->events.data);
		return;
	}
	supervisor_send(s, &message, -EBADF);
	s->quit_timer = loop_timer_remove(s->quit_timer);
	(void)loop_timer_add(s->loop, timeout_ms, quit_expired, s, &s->quit_timer);
}
