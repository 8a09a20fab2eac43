#include "request.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "channel.h"
#include "view_internal.h"

const void *request_body(const struct request *req, size_t size)
{
	return req->body_size >= size ? req->body : NULL;
}

const char *request_text(const struct request *req, size_t offset)
{
	if (offset >= req->body_size || !memchr(req->body + offset, '\0', req->body_size - offset))
		return NULL;
	return req->body + offset;
}

int request_name(const struct request *req, size_t offset, const char **ret_name)
{
	const char *name = request_text(req, offset);

	*ret_name = "";
	if (!name || !*name || strchr(name, '/') || streq(name, ".") || streq(name, ".."))
		return -EINVAL;
	if (strlen(name) > LIMIT_FILE_NAME)
		return -ENAMETOOLONG;
	*ret_name = name;
	return 0;
}

size_t request_setxattr_size(const struct request *req)
{
	return req->view->channel.features.flags & FUSE_SETXATTR_EXT
		       ? sizeof(struct fuse_setxattr_in)
		       : FUSE_COMPAT_SETXATTR_IN_SIZE;
}

#define DATA_LARGE (64u << 10)

bool request_moves_much(const struct fuse_in_header *head)
{
	const struct fuse_read_in *read = (const struct fuse_read_in *)(head + 1);

	return head->len >= DATA_LARGE ||
	       (head->opcode == FUSE_READ && head->len >= sizeof(*head) + sizeof(*read) &&
		read->size >= DATA_LARGE);
}

bool request_is_waited_for(const struct fuse_in_header *head)
{
	switch (head->opcode) {
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		return false;
	default:
		return true;
	}
}

bool request_claim(struct request *req)
{
	return !atomic_exchange(&req->answered, true);
}

/* What no other filesystem says: that a program has died, that this process has no descriptors. */
static int error_of_disk(int err)
{
	switch (err) {
	case -ENOTCONN: /* FUSE, of the program which served a medium */
	case -ECONNABORTED:
		return -EIO;
	case -EMFILE: /* the caller has */
		return -ENFILE;
	default:
		return err;
	}
}

/* The one place where errno changes its sign on the way to the kernel. */
static void header_fill(const struct request *req, struct fuse_out_header *out, int err,
			size_t payload)
{
	*out = (struct fuse_out_header){
		.len = (uint32_t)(sizeof(*out) + payload),
		.error = error_of_disk(err),
		.unique = req->head->unique,
	};
}

int reply_vector(struct request *req, struct iovec *iov, int count)
{
	struct fuse_out_header out;
	size_t payload = 0;

	if (!request_claim(req))
		return -ECANCELED;
	for (int i = 1; i < count; i++)
		payload += iov[i].iov_len;
	header_fill(req, &out, 0, payload);
	iov[0] = (struct iovec){.iov_base = &out, .iov_len = sizeof(out)};
	return channel_write(&req->view->channel, iov, count);
}

int reply_data(struct request *req, const void *data, size_t size)
{
	struct iovec iov[2] = {{0}, {.iov_base = (void *)data, .iov_len = size}};

	return reply_vector(req, iov, size ? 2 : 1);
}

int reply_error(struct request *req, int err)
{
	struct fuse_out_header out;
	struct iovec iov = {.iov_base = &out, .iov_len = sizeof(out)};

	if (!request_claim(req))
		return -ECANCELED;
	header_fill(req, &out, err, 0);
	return channel_write(&req->view->channel, &iov, 1);
}

/* How much of a range a file has. */
static ssize_t size_there(int fd, off_t offset, size_t size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return (ssize_t)size;
	return (ssize_t)MIN(size, (size_t)MAX(st.st_size - offset, 0));
}

/*
 * Puts the reply into the pipe. Returns its size; -EAGAIN when it cannot be made so, also since the
 * file has just become shorter; or -errno. An error behind the first bytes is one of the whole: the
 * kernel takes a short answer for the end of the file.
 */
static ssize_t splice_fill(const struct request *req, struct channel_pipe *pipe, int fd,
			   off_t offset, size_t size)
{
	ssize_t expected = size_there(fd, offset, size);
	struct fuse_out_header out;
	ssize_t n = expected;

	if (expected >= 0) {
		header_fill(req, &out, 0, (size_t)expected);
		n = channel_pipe_fill(pipe, &out, fd, offset, (size_t)expected);
	}
	if (n == expected && n >= 0)
		return n + (ssize_t)sizeof(out);
	channel_pipe_reset(pipe);
	return n >= 0 || n == -EINVAL ? -EAGAIN : n;
}

int reply_splice(struct request *req, int fd, off_t offset, size_t size)
{
	struct channel_pipe *pipe = channel_pipe_get(size);
	struct fuse_out_header out;
	ssize_t n = pipe ? splice_fill(req, pipe, fd, offset, size) : -EAGAIN;
	int r;

	if (n < 0)
		return n == -EAGAIN ? -EAGAIN : reply_error(req, (int)n);
	if (!request_claim(req)) {
		channel_pipe_reset(pipe);
		return -ECANCELED;
	}
	r = channel_pipe_send(&req->view->channel, pipe, (size_t)n);
	if (r < 0 && r != -ECANCELED) {
		struct iovec iov = {.iov_base = &out, .iov_len = sizeof(out)};

		header_fill(req, &out, -EIO, 0);
		(void)channel_write(&req->view->channel, &iov, 1);
	}
	return r;
}
