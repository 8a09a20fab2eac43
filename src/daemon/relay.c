#include "relay.h"

#include <signal.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/process.h"
#include "daemon/notify.h"
#include "daemon/relay_netns.h"
#include "daemon/relay_peers.h"
#include "daemon/rung.h"
#include "device/uevent.h"

/* Events relayed in one turn of the loop. */
#define BATCH_EVENTS 1024

struct relay {
	const struct relay_args *args;
	struct loop *loop;
	int events; /* the kernel's */
	bool lost;  /* see source_read_events() */
	int pidfd;
	int netns; /* for relay_netns_send(), or negative */
	struct relay_peers *peers;
	struct notify_ready ready;
	struct loop_fd *events_source;
	struct loop_fd *pid_source;
};

static void tell_lost(struct relay *relay)
{
	int r = relay->netns < 0 ? 0 : relay_netns_lost(relay->netns);

	relay->lost = false;
	log_notice("events were lost, telling so");
	if (r < 0)
		log_warning("cannot tell it to the network namespace: %s, ignoring", strerror(-r));
	if (relay->peers)
		relay_peers_lost(relay->peers);
}

static void pass_on(struct relay *relay, const char *message, size_t len)
{
	struct uevent event;
	int r = 0;

	if (uevent_parse(message, len, &event) < 0 || !streq(event.subsystem, "block"))
		return;
	log_debug("an event of %s", event.kname);
	if (relay->netns >= 0)
		r = relay_netns_send(relay->netns, message, len);
	if (r < 0) {
		log_warning("cannot send an event of %s: %s, ignoring", event.kname, strerror(-r));
		(void)relay_netns_lost(relay->netns);
	}
	if (relay->peers)
		relay_peers_send(relay->peers, message, len);
}

static void events_readable(int fd, uint32_t events, void *data)
{
	struct relay *relay = data;
	char message[LIMIT_UEVENT];

	(void)events;
	for (int i = 0; i < BATCH_EVENTS; i++) {
		ssize_t n = uevent_socket_receive(fd, UEVENT_FROM_KERNEL, message, sizeof(message));

		if (n >= 0 && !relay->lost)
			pass_on(relay, message, (size_t)n);
		if (n == -ENOBUFS)
			relay->lost = true;
		else if (n < 0 && relay->lost)
			tell_lost(relay);
		if (n < 0 && n != -ENOBUFS)
			return;
	}
}

static void on_signal(const struct signalfd_siginfo *info, void *data)
{
	struct relay *relay = data;

	(void)info;
	loop_quit(relay->loop, 0);
}

static void process_ended(int fd, uint32_t events, void *data)
{
	struct relay *relay = data;

	(void)fd;
	(void)events;
	log_info("the process %d has ended", relay->args->pid);
	loop_quit(relay->loop, 0);
}

static int start_signals(struct relay *relay)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGRTMIN + 3);
	return loop_signals(relay->loop, &set, on_signal, relay);
}

static int failed(const char *what, int r)
{
	if (r < 0)
		log_err("cannot %s: %s", what, strerror(-r));
	return r;
}

/* The socket comes first: it stays in the network namespace that it was opened in. */
static int start_events(struct relay *relay)
{
	const struct config config = {.dev_dir = (char[]){"/dev"}};
	struct rung rung;

	rung_choose(&config, &rung);
	if (rung.kernel == RUNG_KERNEL_SILENT) {
		log_err("the kernel sends no events here: run the relay on the host");
		return -ENOTSUP;
	}
	relay->events = uevent_socket_open();
	if (relay->events < 0)
		return failed("receive uevents", relay->events);
	return failed("wait for uevents",
		      loop_fd_add(relay->loop, relay->events, EPOLLIN, events_readable, relay,
				  &relay->events_source));
}

static int start_netns(struct relay *relay)
{
	int r;

	relay->pidfd = process_pidfd_open(relay->args->pid);
	if (relay->pidfd < 0) {
		log_err("no process %d: %s", relay->args->pid, strerror(-relay->pidfd));
		return relay->pidfd;
	}
	r = loop_fd_add(relay->loop, relay->pidfd, EPOLLIN, process_ended, relay,
			&relay->pid_source);
	if (r < 0)
		return failed("wait for the process", r);
	relay->netns = relay_netns_open(relay->pidfd);
	r = relay->netns < 0 ? relay->netns : relay_netns_lost(relay->netns);
	if (r < 0)
		log_err("cannot send events to the network namespace of process %d: %s%s",
			relay->args->pid, strerror(-r),
			r == -EPERM ? "; it takes CAP_SYS_ADMIN over that namespace and the right "
				      "to trace the process, as the host's root has, or who made "
				      "its user namespace"
				    : "");
	return r;
}

static int start_peers(struct relay *relay)
{
	const char *path = relay->args->listen;
	int r = relay_peers_new(relay->loop, path, &relay->peers);

	if (r == -EADDRINUSE)
		log_err("another relay listens on %s", QUOTE(path));
	else if (r < 0)
		log_err("cannot listen on %s: %s", QUOTE(path), strerror(-r));
	return r;
}

static int start(struct relay *relay)
{
	int r = failed("make the event loop", loop_new(&relay->loop));

	if (r == 0)
		r = failed("watch signals", start_signals(relay));
	if (r == 0)
		r = start_events(relay);
	if (r == 0 && relay->args->pid)
		r = start_netns(relay);
	/* last, since the directory that it makes stays: see relay_peers_free() */
	if (r == 0 && relay->args->listen)
		r = start_peers(relay);
	return r;
}

static void stop(struct relay *relay)
{
	notify_ready_done(&relay->ready);
	loop_fd_remove(relay->events_source);
	loop_fd_remove(relay->pid_source);
	relay_peers_free(relay->peers);
	close_fd(relay->events);
	close_fd(relay->pidfd);
	close_fd(relay->netns);
	loop_free(relay->loop);
}

int relay_run(const struct relay_args *args)
{
	struct relay relay = {.args = args, .events = -EBADF, .pidfd = -EBADF, .netns = -EBADF};
	int r = start(&relay);

	if (r == 0) {
		log_info("relaying events");
		notify_ready(&relay.ready, relay.loop);
		r = loop_run(relay.loop);
	}
	stop(&relay);
	return r;
}
