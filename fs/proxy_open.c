/* Opening and closing files. */
#include "ops.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>

#include "creds.h"

/*
 * What open(2) gets of the caller's flags. O_TRUNC is done after the file has been checked.
 * Where to append is known to the kernel (and may be changed by fcntl(2), without a word to us);
 * only a file that is append-only cannot be opened without it.
 */
static int backing_flags(uint32_t flags)
{
	return (int)flags & (O_ACCMODE | O_DIRECT | O_SYNC | O_NOATIME);
}

static bool wants_passthrough(const struct medium *m)
{
	return m->view->channel.features.passthrough && m->passthrough;
}

/*
 * Registers an open file and tells how it is to be used. The fd is taken over. ret_file: a
 * reference. A file that is open for reading and writing may be changed through a mapping of
 * the backing file, of which FUSE learns nothing: its attributes are not kept any more.
 */
static int file_register(struct request *req, struct medium *m, uint64_t nodeid, int fd, int flags,
			 struct wire_open_out *ret_out, struct file **ret_file)
{
	struct files_add add = {
		.node = (uint32_t)nodeid,
		.nodeid = nodeid,
		.request = request_unique(req),
		.medium = m,
		.fd = fd,
		.flags = flags,
		.passthrough = wants_passthrough(m),
	};
	int r;

	medium_ref(m); /* the file's */
	r = files_add(&m->view->files, &add, ret_file);
	if (r < 0) {
		close_fd(fd);
		medium_put(add.medium);
		return r;
	}
	*ret_out = (struct wire_open_out){.fh = (*ret_file)->handle};
	if (!m->view->strict)
		ret_out->open_flags |= FOPEN_NOFLUSH;
	if ((*ret_file)->backing_id > 0) {
		ret_out->open_flags |= FOPEN_PASSTHROUGH;
		ret_out->backing_id = (*ret_file)->backing_id;
		if ((flags & O_ACCMODE) == O_RDWR) {
			nodes_set_flags(&m->view->nodes, add.node, NODE_MAPPED, 0);
			(void)channel_notify_attributes(&m->view->channel, nodeid);
		}
	} else {
		ret_out->open_flags |= FOPEN_KEEP_CACHE;
		if ((*ret_file)->writer)
			workers_expect_writes(m->view);
	}
	return 0;
}

/*
 * O_TRUNC also works on a file that is opened for reading only, or for neither (mode 3). Not by
 * truncate(2), which leaves the times of an empty file as they are on some filesystems.
 */
static int truncate_readonly(int fd, int flags)
{
	char path[40];
	int again;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, flags | O_TRUNC | O_CLOEXEC);
	if (again < 0)
		return -errno;
	close_fd(again);
	return 0;
}

/* How a file was opened. */
struct opening {
	int flags;
	bool stripped; /* of set-id bits, by O_TRUNC */
};

static int truncate_opened(struct request *req, struct medium *m, int fd,
			   const struct fuse_open_in *in, struct opening *opening)
{
	int flags = opening->flags;
	bool lose = in->open_flags & FUSE_OPEN_KILL_SUIDGID;
	int r = setid_creds(req, m, fd, "", lose);
	struct stat st;

	if (r < 0)
		return r;
	/* a server that died may have taken them without having told anybody */
	lose = lose && fstat(fd, &st) == 0 &&
	       (request_resent(req) || st.st_mode & (S_ISUID | S_ISGID));
	request_changes(req, m);
	if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_ACCMODE) == O_RDWR)
		r = ftruncate(fd, 0) < 0 ? -errno : 0;
	else
		r = truncate_readonly(fd, flags);
	opening->stripped = lose;
	creds_assume(req, m, true); /* the backing is registered with these: see strip_setid() */
	return r;
}

static int open_node(struct request *req, struct medium *m, const struct node_info *node,
		     const struct fuse_open_in *in, struct opening *ret_opening)
{
	struct opening opening = {.flags = backing_flags(in->flags)};
	int fd;

	/* the backing is registered with these rights: see strip_setid() */
	creds_assume(req, m, true);
	fd = resolve_open(m, node, opening.flags);
	if (fd == -EPERM && in->flags & O_APPEND) {
		opening.flags |= O_APPEND;
		fd = resolve_open(m, node, opening.flags);
	}
	/* it was a question whether the filesystem can: file_direct_fd() has an fd for it */
	if (fd >= 0 && opening.flags & O_DIRECT)
		(void)fcntl(fd, F_SETFL, opening.flags & ~O_DIRECT);
	if (fd >= 0 && in->flags & O_TRUNC) {
		int r = truncate_opened(req, m, fd, in, &opening);

		if (r < 0) {
			close_fd(fd);
			return r;
		}
	}
	*ret_opening = opening;
	return fd;
}

