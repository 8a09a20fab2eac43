/*
 * Keeps a FUSE server process running on one connection: starts it, talks with it over the link,
 * and starts another one when it dies. The connection's fd and the memfd of its state are kept
 * here, so they outlive every server.
 */
#pragma once

#include "base/loop.h"
#include "daemon/link.h"

struct supervisor;

struct supervisor_args {
	int fuse_fd; /* taken over */
	bool passthrough;
	bool strict;
	uint64_t idle_timeout_ms;
};

struct supervisor_events {
	/*
	 * A server was started; it knows nothing. What is sent now reaches it before everything
	 * else. again: it takes over from one that died.
	 */
	void (*started)(bool again, void *data);
	/* A message; fd is the callee's to close (or -EBADF). */
	void (*message)(const struct link_message *message, int fd, void *data);
	/*
	 * It ended and there will be no other: err 0 after supervisor_expect_end(), -ENOTCONN
	 * when the connection is gone (somebody has unmounted the view), -ELOOP when it died too
	 * often, or -errno. Not for a shortage (util.h): then there will be another one later.
	 */
	void (*ended)(int err, void *data);
	void *data;
};

/* Starts nothing yet. Returns 0 or -errno; then fuse_fd is closed, too. */
int supervisor_new(struct loop *loop, const struct supervisor_args *args,
		   const struct supervisor_events *events, struct supervisor **ret_supervisor);
/* Kills the server and closes the connection, which ends it. Accepts NULL, returns NULL. */
struct supervisor *supervisor_free(struct supervisor *supervisor);

/* What outlives execve(2) of the program that has started the server. All stay the supervisor's. */
struct supervisor_left {
	int fuse_fd;
	int nodes_fd;
	int files_fd; /* the end that keeps the open files */
	int link_fd;  /* the server ends when it is closed */
	pid_t pid;
};
/* To be asked only while there is a server. */
void supervisor_leave(const struct supervisor *supervisor, struct supervisor_left *ret_left);
/*
 * Instead of supervisor_new(). args->fuse_fd means nothing. Takes the fds over if it succeeds.
 * supervisor_start() then puts another server in the place of this one (pid 0: it has ended, and
 * the fds of its link and its files are -EBADF). Returns 0 or -errno.
 */
int supervisor_take(struct loop *loop, const struct supervisor_args *args,
		    const struct supervisor_events *events, const struct supervisor_left *left,
		    struct supervisor **ret_supervisor);

/* Starts the first server; calls events->started. Returns 0 or -errno. */
int supervisor_start(struct supervisor *supervisor);

/* What servers started from now on are given. */
void supervisor_settings(struct supervisor *supervisor, bool strict, uint64_t idle_timeout_ms);

/*
 * Sends a message, with fd if it is not negative (it stays the caller's). Never waits: what the
 * socket does not take is queued. With no server it is dropped: events->started says when to tell
 * a new one everything.
 */
void supervisor_send(struct supervisor *supervisor, const struct link_message *message, int fd);

/* Whether there is a server. */
bool supervisor_running(const struct supervisor *supervisor);
/* Its process, or 0. */
pid_t supervisor_pid(const struct supervisor *supervisor);

/* From now on a server that ends is not followed by another one. */
void supervisor_expect_end(struct supervisor *supervisor);

/* Tells the server to end; kills it after timeout_ms. events->ended follows. */
void supervisor_quit(struct supervisor *supervisor, uint64_t timeout_ms);
