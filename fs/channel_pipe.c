/* Replies without a copy: file -> pipe -> /dev/fuse. */
#include "channel.h"

#include <fcntl.h>
#include <pthread.h>

static pthread_key_t pipe_key;
static pthread_once_t pipe_once = PTHREAD_ONCE_INIT;

static void pipe_free(void *data)
{
	struct channel_pipe *pipe = data;

	close_fd(pipe->fds[0]);
	close_fd(pipe->fds[1]);
	free(pipe);
}

static void pipe_key_make(void)
{
	(void)pthread_key_create(&pipe_key, pipe_free);
}

static struct channel_pipe *pipe_new(void)
{
	struct channel_pipe *pipe = malloc(sizeof(*pipe));

	if (!pipe)
		return NULL;
	*pipe = (struct channel_pipe){.fds = {-EBADF, -EBADF}};
	if (pipe2(pipe->fds, O_CLOEXEC | O_NONBLOCK) < 0 ||
	    pthread_setspecific(pipe_key, pipe) != 0) {
		pipe_free(pipe);
		return NULL;
	}
	return pipe;
}

struct channel_pipe *channel_pipe_get(size_t size)
{
	struct channel_pipe *pipe;
	/* one page more: the range may start in the middle of a page; one for the header */
	size_t need = size + 4096 + 4096;

	(void)pthread_once(&pipe_once, pipe_key_make);
	pipe = pthread_getspecific(pipe_key);
	if (!pipe)
		pipe = pipe_new();
	if (!pipe || need <= pipe->capacity)
		return pipe;
	if (fcntl(pipe->fds[1], F_SETPIPE_SZ, (int)need) < 0)
		return NULL; /* pipe-user-pages-soft: copy instead */
	pipe->capacity = need;
	return pipe;
}

void channel_pipe_reset(struct channel_pipe *pipe)
{
	char sink[4096];

	while (read(pipe->fds[0], sink, sizeof(sink)) > 0)
		;
}

ssize_t channel_pipe_fill(struct channel_pipe *pipe, const struct fuse_out_header *out, int fd,
			  off_t offset, size_t size)
{
	size_t done = 0;

	if (write(pipe->fds[1], out, sizeof(*out)) != (ssize_t)sizeof(*out))
		return -EIO;
	while (done < size) {
		loff_t at = offset + (off_t)done;
		ssize_t n = splice(fd, &at, pipe->fds[1], NULL, size - done, SPLICE_F_NONBLOCK);

		if (n == 0)
			break;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/*
 * Without SPLICE_F_MOVE: with it the kernel tries to take each page out of the file's own cache
 * (fuse_try_move_folio() in fs/fuse/dev.c), and that takes longer than to copy it.
 */
int channel_pipe_send(struct channel *channel, struct channel_pipe *pipe, size_t size)
{
	int r;

	if (splice(pipe->fds[0], NULL, channel->fd, NULL, size, 0) >= 0)
		return 0;
	r = errno == ENOENT ? -ECANCELED : -errno;
	channel_pipe_reset(pipe);
	return r;
}