int file_reply(struct request *req, struct file *f, const void *out, size_t size)
{
	struct files *files = &req->view->files;
	int r = reply_data(req, out, size);

	if (r < 0)
		files_release(files, f->handle);
	else
		files_delivered(files, f);
	return r;
}

void op_open(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_open_in *in = REQUEST_BODY(req, struct fuse_open_in);
	struct opening opening = {0};
	struct wire_open_out out;
	struct file *f;
	int r;

	r = in ? files_room(&m->view->files, false) : -EINVAL;
	if (r == 0)
		r = open_node(req, m, node, in, &opening);
	if (r >= 0)
		r = file_register(req, m, req->head->nodeid, r, opening.flags, &out, &f);
	if (r < 0) {
		(void)reply_error(req, r);
		return;
	}
	if (opening.stripped && expire_and_reply(req, m, f, &out) == 0)
		return;
	file_reply(req, f, &out, sizeof(out));
	file_put(&m->view->files, f);
}

/* Registers a file that was just made and sends the reply that CREATE and TMPFILE share. */
static int created(struct request *req, struct medium *m, const struct fuse_entry_out *entry,
		   int fd, int flags)
{
	struct wire_create_out out = {.entry = *entry};
	struct file *f;
	int r;

	creds_assume(req, m, true);
	r = file_register(req, m, entry->nodeid, fd, flags, &out.open, &f);
	if (r < 0)
		return r;
	/* somebody else may have made it a moment ago, and written; see attr_valid_s() */
	if (f->backing_id && (flags & O_ACCMODE) == O_RDWR && entry->attr.size > 0)
		out.entry.attr_valid = 0;
	if (file_reply(req, f, &out, sizeof(out)) < 0)
		entry_undo(m, entry);
	file_put(&m->view->files, f);
	return 0;
}

/* Answers for a file that was made (err 0), or with the error. Takes the fd over. */
static void created_reply(struct request *req, struct medium *m, int err,
			  const struct fuse_entry_out *entry, int fd, int flags)
{
	if (err < 0) {
		close_fd(fd);
	} else {
		if (flags & O_DIRECT)
			(void)fcntl(fd, F_SETFL, flags & ~O_DIRECT);
		err = created(req, m, entry, fd, flags); /* the fd is its */
		if (err < 0)
			entry_undo(m, entry);
	}
	if (err < 0)
		(void)reply_error(req, err);
}

void op_create(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_create_in *in = REQUEST_BODY(req, struct fuse_create_in);
	_cleanup_place_ struct place p = PLACE_NONE;
	struct fuse_entry_out entry = {0};
	const char *name;
	int fd = -EBADF;
	int flags = 0;
	int r = request_name(req, sizeof(*in), &name);

	if (r == 0)
		r = files_room(&m->view->files, false);
	if (r == 0)
		r = resolve_dir(m, node, &p);
	if (r == 0) {
		flags = backing_flags(in->flags);
		creds_create(req, m, in->umask);
		request_changes(req, m);
		flags |= O_CREAT | O_NOFOLLOW | O_CLOEXEC | ((int)in->flags & O_TRUNC);
		if (!request_resent(req))
			flags |= (int)in->flags & O_EXCL;
		fd = openat(p.fd, name, flags, in->mode & 07777);
		flags = backing_flags(in->flags);
		r = fd < 0 ? -errno : entry_make(m, node, name, fd, "", &entry);
	}
	created_reply(req, m, r, &entry, fd, flags);
}

void op_tmpfile(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_create_in *in = REQUEST_BODY(req, struct fuse_create_in);
	_cleanup_place_ struct place p = PLACE_NONE;
	struct fuse_entry_out entry = {0};
	int fd = -EBADF;
	int flags = 0;
	int r = in ? files_room(&m->view->files, false) : -EINVAL;

	if (r == 0)
		r = resolve_dir(m, node, &p);
	if (r == 0) {
		flags = backing_flags(in->flags);
		creds_create(req, m, in->umask);
		request_changes(req, m);
		fd = openat(p.fd, ".", flags | O_TMPFILE | ((int)in->flags & O_EXCL) | O_CLOEXEC,
			    in->mode & 07777);
		r = fd < 0 ? -errno : entry_make(m, node, NULL, fd, "", &entry);
	}
	created_reply(req, m, r, &entry, fd, flags);
}

/* xfs gives back what it had allocated ahead (xfs_file_release() in fs/xfs/xfs_file.c). */
static bool close_frees_blocks(const struct medium *m, uint32_t flags)
{
	return m && m->fstype == XFS_SUPER_MAGIC && (flags & O_ACCMODE) != O_RDONLY;
}

void op_release(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_release_in *in = REQUEST_BODY(req, struct fuse_release_in);

	(void)node;
	if (in)
		files_release(&req->view->files, in->fh);
	if (in && close_frees_blocks(m, in->flags))
		(void)channel_notify_attributes(&m->view->channel, req->head->nodeid);
	(void)reply_error(req, in ? 0 : -EINVAL);
}
