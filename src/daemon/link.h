/*
 * The messages between the broker and the FUSE server: fixed structs over a SOCK_SEQPACKET
 * pair, one message a packet, a file descriptor beside it where the type says so. Both ends are
 * the same binary, so no versioning and no byte order.
 */
#pragma once

#include "base/limits.h"
#include "base/util.h"

enum link_type {
	/* broker -> server */
	LINK_ADD = 1, /* info: a medium; not visible before the announcer's mkdir. Answer: ADDED */
	LINK_UPDATE,  /* info: the same medium, with other state, reason, options, owner, sizes */
	LINK_ROOT,    /* id, err; fd: the mounted root. Answer to WANT_MOUNT; requests go on */
	LINK_CLOSE,   /* id, flags: stop using the filesystem. Answered by CLOSED */
	LINK_OPEN,    /* id: after a CLOSE that the broker gave up: go on with the old root */
	LINK_REMOVE,  /* id, err: fence: every request, waiting or new, ends with err */
	LINK_FORGET,  /* id: the name is gone, drop the medium */
	LINK_ANNOUNCER, /* pid: the process whose mkdir and rmdir in the root are ours */
	LINK_START, /* ANNOUNCER and what else is to be known has been sent: serve requests from now
		       on */
	LINK_QUIT,  /* finish running requests, then exit */
	LINK_SETTINGS, /* flags: LINK_SETTINGS_*, idle_timeout_ms: in force from now on */

	/* server -> broker */
	LINK_ADDED,	 /* id: the medium is known, also the announcer: its mkdir may come */
	LINK_READY,	 /* flags: features of the connection (LINK_FEATURE_*); INIT is done */
	LINK_WANT_MOUNT, /* id: a request waits for the filesystem */
	LINK_USE,  /* id, writers, openers, flags (LINK_USE_*): counts changed between 0 and more */
	LINK_IDLE, /* id: nothing open and no request for the idle timeout */
	LINK_CLOSED, /* id, err: 0: root fd and caches closed, new requests wait; -EBUSY */
	LINK_FENCED, /* id: done, and the kernel has dropped the name: the announcer's rmdir may
			come */
};

/* flags of LINK_ADD and LINK_UPDATE (in info) */
#define LINK_INFO_READ_ONLY	 0x1u
#define LINK_INFO_VISIBLE	 0x2u  /* announced before this server started: visible at once */
#define LINK_INFO_NO_PASSTHROUGH 0x4u  /* its medium can change and cannot be fenced */
#define LINK_INFO_PROGRAM	 0x8u  /* a program serves it, which may hang */
#define LINK_INFO_STABLE_INODES	 0x10u /* its files keep their inode numbers */
/* flags of LINK_CLOSE */
#define LINK_CLOSE_IDLE	 0x1u /* only if nothing is open; else -EBUSY */
#define LINK_CLOSE_EJECT 0x2u /* new opens: ENODEV from now on; -EBUSY if files are open */
#define LINK_CLOSE_FORCE 0x4u /* close the files too: their handles give EIO from now on */
/* flags of LINK_SETTINGS */
#define LINK_SETTINGS_STRICT 0x1u /* durability strict: close waits for the disk */
/* flags of LINK_READY */
#define LINK_FEATURE_PASSTHROUGH 0x1u
#define LINK_FEATURE_RESEND	 0x2u
/* flags of LINK_USE */
#define LINK_USE_WRITTEN 0x1u /* something was changed since the last USE of this medium */

struct link_info {
	uint32_t id; /* 1..LIMIT_MEDIA, given by the broker, reused only after FORGET */
	uint32_t flags;
	uint32_t owner_uid; /* UINT32_MAX: owners as stored */
	uint32_t owner_gid;
	uint64_t appeared_s; /* CLOCK_REALTIME, the directory's times while it is not mounted */
	uint64_t size_bytes;
	uint64_t fs_total_bytes; /* from the probe; 0: not known, statfs mounts */
	uint64_t fs_free_bytes;
	uint32_t fs_block_size;
	char name[LIMIT_NAME + 1];
	/* the values of user.hotplugfs.*: */
	char state[16];
	char reason[LIMIT_REASON];
	char uuid[LIMIT_UUID];
	char label[LIMIT_LABEL];
	char fstype[LIMIT_FSTYPE];
	char device[LIMIT_KNAME];
	char driver[LIMIT_FSTYPE];
	char options[LIMIT_OPTIONS];
};

struct link_message {
	enum link_type type;
	uint32_t id;
	int32_t err; /* 0 or negative errno */
	uint32_t flags;
	int32_t pid;
	uint32_t writers;
	uint32_t openers; /* also with CLOSED and -EBUSY: how many files are open */
	uint64_t idle_timeout_ms;
	struct link_info info; /* only with ADD and UPDATE */
};

/*
 * Sends one message, with fd if it is not negative (it stays the caller's). Blocks only while
 * the socket buffer is full. Returns 0, or -EPIPE when the other end is gone, or -errno.
 */
int link_send(int sock, const struct link_message *message, int fd);

/*
 * Receives one message. ret_fd: a new close-on-exec fd or -EBADF. Returns 0, -EPIPE when the
 * other end is gone, -EAGAIN on a non-blocking socket, -EBADMSG, or -errno.
 */
int link_receive(int sock, struct link_message *ret_message, int *ret_fd);
