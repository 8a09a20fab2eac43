/* The work of one staging child, in the namespace. Internal to staging/. */
#pragma once

#include "staging/request.h"

struct worker_tools {
	int dev_fd;  /* directory with device nodes */
	int fuse_fd; /* to mount a program by, or -errno */
	int root_fd; /* of what is unmounted, or -errno; worker_run() closes it */
};

/*
 * Does what is asked; may wait for the device without limit, so only a child calls it. ret_result:
 * root_fd is the caller's to close.
 */
void worker_run(const struct staging_request *request, const struct worker_tools *tools,
		struct staging_result *ret_result);

/* Path of a mount point, absolute in the namespace. */
struct worker_path {
	char text[32];
};
struct worker_path worker_mount_point(uint32_t id);

/* Adds what fstatfs tells of an open file of the filesystem; 0 where it tells nothing. */
void worker_space(int fd, struct staging_result *result);
