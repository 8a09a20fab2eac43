/*
 * The view for fuzz-dispatch: two media that are open, one that is removed and one that is hidden
 * and cannot be mounted, on small filesystems in memory that nothing leads out of.
 */
#pragma once

#include "fs/view_internal.h"

enum fuzz_medium {
	FUZZ_ONE,
	FUZZ_TWO,
	FUZZ_REMOVED,
	FUZZ_HIDDEN,
	FUZZ_MEDIA,
};

#define FUZZ_ANNOUNCER 4242 /* pid of requests that may reveal and hide media */

struct fuzz_view {
	struct view *view;
	struct medium *media[FUZZ_MEDIA];
	uint64_t roots[FUZZ_MEDIA]; /* node ids of their directories */
	int reply_fd;		    /* a file instead of /dev/fuse: what the kernel would get */
	int free_fd;		    /* the lowest before an input */
};

/*
 * Enters namespaces of its own, without any right outside, and makes the view. Once, before there
 * is a second thread. Returns false where this is not allowed.
 */
bool fuzz_view_make(struct fuzz_view *f);

/* Looks up the media's directories and shows them again, if they were hidden. */
void fuzz_view_begin(struct fuzz_view *f);

/*
 * The kernel closes and forgets everything, and the files go. Then nothing may be left: no node,
 * no open file, no descriptor.
 */
void fuzz_view_end(struct fuzz_view *f);
