/*
 * Which event source there is to be: what works here, best first, or the one that the
 * configuration asks for. Looks only; doctor tells the same as the daemon does.
 */
#pragma once

#include "device/config.h"

enum rung_kernel {
	RUNG_KERNEL_SENDS,  /* the network namespace belongs to the initial user namespace */
	RUNG_KERNEL_SILENT, /* it belongs to another: the kernel sends nothing there */
	RUNG_KERNEL_MAYBE,  /* it belongs to one above ours, which we cannot look at */
};

struct rung {
	enum events_kind kind;	      /* never EVENTS_AUTO */
	bool forced;		      /* by the configuration */
	int fd;			      /* EVENTS_FD */
	char path[LIMIT_SOCKET_PATH]; /* EVENTS_UNIX */
	/* What was found: why a better one is not there. */
	enum rung_kernel kernel;
	bool udev_running; /* there is a udevd and its /run/udev */
	bool udev_here;	   /* and it may be in this network namespace */
	bool relay;	   /* there is a socket at RELAY_SOCKET_DEFAULT */
	bool dev_lives;	   /* new nodes appear in the device directory: it is devtmpfs */
};

/* Chooses. Never blocks, changes nothing. */
void rung_choose(const struct config *config, struct rung *ret_rung);

/* "udev", "kernel", "fd", "unix", "inotify". */
const char *rung_name(enum events_kind kind);

/* Why the best one that is not chosen is not, as a part of a sentence; "" for the best. */
void rung_why(const struct rung *rung, char *ret_text, size_t size);
