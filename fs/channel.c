#include "channel.h"

#include <fcntl.h>
#include <sys/ioctl.h>

ssize_t channel_read(struct channel *channel, char *buf)
{
	ssize_t n = read(channel->fd, buf, CHANNEL_BUFFER);

	if (n >= 0)
		return n;
	/* ENOENT: the request was interrupted between queue and read (fuse_dev_do_read) */
	if (errno == ENOENT || errno == EINTR || errno == EAGAIN)
		return -EAGAIN;
	return -errno;
}

int channel_write(struct channel *channel, const struct iovec *iov, int count)
{
	for (;;) {
		if (writev(channel->fd, iov, count) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		return errno == ENOENT ? -ECANCELED : -errno;
	}
}

int channel_backing_open(struct channel *channel, int fd)
{
	struct wire_backing_map map = {.fd = fd};
	int id = ioctl(channel->fd, WIRE_IOC_BACKING_OPEN, &map);

	return id < 0 ? -errno : id;
}

void channel_backing_close(struct channel *channel, int backing_id)
{
	uint32_t id = (uint32_t)backing_id;

	(void)ioctl(channel->fd, WIRE_IOC_BACKING_CLOSE, &id);
}

/* A message without a request: unique 0, the code in place of the error. iov[0] is filled in. */
static int notify(struct channel *channel, int code, struct iovec *iov, int count)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = code};

	for (int i = 1; i < count; i++)
		out.len += (uint32_t)iov[i].iov_len;
	iov[0] = (struct iovec){.iov_base = &out, .iov_len = sizeof(out)};
	return channel_write(channel, iov, count);
}

int channel_notify_data(struct channel *channel, uint64_t nodeid, off_t offset, off_t size)
{
	struct fuse_notify_inval_inode_out out = {.ino = nodeid, .off = offset, .len = size};
	struct iovec iov[2] = {{0}, {.iov_base = &out, .iov_len = sizeof(out)}};

	return notify(channel, FUSE_NOTIFY_INVAL_INODE, iov, 2);
}

int channel_notify_entry(struct channel *channel, uint64_t parent, const char *name)
{
	struct fuse_notify_inval_entry_out out = {.parent = parent,
						  .namelen = (uint32_t)strlen(name)};
	struct iovec iov[3] = {
		{0},
		{.iov_base = &out, .iov_len = sizeof(out)},
		{.iov_base = (void *)name, .iov_len = out.namelen + 1},
	};

	return notify(channel, FUSE_NOTIFY_INVAL_ENTRY, iov, 3);
}

int channel_notify_attributes(struct channel *channel, uint64_t nodeid)
{
	return channel_notify_data(channel, nodeid, -1, 0);
}

int channel_notify_resend(struct channel *channel)
{
	struct iovec iov[1];

	return notify(channel, WIRE_NOTIFY_RESEND, iov, 1);
}
