/* When what was written is on the disk: close, fsync of files and directories. */
#include "ops.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include "base/flush.h"

static bool is_program(struct medium *m)
{
	bool program;

	pthread_mutex_lock(&m->lock);
	program = m->facts.program;
	pthread_mutex_unlock(&m->lock);
	return program;
}

/*
 * These have a log of what was done to names: fsync of a file writes it as far as the file needs
 * it, with the directories above. fuse: the program writes everything.
 */
static bool has_log(struct medium *m, int fd)
{
	static const uint32_t types[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
					 F2FS_SUPER_MAGIC};
	struct statfs st;

	if (is_program(m))
		return true;
	if (fstatfs(fd, &st) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((uint32_t)st.f_type == types[i])
			return true;
	return false;
}

/*
 * On vfat, exfat and ntfs a file that was synced can have no name on the disk, be it that its
 * directory has grown, or that it was renamed and the new entry does not tell its size yet. So
 * there the whole filesystem is written out, if names were changed since that was done last.
 */
static int sync_names(struct medium *m, int fd)
{
	unsigned ended = atomic_load(&m->names_ended); /* first: what begins now is not missed */
	unsigned begun = atomic_load(&m->names_begun);

	if (atomic_load(&m->names_synced) == begun || has_log(m, fd))
		return 0;
	if (syncfs(fd) < 0)
		return -errno;
	if (ended == begun)
		atomic_store(&m->names_synced, begun);
	return 0;
}

static int sync_file(struct medium *m, int fd, bool data_only)
{
	int r = sync_names(m, fd);

	if (r < 0)
		return r;
	return (data_only ? fdatasync(fd) : fsync(fd)) < 0 ? -errno : 0;
}

/* Files are opened with FOPEN_NOFLUSH unless close is to wait for the disk. */
void op_flush(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_flush_in *in = REQUEST_BODY(req, struct fuse_flush_in);
	struct file *f;
	int r = 0;

	if (req->view->strict) {
		r = in ? file_use(req, m, node, in->fh, &f) : -EINVAL;
		if (r == 0) {
			r = f->writer ? sync_file(m, f->fd, true) : 0;
			file_put(&req->view->files, f);
		}
	}
	(void)reply_error(req, r);
}

static int sync_medium(struct medium *m, int fd)
{
	return is_program(m) ? flush_program(fd) : flush_filesystem(fd);
}

/*
 * A file, or a directory. FUSE_SYNCFS is not sent to us, so fsync of a medium's directory stands
 * for it.
 */
void op_fsync(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_fsync_in *in = REQUEST_BODY(req, struct fuse_fsync_in);
	struct file *f;
	int r = in ? file_use(req, m, node, in->fh, &f) : -EINVAL;

	if (r == 0) {
		if (node->flags & NODE_MEDIUM_ROOT)
			r = sync_medium(m, f->fd);
		else
			r = sync_file(m, f->fd,
				      req->head->opcode == FUSE_FSYNC &&
					      in->fsync_flags & FUSE_FSYNC_FDATASYNC);
		file_put(&req->view->files, f);
	}
	(void)reply_error(req, r);
}
