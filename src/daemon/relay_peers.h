/* The relay's unix socket: each event is one packet, as the kernel has sent it. */
#pragma once

#include "base/loop.h"

struct relay_peers;

/* Returns 0 or -errno: those of listen_unix() (base/listen.h). path: borrowed. */
int relay_peers_new(struct loop *loop, const char *path, struct relay_peers **ret_peers);
/* Accepts NULL. */
void relay_peers_free(struct relay_peers *peers);

/* To everybody. Who does not keep up is cut off: he comes again and looks at all devices. */
void relay_peers_send(struct relay_peers *peers, const char *message, size_t len);
/* Cuts all off, for the same reason. */
void relay_peers_lost(struct relay_peers *peers);
