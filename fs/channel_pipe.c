/* Replies without a copy: file -> pipe -> /dev/fuse. */
#include "channel.h"

#include <fcntl.h>
#include <pthread.h>

static pthread_key_t pipe_key;
static pthread_once_t pipe_once = PTHREAD_ONCE_INIT;

static void pipe_free(void *data)
{
	struct channel_pipe *pipe = data;

	for (int i = 0; i < 2; i++) {
		close_fd(pipe->data[i]);
		close_fd(pipe->reply[i]);
	}
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
	*pipe = (struct channel_pipe){.data = {-EBADF, -EBADF}, .reply = {-EBADF, -EBADF}};
	if (pipe2(pipe->data, O_CLOEXEC | O_NONBLOCK) < 0 ||
	    pipe2(pipe->reply, O_CLOEXEC | O_NONBLOCK) < 0 ||
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
	if (fcntl(pipe->data[1], F_SETPIPE_SZ, (int)need) < 0 ||
	    fcntl(pipe->reply[1], F_SETPIPE_SZ, (int)need) < 0)
		return NULL; /* pipe-user-pages-soft: copy instead */
	pipe->capacity = need;
	return pipe;
}

void channel_pipe_reset(struct channel_pipe *pipe)
{
	char sink[4096];

	while (read(pipe->data[0], sink, sizeof(sink)) > 0)
		;
	while (read(pipe->reply[0], sink, sizeof(sink)) > 0)
		;
}

static bool move_all(int from, int to, size_t n)
{
	while (n > 0) {
		ssize_t moved = splice(from, NULL, to, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

		if (moved <= 0)
			return false;
		n -= (size_t)moved;
	}
	return true;
}

int channel_splice(struct channel *channel, struct channel_pipe *pipe,
		   const struct fuse_out_header *out, size_t n)
{
	int r = 0;

	if (write(pipe->reply[1], out, sizeof(*out)) != (ssize_t)sizeof(*out) ||
	    !move_all(pipe->data[0], pipe->reply[1], n))
		r = -EIO;
	else if (splice(pipe->reply[0], NULL, channel->fd, NULL, sizeof(*out) + n, SPLICE_F_MOVE) <
		 0)
		r = errno == ENOENT ? -ECANCELED : -errno;
	if (r < 0)
		channel_pipe_reset(pipe);
	return r;
}
