/* The few ioctls whose argument is plain data and whose effect stays within one file. */
#include "ops.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include "creds.h"

/*
 * The kernel has checked who may do it (vfs_fileattr_set) and passes the argument by value, with
 * the size that it needs (fs/fuse/ioctl.c).
 */
static const struct {
	uint32_t command;
	uint32_t size;
	bool writes;
} allowed[] = {
	{FS_IOC_GETFLAGS, sizeof(int), false},
	{FS_IOC_SETFLAGS, sizeof(int), true},
	{FS_IOC_FSGETXATTR, sizeof(struct fsxattr), false},
	{FS_IOC_FSSETXATTR, sizeof(struct fsxattr), true},
	{FS_IOC_GETVERSION, sizeof(int), false},
};

static int ioctl_run(struct request *req, struct medium *m, struct file *f,
		     const struct fuse_ioctl_in *in, char *data, uint32_t *ret_size)
{
	const char *arg = req->body + sizeof(*in);

	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
		if (in->cmd != allowed[i].command)
			continue;
		if (allowed[i].writes && (in->in_size < allowed[i].size ||
					  req->body_size - sizeof(*in) < allowed[i].size))
			return -EINVAL;
		if (!allowed[i].writes && in->out_size < allowed[i].size)
			return -EINVAL;
		if (allowed[i].writes) {
			memcpy(data, arg, allowed[i].size);
			request_changes(req, m);
		}
		/* xfs takes set-id bits away from whoever may not keep them */
		creds_assume(req, m, req->head->uid == 0);
		if (ioctl(f->fd, in->cmd, data) < 0)
			return -errno;
		if (allowed[i].writes) /* the time of change is another now */
			(void)channel_notify_attributes(&m->view->channel, req->head->nodeid);
		*ret_size = allowed[i].writes ? 0 : allowed[i].size;
		return 0;
	}
	return -ENOTTY;
}

void op_ioctl(struct request *req, struct medium *m, const struct node_info *node)
{
	const struct fuse_ioctl_in *in = REQUEST_BODY(req, struct fuse_ioctl_in);
	struct fuse_ioctl_out out = {0};
	char data[sizeof(struct fsxattr)] = {0};
	struct iovec iov[3] = {{0}, {.iov_base = &out, .iov_len = sizeof(out)}};
	uint32_t size = 0;
	struct file *f;
	int r = in ? file_use(req, m, node, in->fh, &f) : -EINVAL;

	if (r == 0) {
		r = ioctl_run(req, m, f, in, data, &size);
		file_put(&req->view->files, f);
	}
	iov[2] = (struct iovec){.iov_base = data, .iov_len = size};
	if (r < 0)
		(void)reply_error(req, r);
	else
		(void)reply_vector(req, iov, size ? 3 : 2);
}
