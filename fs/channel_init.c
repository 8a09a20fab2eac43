/* INIT: what we ask for, what the kernel offers, and the copy for the next server. */
#include "channel.h"

#include "base/limits.h"
#include "base/log.h"

enum saved_stage {
	SAVED_NONE,
	SAVED_ASKED, /* it is being answered: the kernel may or may not have the answer */
	SAVED_ANSWERED,
};

/* The saved INIT, in memory that outlives the server. */
struct saved_init {
	uint32_t stage;
	uint32_t passthrough;
	uint64_t unique;
	struct fuse_init_in in;
};

/*
 * Always wanted. POSIX_LOCKS and FLOCK_LOCKS are not: one kernel serves every user of the view,
 * so its own local locks are exact. AUTO_INVAL_DATA is not: nobody else writes to the medium.
 * WRITEBACK_CACHE is not, where there is no passthrough: with it, errors of write() come late,
 * times out of the filesystem's range are kept, and writes of 128 KiB and more took two to three
 * times as long as without it.
 */
static const uint64_t wanted_flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES |
				     FUSE_DONT_MASK | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |
				     FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
				     FUSE_HANDLE_KILLPRIV_V2 | FUSE_POSIX_ACL | FUSE_MAX_PAGES |
				     FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA |
				     FUSE_INIT_EXT | FUSE_SETXATTR_EXT | FUSE_DIRECT_IO_ALLOW_MMAP |
				     FUSE_HAS_RESEND;

static void agree(struct channel *channel, const struct fuse_init_in *in, bool want_passthrough)
{
	uint64_t offered = in->flags;
	uint64_t flags = wanted_flags;

	if (offered & FUSE_INIT_EXT)
		offered |= (uint64_t)in->flags2 << 32;
	if (want_passthrough && (offered & FUSE_PASSTHROUGH))
		flags |= FUSE_PASSTHROUGH;
	flags &= offered;
	channel->features = (struct channel_features){
		.flags = flags,
		.max_write = CHANNEL_MAX_WRITE,
		.passthrough = flags & FUSE_PASSTHROUGH,
		.resend = flags & FUSE_HAS_RESEND,
	};
}

static int answer(struct channel *channel, uint64_t unique, const struct fuse_init_in *in)
{
	struct wire_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = MIN(in->minor, FUSE_KERNEL_MINOR_VERSION),
		.max_readahead = in->max_readahead,
		.flags = (uint32_t)channel->features.flags,
		.flags2 = (uint32_t)(channel->features.flags >> 32),
		/* one number for all media: what one that is dead can hold must leave most of it */
		.max_background = LIMIT_BACKGROUND,
		.congestion_threshold = LIMIT_BACKGROUND,
		.max_write = CHANNEL_MAX_WRITE,
		.time_gran = 1,
		.max_pages = CHANNEL_MAX_WRITE / 4096,
		.max_stack_depth = channel->features.passthrough ? 1 : 0,
	};
	struct fuse_out_header head = {.len = sizeof(head) + sizeof(out), .unique = unique};
	struct iovec iov[2] = {
		{.iov_base = &head, .iov_len = sizeof(head)},
		{.iov_base = &out, .iov_len = sizeof(out)},
	};

	/* passthrough and resend are newer than the header that we may be built with */
	if (channel->features.flags >> 32)
		out.minor = in->minor;
	return channel_write(channel, iov, 2);
}

static int init_receive(struct channel *channel, struct fuse_init_in *in, uint64_t *unique)
{
	_cleanup_free_ char *buf = malloc(CHANNEL_BUFFER);
	struct fuse_in_header *head = (struct fuse_in_header *)buf;
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	do
		n = channel_read(channel, buf);
	while (n == -EAGAIN);
	if (n < 0)
		return (int)n;
	if ((size_t)n < sizeof(*head) + 16 || head->opcode != FUSE_INIT)
		return -EPROTO;
	memcpy(in, buf + sizeof(*head), MIN((size_t)n - sizeof(*head), sizeof(*in)));
	*unique = head->unique;
	/* 7.31 (Linux 5.4): everything that this server cannot do without */
	if (in->major != FUSE_KERNEL_VERSION || in->minor < 31)
		return -EPROTO;
	return 0;
}

static void saved_set(struct saved_init *keep, enum saved_stage stage)
{
	__atomic_store_n(&keep->stage, (uint32_t)stage, __ATOMIC_RELEASE);
}

int channel_init(struct channel *channel, void *saved, size_t saved_size, bool want_passthrough)
{
	struct saved_init *keep = saved;
	struct fuse_init_in in = {0};
	uint64_t unique = 0;
	int r;

	if (saved_size < sizeof(*keep))
		return -EINVAL;
	if (keep->stage != SAVED_NONE) {
		channel->restarted = true;
		agree(channel, &keep->in, keep->passthrough);
		r = keep->stage == SAVED_ASKED ? answer(channel, keep->unique, &keep->in) : 0;
		if (r == 0 || r == -ECANCELED) /* it had the answer */
			saved_set(keep, SAVED_ANSWERED);
		return r == -ECANCELED ? 0 : r;
	}
	/* one that an earlier server read; there is none otherwise, and old kernels refuse */
	(void)channel_notify_resend(channel);
	r = init_receive(channel, &in, &unique);
	if (r < 0)
		return r;
	agree(channel, &in, want_passthrough);
	keep->in = in;
	keep->passthrough = want_passthrough;
	keep->unique = unique;
	saved_set(keep, SAVED_ASKED);
	r = answer(channel, unique, &in);
	if (r == 0)
		saved_set(keep, SAVED_ANSWERED);
	log_debug("FUSE protocol 7.%u, passthrough %s", in.minor,
		  channel->features.passthrough ? "yes" : "no");
	return r;
}
