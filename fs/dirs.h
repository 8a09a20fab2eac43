/*
 * A small cache of directory fds, so that a request costs one system call and not a walk from
 * the root. Used by all media; what it keeps open of a medium is closed before an unmount.
 */
#pragma once

#include <pthread.h>

#include "base/util.h"

struct medium;

#define DIRS_CACHED 40

/* An open directory, borrowed with a reference. */
struct dir {
	uint64_t nodeid; /* 0: an empty place */
	struct medium *medium;
	int fd;
	unsigned refs;
	uint64_t used;	/* for the choice of what goes first */
	bool temporary; /* not in the cache: freed with its last reference */
	bool dropped;	/* closed with its last reference */
};

struct dirs {
	pthread_mutex_t lock; /* a leaf: nothing else is taken under it */
	uint64_t clock;
	struct dir cached[DIRS_CACHED];
};

int dirs_init(struct dirs *dirs);
void dirs_done(struct dirs *dirs);

/* The cached directory with a reference, or NULL. */
struct dir *dirs_find(struct dirs *dirs, uint64_t nodeid);
/* Puts an fd (taken over) into the cache. Returns it with a reference, or NULL without memory. */
struct dir *dirs_add(struct dirs *dirs, struct medium *medium, uint64_t nodeid, int fd);
void dirs_put(struct dirs *dirs, struct dir *dir);

/* The directory was removed, or all of a medium's are to be closed. */
void dirs_drop(struct dirs *dirs, uint64_t nodeid);
void dirs_drop_medium(struct dirs *dirs, const struct medium *medium);
