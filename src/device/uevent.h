/*
 * Kernel uevents: the parser (pure) and the netlink socket.
 * Message form: lib/kobject_uevent.c in the kernel: "action@devpath" NUL KEY=VALUE NUL ...
 */
#pragma once

#include <sys/types.h>

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
 * Copies a message of the kernel without its SEQNUM, which the kernel adds to every message that it
 * sends. Returns the length, or -EMSGSIZE. Pure.
 */
ssize_t uevent_without_seqnum(const char *buf, size_t len, char *ret_buf, size_t size);

/*
 * Opens and binds a socket of the kernel group (NETLINK_KOBJECT_UEVENT, group 1), non-blocking,
 * with credentials and the largest receive buffer that we are allowed. Needs no capability.
 * Returns the fd or -errno.
 */
int uevent_socket_open(void);

/*
 * Whether a descriptor is a bound socket of the kernel group: 0, -EBADF, -EPROTOTYPE when it is no
 * socket of uevents, -EADDRNOTAVAIL when it is not bound to that group, or -errno.
 */
int uevent_socket_check(int fd);

/*
 * Makes a socket that another process opened usable as if it were ours; it may belong to another
 * network namespace, whose events it then gives. Returns 0, what uevent_socket_check() says, or
 * -errno.
 */
int uevent_socket_adopt(int fd);

enum uevent_senders {
	/* It sends from port 0 and pid 0, as root (as nobody, where root is not mapped). */
	UEVENT_FROM_KERNEL,
	/*
	 * Also what a process lets the kernel send again (uevent_net_rcv() in
	 * lib/kobject_uevent.c), as hotplugfs relay does: it comes with the pid of that process.
	 * Its user must be root, ours, or one that is not mapped here. Only for network namespaces
	 * to which the kernel sends nothing of its own. The kernel demands CAP_SYS_ADMIN over the
	 * namespace.
	 */
	UEVENT_FROM_RELAY,
};

/*
 * Receives one message, at most size bytes, of which LIMIT_UEVENT are enough. What was sent by
 * others, and what is truncated, is skipped. Returns the length; -EAGAIN when there is none;
 * -ENOBUFS when the kernel dropped some, and the caller must rescan; or -errno. Never blocks.
 */
ssize_t uevent_socket_receive(int fd, enum uevent_senders senders, char *buf, size_t size);

/* The same, parsed; what cannot be parsed is skipped. Return 0 or -errno as above. */
int uevent_socket_read(int fd, struct uevent *ret_event);
int uevent_socket_read_relayed(int fd, struct uevent *ret_event);
