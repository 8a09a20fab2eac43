/*
 * The sources of events, as a ladder; rung.h chooses. What an event says is only a hint that
 * something happened to a device; the truth is in sysfs.
 *
 *   udev     the kernel's events, and beside them udevd's (udev.h), once it has dealt with a device
 *   kernel   the kernel's events; and inotify, where it is not certain that they arrive
 *   fd       a socket for the kernel's events that somebody else has opened where they arrive
 *   unix     hotplugfs relay, which runs where they arrive
 *   inotify  what is left; and the kernel's events, since a relay may send some here
 */
#pragma once

#include "daemon/rung.h"
#include "daemon/source.h"
#include "device/config.h"

struct watch;

/*
 * Starts what the rung says, and logs it. events is copied. Returns 0 or -errno (told).
 */
int watch_new(struct loop *loop, const struct rung *rung, const struct config *config, int sysfs_fd,
	      const struct source_events *events, struct watch **ret_watch);
/* Accepts NULL, returns NULL. */
struct watch *watch_free(struct watch *watch);
