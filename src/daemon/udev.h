/*
 * What udevd knows, where its /run/udev is: that it has dealt with a device, and the property
 * UDISKS_IGNORE. Without udevd all of this does nothing.
 */
#pragma once

#include <sys/types.h>

#include "base/loop.h"

#define UDEVD_SOCKET "/run/udev/control"

struct udev_source;

/* kname: a block device that udevd has dealt with. */
typedef void (*udev_event_fn)(const char *kname, void *data);

/*
 * Listens to udevd, if its control socket is there. group: to its netlink group, which is only in
 * its own network namespace; else its database in /run/udev is watched. Returns 0, also without
 * udevd, or -errno.
 */
int udev_source_new(struct loop *loop, bool group, udev_event_fn fn, void *data,
		    struct udev_source **ret_source);
/* Accepts NULL, returns NULL. */
struct udev_source *udev_source_free(struct udev_source *source);

enum udev_knowledge {
	UDEV_ABSENT,  /* no udevd */
	UDEV_UNKNOWN, /* udevd has not yet dealt with the device */
	UDEV_KNOWN,   /* nothing against it */
	UDEV_IGNORED, /* UDISKS_IGNORE=1 */
};

/* Reads udevd's database, never the device. */
enum udev_knowledge udev_source_ask(struct udev_source *source, dev_t devnum);
