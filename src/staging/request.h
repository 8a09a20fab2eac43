/* What the parent asks of a staging child, and what the child answers. Internal to staging/. */
#pragma once

#include "staging/staging.h"

/*
 * A keeper may be asked by a program that was installed later: to be raised whenever something of
 * this file means something else.
 */
#define STAGING_PROTOCOL 5

enum staging_work {
	STAGING_MOUNT,
	STAGING_UMOUNT,
	STAGING_SYNC,
	STAGING_ABANDON,
	STAGING_FIND,
	STAGING_CHECK, /* of a mount by a program: waits until it answers */
};

/* Parent -> keeper, one packet, with the child's end of the job's own socket pair beside it. */
struct staging_request {
	enum staging_work work;
	uint32_t id;
	bool force;    /* UMOUNT */
	bool shutdown; /* ABANDON */
	/*
	 * UMOUNT, ABANDON: the parent's fd of the root comes first, as a packet on the job's
	 * socket, and another packet when the parent has closed its own.
	 */
	bool root;
	/*
	 * A driver program serves it. With MOUNT, the connection (an fd of /dev/fuse) comes first,
	 * as a packet on the job's socket.
	 */
	bool program;
	/* the device, with MOUNT, and with UMOUNT if its cache is to be emptied then */
	dev_t devnum;
	char kname[LIMIT_KNAME];
	bool read_only; /* MOUNT; CHECK: it becomes so, since the program has decided that */
	/* the rest with MOUNT only */
	const struct driver *driver; /* of a program: the parent's, static */
	char kernel_type[LIMIT_FSTYPE];
	char options[LIMIT_OPTIONS];
	char rescue[LIMIT_FSTYPE];
};

enum staging_reply_kind {
	STAGING_STARTED, /* the first packet; beside it a pidfd of the child, to kill it */
	STAGING_DONE,	 /* the last one; beside it the root where the result has one */
};

struct staging_reply {
	enum staging_reply_kind kind;
	struct staging_result result; /* root_fd means nothing here */
};
