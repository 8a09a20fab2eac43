/* A unix socket at a path, for clients that may be anybody. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/loop.h"

/*
 * Listens at path, non-blocking, with mode 0666; type: SOCK_STREAM or SOCK_SEQPACKET. Makes the
 * directories above; ret_made: the last of them if this call made it, to be freed by the caller,
 * else not touched. A socket that nobody listens on any more is replaced. Returns the fd; or, and
 * then none of these directories is left, -EADDRINUSE if somebody listens there, -EEXIST if it is
 * something else, -ENAMETOOLONG, or -errno. Never blocks.
 */
int listen_unix(const char *path, int type, char **ret_made);

/* Of a listener that is left alone for a moment. Zeroed: of none. */
struct listen_pause {
	struct loop_fd *source;
	struct loop_timer *timer; /* to be removed with the source */
};

/*
 * Takes a connection that the source tells of: a close-on-exec and non-blocking fd, or -errno. When
 * there is no descriptor to be had for it the source is silent for a moment: it would tell of the
 * same one again at once, and again. Never blocks.
 */
int listen_accept(struct loop *loop, int fd, struct loop_fd *source, struct listen_pause *pause);

/* Who connected; (uid_t)-1: not known. */
uid_t listen_peer_uid(int fd);
/* Whether that is root, or the user that this process runs as. */
bool listen_trusts(uid_t uid);
