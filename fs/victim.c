#include "victim.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <time.h>

static struct timespec time_of(const struct statx_timestamp *t)
{
	return (struct timespec){.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
}

/* What stat(2) would have said, by the one call that tells the time of birth, too. */
static int stat_and_birth(int dir_fd, const char *name, struct stat *ret_st,
			  struct timespec *ret_birth)
{
	struct statx sx;

	if (statx(dir_fd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &sx) < 0)
		return -errno;
	*ret_st = (struct stat){
		.st_dev = makedev(sx.stx_dev_major, sx.stx_dev_minor),
		.st_ino = sx.stx_ino,
		.st_mode = sx.stx_mode,
		.st_nlink = sx.stx_nlink,
		.st_uid = sx.stx_uid,
		.st_gid = sx.stx_gid,
		.st_rdev = makedev(sx.stx_rdev_major, sx.stx_rdev_minor),
		.st_size = (off_t)sx.stx_size,
		.st_blksize = (blksize_t)sx.stx_blksize,
		.st_blocks = (blkcnt_t)sx.stx_blocks,
		.st_atim = time_of(&sx.stx_atime),
		.st_mtim = time_of(&sx.stx_mtime),
		.st_ctim = time_of(&sx.stx_ctime),
	};
	if (sx.stx_mask & STATX_BTIME)
		*ret_birth = time_of(&sx.stx_btime);
	return 0;
}

/*
 * A plain file with one link is not held: an fd of ours would keep its blocks until the kernel's
 * FORGET comes, and the caller of unlink() expects them to be free when it returns.
 */
void victim_catch(struct medium *m, const struct node_info *dir, int dir_fd, const char *name,
		  bool leaves, struct victim *v)
{
	struct timespec birth = {0};

	*v = (struct victim){.fd = -EBADF};
	if (nodes_find_name(&m->view->nodes, dir->index, name, &v->node) < 0)
		return;
	if (stat_and_birth(dir_fd, name, &v->st, &birth) < 0)
		return;
	v->known = true;
	v->gone = leaves && (S_ISDIR(v->st.st_mode) || v->st.st_nlink <= 1);
	if (v->gone)
		nodes_set_flags(&m->view->nodes, v->node.index, NODE_LEAVING, 0);
	if (!S_ISREG(v->st.st_mode) || v->st.st_nlink > 1)
		v->fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	else
		v->birth = birth;
}

void victim_bury(struct medium *m, const struct node_info *dir, const char *name, struct victim *v)
{
	uint8_t flags;
	bool left;

	if (v->known && S_ISDIR(v->st.st_mode))
		dirs_drop(&m->view->dirs, nodes_id(&m->view->nodes, v->node.index, &flags));
	if (v->known)
		nodes_pin(&m->view->nodes, v->node.index);
	nodes_remove_name(&m->view->nodes, dir->index, name, v->gone, &left);
	if (v->known && v->node.known && !left) {
		v->st.st_nlink = S_ISDIR(v->st.st_mode) ? 0 : v->st.st_nlink - 1;
		(void)clock_gettime(CLOCK_REALTIME_COARSE, &v->st.st_ctim);
		nodes_set_flags(&m->view->nodes, v->node.index, NODE_NAMELESS, 0);
		files_set_deleted(&m->view->files, v->node.index, m->slot, &v->st, TAKE_FD(v->fd));
		files_set_deleted_birth(&m->view->files, v->node.index, v->birth);
	}
	if (!v->known)
		return;
	/* the kernel may have forgotten it while it was removed, if the fence answered first */
	if (nodes_forget(&m->view->nodes, nodes_id(&m->view->nodes, v->node.index, &flags), 0))
		files_forget_node(&m->view->files, v->node.index);
	nodes_unpin(&m->view->nodes, v->node.index);
}

void victim_spare(struct medium *m, const struct victim *v)
{
	if (v->gone)
		nodes_spare(&m->view->nodes, v->node.index, resolve_same(m, &v->node, &v->st));
}
