/*
 * The kernel's uevents of block devices. What an event says is only a hint that something
 * happened to a device; the truth is in sysfs.
 */
#pragma once

#include "base/loop.h"

struct watch;

struct watch_events {
	/* Something happened to this device; once for all its events that were waiting. */
	void (*device)(const char *kname, void *data);
	/* Events were lost: look at everything. */
	void (*lost)(void *data);
	void *data;
};

/* Returns 0 or -errno. */
int watch_new(struct loop *loop, const struct watch_events *events, struct watch **ret_watch);
/* Accepts NULL, returns NULL. */
struct watch *watch_free(struct watch *watch);
