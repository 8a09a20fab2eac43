/*
 * hotplugfs relay: takes the kernel's events of block devices where they arrive, and hands them to
 * daemons where they do not: behind a unix socket, or into a network namespace, where the kernel
 * sends them again as if they were its own. A daemon checks in sysfs whatever it is told.
 */
#pragma once

#include "base/util.h"

/* Where it listens if nothing else is said, and where a daemon looks for it. */
#define RELAY_DIRECTORY	     "/run/hotplugfs/relay"
#define RELAY_SOCKET_DEFAULT RELAY_DIRECTORY "/events.sock"

/* An event of this subsystem says that some were lost, for a namespace. A socket is cut off. */
#define RELAY_LOST_SUBSYSTEM "hotplugfs"

/* How root looks in a user namespace in which it is not mapped. */
#define RELAY_OVERFLOW_UID 65534u

struct relay_args {
	int pid;	    /* into the network namespace of this process; 0: into none */
	const char *listen; /* path of a unix socket, or NULL */
};

/*
 * Relays until SIGTERM, SIGINT or SIGRTMIN+3, or until the process has ended. READY=1 is sent when
 * nothing that happens from then on can be missed. Returns 0, or -errno (told).
 */
int relay_run(const struct relay_args *args);
