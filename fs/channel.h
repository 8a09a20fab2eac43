/*
 * The connection with the kernel: INIT, requests in, replies and notifications out, and the
 * registration of backing files for passthrough (fs/fuse/dev.c, fs/fuse/backing.c).
 */
#pragma once

#include <sys/uio.h>

#include "fs/wire.h"

/* What INIT agreed on. */
struct channel_features {
	uint64_t flags; /* FUSE_* flags that both sides have */
	uint32_t max_write;
	bool passthrough;
	bool resend;
};

struct channel {
	int fd; /* /dev/fuse */
	struct channel_features features;
	bool restarted; /* INIT was done by an earlier server */
};

/*
 * Bytes that a request can have: the largest write and what stands before it. A buffer that ends
 * a page with the latter has the data aligned for O_DIRECT.
 */
#define CHANNEL_MAX_WRITE    (1U << 20)
#define CHANNEL_WRITE_OFFSET (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define CHANNEL_BUFFER	     (CHANNEL_MAX_WRITE + CHANNEL_WRITE_OFFSET)

/*
 * Reads the INIT request of a new connection, answers it and keeps it in saved (size bytes), or
 * takes what an earlier server agreed on from there when saved holds an INIT already: the
 * kernel sends it only once. Blocks until the kernel sends it. Returns 0, -EPROTO with a kernel
 * that is too old, or -errno.
 */
int channel_init(struct channel *channel, void *saved, size_t saved_size, bool want_passthrough);

/*
 * Reads one request into a buffer of CHANNEL_BUFFER bytes. Returns its length; -ENODEV when the
 * connection is gone; -EAGAIN for "try again" (also after an interrupted request); or -errno.
 */
ssize_t channel_read(struct channel *channel, char *buf);

/*
 * Writes one reply. Returns 0; -ECANCELED when the request is not known any more; -errno.
 */
int channel_write(struct channel *channel, const struct iovec *iov, int count);

/* A pipe of the calling thread, in which a reply with data of a file is put together. */
struct channel_pipe {
	int fds[2];
	size_t capacity;
};
/* The calling thread's, large enough for size bytes, or NULL. Closed at thread exit. */
struct channel_pipe *channel_pipe_get(size_t size);
/* Throws away what is in the pipe. */
void channel_pipe_reset(struct channel_pipe *pipe);
/*
 * Puts in the header, which tells of size bytes, and these bytes of the file. Blocks on the device.
 * Returns how many there were, or -errno.
 */
ssize_t channel_pipe_fill(struct channel_pipe *pipe, const struct fuse_out_header *out, int fd,
			  off_t offset, size_t size);
/* Sends what is in the pipe: size bytes, with the header. Returns like channel_write(). */
int channel_pipe_send(struct channel *channel, struct channel_pipe *pipe, size_t size);

/*
 * Registers an open file as the backing of passthrough opens, with the credentials of the
 * calling thread, which the kernel uses for every later access. Returns the id (> 0) or -errno.
 */
int channel_backing_open(struct channel *channel, int fd);
void channel_backing_close(struct channel *channel, int backing_id);

/*
 * Notifications. No lock may be held. attributes: drops cached attributes of a node; takes no lock
 * of the kernel. data: also the page cache of the range, writing dirty pages to us first: whoever
 * reads or writes the file holds its pages locked until he has his answer. entry: a name in a
 * directory, whose lock is held by everybody who waits for an answer about a name in it. Not
 * behind the gate, all of which could be waiting so (but a few may: proxy_io.c), and never by a
 * thread that others need for their answers. resend: asks for all requests that were read but not
 * answered.
 */
int channel_notify_attributes(struct channel *channel, uint64_t nodeid);
int channel_notify_data(struct channel *channel, uint64_t nodeid, off_t offset, off_t size);
int channel_notify_entry(struct channel *channel, uint64_t parent, const char *name);
int channel_notify_resend(struct channel *channel);
