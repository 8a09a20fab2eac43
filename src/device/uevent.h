/*
 * Kernel uevents: the parser (pure) and the netlink socket.
 * Message form: lib/kobject_uevent.c in the kernel: "action@devpath" NUL KEY=VALUE NUL ...
 */
#pragma once

#include "base/limits.h"
#include "base/util.h"

enum uevent_action {
	UEVENT_ADD,
	UEVENT_REMOVE,
	UEVENT_CHANGE,
	UEVENT_OTHER, /* bind, unbind, move, online, offline */
};

struct uevent {
	enum uevent_action action;
	char subsystem[32];
	char devtype[32];
	/*
	 * The last component of DEVPATH, which is the name in /sys/class/block, for events of a
	 * device node (with DEVNAME); "" for others.
	 */
	char kname[LIMIT_KNAME];
	uint64_t seqnum;
	uint64_t diskseq; /* 0: not told */
	bool media_change;
};

/*
 * Parses one message of len bytes, which need not be terminated and may be forged or damaged.
 * Returns 0, or -EBADMSG. Pure.
 */
int uevent_parse(const char *buf, size_t len, struct uevent *ret_event);

/*
 * Opens and binds a socket of the kernel group (NETLINK_KOBJECT_UEVENT, group 1), non-blocking,
 * with credentials and the largest receive buffer that we are allowed. Needs no capability.
 * Returns the fd or -errno.
 */
int uevent_socket_open(void);

/*
 * Reads one event. Messages that do not come from the kernel (nl_pid or the sender's pid is not
 * 0), truncated ones and those that cannot be parsed are skipped. Returns 0; -EAGAIN when there
 * is none; -ENOBUFS when the kernel dropped some, and the caller must rescan; or -errno.
 */
int uevent_socket_read(int fd, struct uevent *ret_event);
