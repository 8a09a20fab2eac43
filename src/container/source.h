/*
 * What a container is given: the view, and under it an empty read-only directory, the base, to
 * which the view comes by propagation. So the view arrives in the container as the kernel brings
 * mounts to other user namespaces, with flags (nodev and the like) that cannot be changed there;
 * and where the base is a slave of the directory that carries the view in the host, the view goes
 * and comes with the daemon.
 */
#pragma once

#include "base/mountinfo.h"

/* What the mount table calls a base that is no directory of the host. */
#define BASE_SOURCE "hotplugfs-base"

enum source_follow {
	SOURCE_FOLLOWS, /* a view that the daemon mounts later comes, too */
	SOURCE_STAYS,	/* the view is this one for ever */
};

struct source_wish {
	const char *view; /* where it is mounted */
	bool read_only;	  /* implies SOURCE_STAYS: later views would not be read-only */
	bool may_come;	  /* no view is needed now if one can come later */
};

struct source {
	int base;  /* a detached mount, to be moved to its place by the caller */
	int stage; /* where the view is to be mounted to arrive on base */
	int view;  /* a detached mount; -EBADF: none yet */
	enum source_follow follow;
};

#define SOURCE_NONE                                             \
	{                                                       \
		.base = -EBADF, .stage = -EBADF, .view = -EBADF \
	}

/*
 * Moves this process, which must have one thread, into a mount namespace of its own for ever, and
 * makes the mounts there. Returns 0, ret_source is then to be given to source_done(); -ENOENT
 * when there is no view (and none can come); -ENOTCONN when its daemon is dead; or -errno.
 */
int source_prepare(const struct source_wish *wish, struct source *ret_source);
void source_done(struct source *source);

/* In the namespace of source_prepare(): lets the view arrive on the base. Returns 0 or -errno. */
int source_send(const struct source *source);

/*
 * Moves this process into a mount namespace of its own for ever, and finds out which directory is
 * the base of a view there: its facts, of which device and root tell it. Returns 0 or -errno.
 */
int source_find_base(const char *view, struct mount_facts *ret_facts);
