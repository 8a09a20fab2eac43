#include "victim.h"

#include <fcntl.h>
#include <time.h>

/*
 * A plain file with one link is not held: an fd of ours would keep its blocks until the kernel's
 * FORGET comes, and the caller of unlink() expects them to be free when it returns.
 */
void victim_catch(struct medium *m, const struct node_info *dir, int dir_fd, const char *name,
		  bool leaves, struct victim *v)
{
	struct statx sx;

	*v = (struct victim){.fd = -EBADF};
	if (nodes_find_name(&m->view->nodes, dir->index, name, &v->node) < 0)
		return;
	if (fstatat(dir_fd, name, &v->st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	v->known = true;
	v->gone = leaves && (S_ISDIR(v->st.st_mode) || v->st.st_nlink <= 1);
	if (v->gone)
		nodes_set_flags(&m->view->nodes, v->node.index, NODE_LEAVING, 0);
	if (!S_ISREG(v->st.st_mode) || v->st.st_nlink > 1)
		v->fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	else if (statx(dir_fd, name, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &sx) == 0 &&
		 sx.stx_mask & STATX_BTIME)
		v->birth = (struct timespec){sx.stx_btime.tv_sec, sx.stx_btime.tv_nsec};
}

void victim_bury(struct medium *m, const struct node_info *dir, const char *name, struct victim *v)
{
	uint32_t left;

	if (v->known)
		nodes_pin(&m->view->nodes, v->node.index);
	nodes_remove_name(&m->view->nodes, dir->index, name, v->gone, &left);
	if (v->known && v->node.known && left == 0) {
		v->st.st_nlink = S_ISDIR(v->st.st_mode) ? 0 : v->st.st_nlink - 1;
		(void)clock_gettime(CLOCK_REALTIME_COARSE, &v->st.st_ctim);
		nodes_set_flags(&m->view->nodes, v->node.index, NODE_NAMELESS, 0);
		files_set_deleted(&m->view->files, v->node.index, m->slot, &v->st, TAKE_FD(v->fd));
		files_set_deleted_birth(&m->view->files, v->node.index, v->birth);
	}
	if (v->known)
		nodes_unpin(&m->view->nodes, v->node.index);
}

void victim_spare(struct medium *m, const struct victim *v)
{
	if (v->gone)
		nodes_set_flags(&m->view->nodes, v->node.index, 0, NODE_LEAVING);
}
