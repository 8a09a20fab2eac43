/* Whether the kernel would take a reply, for fuzz-dispatch. */
#pragma once

#include "fs/wire.h"

struct fuzz_reply {
	unsigned count;	  /* of replies to the request; notifications are not counted */
	int error;	  /* of the last one */
	const char *data; /* and what follows its header */
	size_t size;
};

/*
 * Reads all that was written for a request. Aborts if any of it is malformed (fs/fuse/dev.c,
 * fuse_dev_do_write) or does not have the size that the kernel has room for (fs/fuse/dir.c and
 * file.c: args->out_args).
 */
void fuzz_reply_read(const char *replies, size_t size, const struct fuse_in_header *head,
		     const char *body, size_t body_size, struct fuzz_reply *ret_reply);
