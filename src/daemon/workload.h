/*
 * COMMAND of `hotplugfs run`: one child without any right, its signals, its terminal and its exit
 * status. Nothing here knows of the view.
 */
#pragma once

#include <sys/resource.h>

#include "base/loop.h"
#include "base/privileges.h"

struct workload_args {
	char *const *argv; /* with a NULL at its end; borrowed */
	struct identity identity;
	/* what COMMAND inherits although the daemon has others; see workload_args_inherit() */
	mode_t umask;
	struct rlimit files;
	sigset_t ignored; /* signals that a nohup(1) or a shell has made ignored */
};

/* Takes from this process what COMMAND is to inherit: to be called before anything is changed. */
void workload_args_inherit(struct workload_args *args);

enum workload_state {
	WORKLOAD_WAITING, /* for its start */
	WORKLOAD_RUNNING,
	WORKLOAD_STOPPING, /* it has been told to end */
	WORKLOAD_ENDED,
	WORKLOAD_STATE_COUNT,
};

struct workload;

/* status: 0-255, as of a shell: 128+N after signal N. */
typedef void (*workload_ended_fn)(int status, void *data);

/* args: borrowed, to be kept. Starts nothing yet. Returns 0 or -ENOMEM. */
int workload_new(struct loop *loop, const struct workload_args *args, workload_ended_fn ended,
		 void *data, struct workload **ret_workload);
/* Kills COMMAND if it still runs. Accepts NULL, returns NULL. */
struct workload *workload_free(struct workload *workload);

enum workload_state workload_state(const struct workload *workload);

/*
 * Starts COMMAND. A command that is not found, or cannot be executed, ends with the status 127 or
 * 126 after a line in the log. Returns 0 or -errno.
 */
int workload_start(struct workload *workload);

/* A COMMAND that runs or has ended, over execve(2) of the program that has started it. */
struct workload_left {
	pid_t pid;
	enum workload_state state;
	int place; /* enum terminal_place */
};
void workload_leave(const struct workload *workload, struct workload_left *ret_left);
/* Instead of workload_start(). Returns 0 or -errno. */
int workload_take(struct workload *workload, const struct workload_left *left);

/*
 * Hands a signal on to COMMAND. SIGRTMIN+3 ("halt" for an init) becomes SIGTERM, a second one
 * SIGKILL. SIGCHLD: looks whether COMMAND was suspended, and then suspends us, too, if there is a
 * shell that can resume us; else COMMAND goes on. SIGCONT resumes it.
 */
void workload_signal(struct workload *workload, const struct signalfd_siginfo *info);

/* Whether the terminal has sent this signal to COMMAND as well as to us. */
bool workload_was_sent(const struct workload *workload, const struct signalfd_siginfo *info);

/* Sends SIGTERM to COMMAND, and SIGKILL if it still runs after timeout_ms. */
void workload_stop(struct workload *workload, uint64_t timeout_ms);
