/* Data of open files that the kernel does not reach by passthrough. */
#include "ops.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include "base/limits.h"
#include "creds.h"
#include "scratch.h"

int file_use(struct request *req, struct medium *m, const struct node_info *node, uint64_t handle,
	     struct file **ret_file)
{
	struct file *f;
	int r = files_get(&req->view->files, handle, &f);
	int fd;

	if (r < 0)
		return r;
	if (f->node != node->index) {
		file_put(&req->view->files, f);
		return -EBADF;
	}
	if (f->fd < 0) {
		creds_assume(req, m, true);
		fd = resolve_open(m, node, f->flags & ~O_DIRECT);
		if (fd < 0) {
			file_put(&req->view->files, f);
			return fd;
		}
		files_set_fd(&req->view->files, f, fd);
	}
	*ret_file = f;
	return 0;
}

/*
 * All of a range, up to the end of the file: the kernel takes a short answer for the end, so an
 * error after the first bytes is one of the whole. Returns how many, or -errno.
 */
static ssize_t read_all(int fd, char *buf, size_t size, off_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, buf + done, size - done, offset + (off_t)done);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* For O_DIRECT, and where there are no pipes to be had. At most SCRATCH_SIZE. */
static void read_copy(struct request *req, int fd, off_t offset, size_t size, bool direct)
{
	char *buf = scratch_get();
	ssize_t n;

	if (!buf) {
		(void)reply_error(req, -ENOMEM);
		return;
	}
	n = direct ? pread(fd, buf, size, offset) : read_all(fd, buf, size, offset);
	if (direct && n < 0)
		n = -errno;
	if (n < 0)
		(void)reply_error(req, (int)n);
	else
		(void)reply_data(req, buf, (size_t)n);
}

#define READ_SMALL 8192 /* up to here a copy is cheaper than the pipes' system calls */

static void read_small(struct request *req, int fd, off_t offset, size_t size)
{
	char buf[READ_SMALL];
	ssize_t n = read_all(fd, buf, size, offset);

	if (n < 0)
		(void)reply_error(req, (int)n);
	else
		(void)reply_data(req, buf, (size_t)n);
}

/* in->flags are the file's flags as they are now, whatever it was opened with. */
static void read_direct(struct request *req, struct file *f, const struct fuse_read_in *in)
{
	int fd = file_direct_fd(&req->view->files, f);

	if (fd < 0)
		(void)reply_error(req, fd);
	else
		read_copy(req, fd, (off_t)in->offset, in->size, true);
}

void op_read(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_read_in *in = REQUEST_BODY(req, struct fuse_read_in);
	struct file *f;
	int r = in ? file_use(req, m, node, in->fh, &f) : -EINVAL;

	if (r == 0 && in->size > SCRATCH_SIZE) {
		file_put(&req->view->files, f);
		r = -EINVAL;
	}
	if (r < 0) {
		(void)reply_error(req, r);
		return;
	}
	if (in->flags & O_DIRECT)
		read_direct(req, f, in);
	else if (in->size <= READ_SMALL)
		read_small(req, f->fd, (off_t)in->offset, in->size);
	else if (reply_splice(req, f->fd, (off_t)in->offset, in->size) == -EAGAIN)
		read_copy(req, f->fd, (off_t)in->offset, in->size, false);
	file_put(&req->view->files, f);
}

static ssize_t write_all(int fd, const char *data, size_t size, off_t offset)
{
	size_t done = 0;

	do {
		ssize_t n = pwrite(fd, data + done, size - done, offset + (off_t)done);

		if (n < 0 && done == 0)
			return -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	} while (done < size);
	return (ssize_t)done;
}

/*
 * Pages of a mapping come back by themselves, later than the program wrote to them. Natively
 * that takes no capabilities from the file, as a write does (file_remove_privs).
 */
static ssize_t write_mapped(int fd, const char *data, size_t size, off_t offset)
{
	char capability[64];
	ssize_t had = fgetxattr(fd, "security.capability", capability, sizeof(capability));
	ssize_t n = write_all(fd, data, size, offset);

	if (had > 0)
		(void)fsetxattr(fd, "security.capability", capability, (size_t)had, 0);
	return n;
}

/*
 * A file that was append-only when it was opened has an fd with O_APPEND (proxy_open.c): pwrite()
 * would take no notice of the offset. Once the file is not append-only any more that can go.
 */
static int heed_offset(const struct file *f, int fd, bool mapped)
{
	int r = 0;

	if (f->flags & O_APPEND)
		r = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_APPEND) < 0 ? -errno : 0;
	return mapped ? r : 0; /* otherwise the end is where the caller appends */
}

/* An O_DIRECT write past the end was refused: the kernel restores the size now (set_size()). */
static void direct_refused(struct file *f, int fd, const struct fuse_write_in *in)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && in->offset + in->size > (uint64_t)st.st_size)
		f->direct_refused = true;
}

static ssize_t write_out(struct request *req, struct medium *m, struct file *f,
			 const struct fuse_write_in *in)
{
	const char *data = req->body + sizeof(*in);
	bool mapped = in->write_flags & FUSE_WRITE_CACHE;
	int fd = in->flags & O_DIRECT && !mapped ? file_direct_fd(&req->view->files, f) : f->fd;
	ssize_t n;
	int r;

	if (req->body_size - sizeof(*in) < in->size)
		return -EINVAL;
	if (fd < 0)
		return fd;
	r = setid_creds(req, m, fd, "", in->write_flags & FUSE_WRITE_KILL_SUIDGID);
	if (r < 0)
		return r;
	r = heed_offset(f, fd, mapped);
	if (r < 0)
		return r;
	request_changes(req, m);
	if (mapped)
		return write_mapped(fd, data, in->size, (off_t)in->offset);
	f->direct_refused = false;
	n = write_all(fd, data, in->size, (off_t)in->offset);
	if (n < 0 && in->flags & O_DIRECT)
		direct_refused(f, fd, in);
	return n;
}

