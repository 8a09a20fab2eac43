#include "announcer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/list.h"
#include "base/log.h"
#include "base/packet.h"
#include "base/priority.h"
#include "base/process.h"

/* A process that cannot open the view dies at once; do not start it in a tight circle. */
#define RESTART_DELAY_MS 200

struct announcement {
	uint32_t id;
	bool make;
	char name[LIMIT_NAME + 1];
};

struct outcome {
	uint32_t id;
	bool make;
	int err;
};

struct queued {
	struct list link;
	struct announcement what;
};

struct announcer {
	struct loop *loop;
	struct announcer_events events;
	char *mountpoint;
	pid_t pid; /* 0: not running */
	int sock;
	struct loop_child *child;
	struct loop_fd *source;
	struct loop_timer *restart;
	unsigned tries;	   /* in a row, in vain */
	bool sent;	   /* the first of the queue is with the process */
	struct list queue; /* of queued */
};

/*
 * The view's root, opened for one announcement only: an fd that stays would keep everybody from
 * unmounting the view. device: what it must be, 0 at the first time; a directory that is not the
 * view must get no directories.
 */
static int open_view(const char *mountpoint, dev_t *device)
{
	_cleanup_close_ int fd = open(mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statx st;
	dev_t found;

	if (fd < 0)
		return -errno;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
		return -errno;
	found = makedev(st.stx_dev_major, st.stx_dev_minor);
	if (*device != 0 && *device != found)
		return -ENOTCONN;
	*device = found;
	return TAKE_FD(fd);
}

static int perform(const char *mountpoint, dev_t *device, const struct announcement *what)
{
	_cleanup_close_ int root = open_view(mountpoint, device);
	int r;

	if (root < 0)
		return root;
	r = what->make ? mkdirat(root, what->name, 0755) : unlinkat(root, what->name, AT_REMOVEDIR);
	return r < 0 ? -errno : 0;
}

static void process_main(int sock, const char *mountpoint, pid_t parent)
{
	struct announcement what;
	dev_t device = 0;
	int none;
	int kept[] = {sock};

	loop_signals_reset();
	process_ignore_stop();
	(void)priority_take();
	process_keep_fds(kept, ARRAY_SIZE(kept));
	if (process_die_with(parent) < 0)
		_exit(1);
	close_fd(open_view(mountpoint, &device));
	while (packet_receive(sock, &what, sizeof(what), &none) == (ssize_t)sizeof(what)) {
		struct outcome outcome = {.id = what.id, .make = what.make};

		outcome.err = perform(mountpoint, &device, &what);
		if (packet_send(sock, &outcome, sizeof(outcome), -EBADF) < 0)
			break;
	}
	_exit(0);
}

static void send_next(struct announcer *a)
{
	struct queued *first;

	if (a->sent || a->pid == 0 || list_empty(&a->queue))
		return;
	first = CONTAINER_OF(a->queue.next, struct queued, link);
	a->sent = packet_send(a->sock, &first->what, sizeof(first->what), -EBADF) == 0;
}

static void outcome_readable(int fd, uint32_t events, void *data)
{
	struct announcer *a = data;
	struct outcome outcome;
	struct queued *first;
	int none;

	(void)events;
	if (packet_receive(fd, &outcome, sizeof(outcome), &none) != (ssize_t)sizeof(outcome)) {
		a->source = loop_fd_remove(a->source); /* it ends; process_ended() follows */
		return;
	}
	a->sent = false;
	first = CONTAINER_OF(a->queue.next, struct queued, link);
	list_remove(&first->link);
	free(first);
	a->events.done(outcome.id, outcome.make, outcome.err, a->events.data);
	send_next(a);
}

static void start_again(void *data)
{
	struct announcer *a = data;
	int r = announcer_start(a);

	if (r < 0)
		log_err("cannot start the announcer: %s", strerror(-r));
}

static void process_ended(pid_t pid, int status, void *data)
{
	struct announcer *a = data;

	(void)status;
	log_warning("the announcer (pid %d) ended, starting it again", (int)pid);
	a->child = NULL;
	a->source = loop_fd_remove(a->source);
	a->sock = close_fd(a->sock);
	a->pid = 0;
	a->sent = false;
	(void)loop_timer_add(a->loop, RESTART_DELAY_MS, start_again, a, &a->restart);
}

int announcer_new(struct loop *loop, const char *mountpoint, const struct announcer_events *events,
		  struct announcer **ret_announcer)
{
	struct announcer *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	*a = (struct announcer){.loop = loop, .events = *events, .sock = -EBADF};
	list_init(&a->queue);
	a->mountpoint = strdup(mountpoint);
	if (!a->mountpoint) {
		free(a);
		return -ENOMEM;
	}
	*ret_announcer = a;
	return 0;
}

static int watch(struct announcer *a)
{
	int r = loop_child_add(a->loop, a->pid, process_ended, a, &a->child);

	if (r < 0) {
		process_kill_new(a->pid);
		a->pid = 0;
		a->sock = close_fd(a->sock);
		return r;
	}
	return loop_fd_add(a->loop, a->sock, EPOLLIN, outcome_readable, a, &a->source);
}

static int start_now(struct announcer *a)
{
	_cleanup_close_ int theirs = -EBADF;
	pid_t parent = getpid();
	int pair[2];
	int r;

	if (a->pid != 0)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	a->sock = pair[0];
	theirs = pair[1];
	a->pid = fork();
	if (a->pid == 0)
		process_main(theirs, a->mountpoint, parent);
	if (a->pid < 0) {
		r = -errno;
		a->pid = 0;
		a->sock = close_fd(a->sock);
		return r;
	}
	r = watch(a);
	if (r < 0) {
		announcer_stop(a);
		return r;
	}
	a->events.started(a->pid, a->events.data);
	send_next(a);
	return 0;
}

int announcer_start(struct announcer *a)
{
	int r;

	a->restart = loop_timer_remove(a->restart);
	r = start_now(a);
	if (!is_shortage(r)) {
		a->tries = 0;
		return r;
	}
	if (a->tries++ == 0)
		log_warning("cannot start the announcer: %s, trying again", strerror(-r));
	return loop_timer_add(a->loop, RESTART_DELAY_MS, start_again, a, &a->restart);
}

pid_t announcer_pid(const struct announcer *a)
{
	return a->pid;
}

void announcer_stop(struct announcer *a)
{
	a->restart = loop_timer_remove(a->restart);
	if (a->pid == 0)
		return;
	(void)kill(a->pid, SIGKILL);
	a->child = loop_child_forget(a->child);
	a->source = loop_fd_remove(a->source);
	a->sock = close_fd(a->sock);
	a->pid = 0;
	a->sent = false;
}

struct announcer *announcer_free(struct announcer *a)
{
	if (!a)
		return NULL;
	announcer_stop(a);
	list_for_each_safe (it, tmp, &a->queue) {
		list_remove(it);
		free(CONTAINER_OF(it, struct queued, link));
	}
	free(a->mountpoint);
	free(a);
	return NULL;
}

int announcer_queue(struct announcer *a, uint32_t id, bool make, const char *name)
{
	struct queued *queued = calloc(1, sizeof(*queued));

	if (!queued)
		return -ENOMEM;
	queued->what.id = id;
	queued->what.make = make;
	(void)STR_COPY(queued->what.name, name);
	list_append(&a->queue, &queued->link);
	send_next(a);
	return 0;
}
