/* The FUSE server process: ties fs/ to the link. */
#pragma once

#include <sys/types.h>

#include "base/util.h"

struct server_args {
	int fuse_fd;	 /* /dev/fuse of the mounted connection */
	int link_fd;	 /* our end of the link */
	int nodes_fd;	 /* memfd of the node table; also holds the saved INIT request */
	int fdstore_fd;	 /* our end of the pair by which the next server gets our open files */
	int previous_fd; /* the end by which we get those of the one before, or -EBADF */
	int life_fd;	 /* hangs up when we are killed: see base/lifeline.h */
	bool passthrough;
	bool strict; /* durability strict: close waits for the disk */
	uint64_t idle_timeout_ms;
};

/*
 * Makes the memfd that outlives the server (node table, open files, saved INIT).
 * Returns the fd or -errno.
 */
int server_state_new(void);

/* What a program has to agree on with the one whose memfd it is to use: a line of text. Pure. */
void server_state_layout(char *ret_text, size_t size);

/*
 * Runs the server in this process (a fresh child of the broker, one thread): drops rights, does
 * or replays INIT, serves until LINK_QUIT or until the connection is gone. Takes over the fds.
 * Returns 0 or -errno; -EPIPE when the broker is gone. Other threads may still be at work then.
 */
int server_main(const struct server_args *args);
