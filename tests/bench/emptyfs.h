/* The parts of emptyfs; see emptyfs.c. */
#pragma once

#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EMPTYFS_MAX_WRITE (128U << 10)
#define EMPTYFS_BUFFER	  (EMPTYFS_MAX_WRITE + 4096)
#define EMPTYFS_FILE_SIZE 4096
#define EMPTYFS_OVER_RING (1U << 9) /* FUSE_OVER_IO_URING of Linux 6.14, in flags2 */

struct emptyfs {
	int fuse;
	bool ring;
	_Atomic uint64_t next_node;
	_Atomic uint64_t counted;
};

/* Any reply; the kernel wants exactly the length of the right one. */
union emptyfs_answer {
	struct fuse_init_out init;
	struct fuse_attr_out attr;
	struct fuse_open_out open;
	struct fuse_write_out write;
	struct fuse_statfs_out statfs;
	char data[EMPTYFS_FILE_SIZE];
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} made;
};

/* Says on stderr what failed, with errno. Returns 1. */
int emptyfs_fail(const char *what);

/* argument: the structure behind the header. Returns the bytes of the answer that count. */
size_t emptyfs_answer(struct emptyfs *server, const struct fuse_in_header *in, const void *argument,
		      struct fuse_out_header *out, union emptyfs_answer *answer);

/* Takes one request from /dev/fuse. Returns 0, or -errno when the connection has ended. */
int emptyfs_serve_one(struct emptyfs *server, char *buffer);

/*
 * Starts a thread on each CPU for what comes from there; what nobody waits for (FORGET) still comes
 * through /dev/fuse. Returns 0 or -errno.
 */
int emptyfs_ring_start(struct emptyfs *server);
