/*
 * An event source: one way to hear that something happened to a block device. What it says is only
 * a hint; the truth is in sysfs. watch.h chooses among them.
 */
#pragma once

#include "base/loop.h"

struct source_events {
	/* Something happened to this device; once for all its events that were waiting. */
	void (*device)(const char *kname, void *data);
	/* Events were lost: look at everything. */
	void (*lost)(void *data);
	void *data;
};

struct source_args {
	struct loop *loop;
	const struct source_events *events; /* outlives the source */
	int fd;				    /* of source_socket, becomes the source's */
	bool relayed; /* of source_socket: it is where only a relay sends, see UEVENT_FROM_RELAY */
	const char *path;    /* of source_relay */
	const char *dev_dir; /* of source_inotify */
	int sysfs_fd;	     /* of source_inotify; stays the caller's */
};

struct source_kind {
	/* ret_state: the source. Returns 0 or -errno; args->fd is taken in both cases. */
	int (*start)(const struct source_args *args, void **ret_state);
	/* Accepts NULL. */
	void (*stop)(void *state);
};

/* A netlink socket of kernel uevents (device/uevent.h), opened here or elsewhere. */
extern const struct source_kind source_socket;
/* hotplugfs relay behind a unix socket. While there is none it is tried again twice a second. */
extern const struct source_kind source_relay;
/* inotify on the directory of device nodes, then a look at what has changed in sysfs. */
extern const struct source_kind source_inotify;

struct uevent;

/*
 * Reads events from a descriptor until there are none or it is enough for one turn of the loop, and
 * names each device once. read: as uevent_socket_read(). *lost: that events are being dropped, kept
 * from one call to the next. Returns 0, or the error of read other than -EAGAIN and -ENOBUFS.
 */
int source_read_events(int fd, int (*read)(int fd, struct uevent *ret_event), bool *lost,
		       const struct source_events *events);