void op_write(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_write_in *in = REQUEST_BODY(req, struct fuse_write_in);
	struct fuse_write_out out = {0};
	struct file *f;
	ssize_t n = in ? file_use(req, m, node, in->fh, &f) : -EINVAL;

	if (n == 0) {
		n = write_out(req, m, f, in);
		file_put(&req->view->files, f);
	}
	out.size = (uint32_t)MAX(n, 0);
	if (n < 0)
		(void)reply_error(req, (int)n);
	else
		(void)reply_data(req, &out, sizeof(out));
}

void op_fallocate(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_fallocate_in *in = REQUEST_BODY(req, struct fuse_fallocate_in);
	struct file *f;
	int r = in ? file_use(req, m, node, in->fh, &f) : -EINVAL;

	if (r == 0) {
		creds_assume(req, m, true); /* set-id bits: see strip_setid() */
		request_changes(req, m);
		if (fallocate(f->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) < 0)
			r = -errno;
		file_put(&req->view->files, f);
	}
	(void)reply_error(req, r);
}

#define FLUSHES_MAX (LIMIT_MEDIUM_THREADS / 4)

/*
 * Has the kernel write back what it has of the file. Whoever reads the file holds its pages locked
 * until he has his answer, which may wait for room in the gate: so no more than a few do this at a
 * time. Returns false when these are there already.
 */
static bool flush_pages(struct request *req, struct medium *m)
{
	bool may = atomic_fetch_add(&m->flushes, 1) < FLUSHES_MAX;

	if (may) {
		workers_yield(m->view);
		(void)channel_notify_data(&m->view->channel, req->head->nodeid, 0, 0);
	}
	atomic_fetch_sub(&m->flushes, 1);
	return may;
}

/* As on a filesystem that knows of no holes. */
static off_t seek_generic(const struct file *f, off_t offset, uint32_t whence)
{
	struct stat st;

	if (fstat(f->fd, &st) < 0)
		return -errno;
	if (offset >= st.st_size)
		return -ENXIO;
	return whence == SEEK_DATA ? offset : st.st_size;
}

/* Pages of a mapping that the kernel has not written back yet would look like a hole. */
static off_t seek(struct request *req, struct medium *m, const struct file *f,
		  const struct fuse_lseek_in *in)
{
	bool exact = f->backing_id || !files_node_mappable(&m->view->files, f->node) ||
		     flush_pages(req, m);
	off_t at = lseek(f->fd, (off_t)in->offset, (int)in->whence);

	if (at < 0 && (exact || errno != ENXIO || (off_t)in->offset < 0))
		return -errno;
	return exact ? at : seek_generic(f, MAX((off_t)in->offset, 0), in->whence);
}

void op_lseek(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_lseek_in *in = REQUEST_BODY(req, struct fuse_lseek_in);
	struct fuse_lseek_out out = {0};
	struct file *f;
	off_t at = in ? file_use(req, m, node, in->fh, &f) : -EINVAL;

	if (at == 0) {
		at = seek(req, m, f, in);
		file_put(&req->view->files, f);
	}
	out.offset = (uint64_t)at;
	if (at < 0)
		(void)reply_error(req, (int)at);
	else
		(void)reply_data(req, &out, sizeof(out));
}

/* The request does not say how the file is used now: as it was opened, then. */
static int copy_fd(struct request *req, struct file *f)
{
	return f->flags & O_DIRECT ? file_direct_fd(&req->view->files, f) : f->fd;
}

static struct timespec read_time(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_atim : (struct timespec){0};
}

/* The kernel knows by itself only that the file that is written to has changed. */
static void tell_read_time(const struct request *req, int fd, const struct timespec *before)
{
	const struct timespec now = read_time(fd);

	if (now.tv_sec != before->tv_sec || now.tv_nsec != before->tv_nsec)
		(void)channel_notify_attributes(&req->view->channel, req->head->nodeid);
}

void op_copy_file_range(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_copy_file_range_in *in = REQUEST_BODY(req,
								struct fuse_copy_file_range_in);
	struct fuse_write_out out = {0};
	struct node_info to_node;
	struct file *from = NULL;
	struct file *to = NULL;
	ssize_t n = in ? file_use(req, m, node, in->fh_in, &from) : -EINVAL;

	if (n == 0)
		n = nodes_get(&m->view->nodes, in->nodeid_out, &to_node);
	if (n == 0)
		n = to_node.key.slot == m->slot ? file_use(req, m, &to_node, in->fh_out, &to)
						: -EXDEV;
	if (n == 0) {
		off_t off_in = (off_t)in->off_in;
		off_t off_out = (off_t)in->off_out;

		creds_assume(req, m, true); /* set-id bits: see strip_setid() */
		request_changes(req, m);
		int from_fd = copy_fd(req, from);
		int to_fd = copy_fd(req, to);
		struct timespec before = read_time(from_fd);

		n = copy_file_range(from_fd, &off_in, to_fd, &off_out,
				    MIN(in->len, UINT32_MAX & ~4095ULL), (unsigned)in->flags);
		if (n < 0)
			n = from_fd < 0 ? from_fd : to_fd < 0 ? to_fd : -errno;
		tell_read_time(req, from_fd, &before);
	}
	if (from)
		file_put(&req->view->files, from);
	if (to)
		file_put(&req->view->files, to);
	out.size = (uint32_t)MAX(n, 0);
	if (n < 0)
		(void)reply_error(req, (int)n);
	else
		(void)reply_data(req, &out, sizeof(out));
}
