/* Becoming a user without any right, for good. */
#pragma once

#include <sys/types.h>

#include "util.h"

/* Who a process is to become. */
struct identity {
	bool change; /* false: it stays who it is, and the rest means nothing */
	uid_t uid;
	gid_t gid;
	const gid_t *groups; /* supplementary ones, borrowed */
	size_t group_count;
};

/*
 * Whether this process may become that user: CAP_SETUID and CAP_SETGID, or there is nothing to
 * change. Never blocks.
 */
bool privileges_allow(const struct identity *identity);

/*
 * Empties all five capability sets, becomes the user and sets no_new_privs: there is no way back.
 * Without CAP_SETPCAP the bounding set stays, which no_new_privs makes harmless. Resets what
 * PR_SET_PDEATHSIG has set. Must be called while the process has one thread. Returns 0 or -errno;
 * then the process is half changed and has to end.
 */
int privileges_drop(const struct identity *identity);
