/*
 * Whether a file may still be changed through a mapping. With passthrough a mapping is one of the
 * backing file: it outlives the FUSE file that it was made with, and nobody tells us when it ends.
 * But a read lease cannot be had on a file that somebody has open for writing (fcntl(2);
 * check_conflicting_open() in fs/locks.c), and a mapping keeps its backing file open.
 */
#include "ops.h"

#include <fcntl.h>

#include "creds.h"

/* Whoever opens the file for writing meanwhile waits for the lease to be given back. */
static bool unmapped(struct nodes *nodes, const struct node_info *node, int fd)
{
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return false; /* EAGAIN; EACCES without CAP_LEASE; EINVAL where there are none */
	nodes_set_flags(nodes, node->index, 0, NODE_MAPPED);
	(void)fcntl(fd, F_SETLEASE, F_UNLCK);
	return true;
}

void mapping_check(const struct request *req, struct medium *m, struct node_info *node)
{
	_cleanup_close_ int fd = -EBADF;

	if (!(node->flags & NODE_MAPPED) || files_node_written(&m->view->files, node->index))
		return;
	creds_assume(req, m, true);
	fd = resolve_open(m, node, O_RDONLY);
	if (fd >= 0 && unmapped(&m->view->nodes, node, fd))
		node->flags &= (uint8_t)~NODE_MAPPED;
}
