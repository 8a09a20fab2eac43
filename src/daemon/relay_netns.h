/*
 * The kernel of a network namespace sends a message of ours to its listeners as if it were its own,
 * if we may administer that namespace (uevent_net_rcv() in lib/kobject_uevent.c, since 4.18). The
 * kernel adds a SEQNUM.
 */
#pragma once

#include "base/util.h"

/*
 * Enters the network namespace of a process, and its user namespace if that is what it takes, for
 * good: file descriptors that were opened before stay what they are. Returns a socket for
 * relay_netns_send(), or -errno: -EPERM if that is not allowed.
 */
int relay_netns_open(int pidfd);

/* Returns 0, -EMSGSIZE, or -errno. */
int relay_netns_send(int fd, const char *message, size_t len);
/* Tells the listeners that some were lost. */
int relay_netns_lost(int fd);
