#include "dispatch-reply.h"

#include "fuzz.h"

/* A reply that is no error has exactly this size; 0: the request brings the size along. */
static const struct {
	uint32_t opcode;
	size_t size;
} sizes[] = {
	{FUSE_LOOKUP, sizeof(struct fuse_entry_out)},
	{FUSE_MKDIR, sizeof(struct fuse_entry_out)},
	{FUSE_MKNOD, sizeof(struct fuse_entry_out)},
	{FUSE_SYMLINK, sizeof(struct fuse_entry_out)},
	{FUSE_LINK, sizeof(struct fuse_entry_out)},
	{FUSE_CREATE, sizeof(struct wire_create_out)},
	{FUSE_TMPFILE, sizeof(struct wire_create_out)},
	{FUSE_GETATTR, sizeof(struct fuse_attr_out)},
	{FUSE_SETATTR, sizeof(struct fuse_attr_out)},
	{WIRE_STATX, sizeof(struct wire_statx_out)},
	{FUSE_OPEN, sizeof(struct wire_open_out)},
	{FUSE_OPENDIR, sizeof(struct wire_open_out)},
	{FUSE_WRITE, sizeof(struct fuse_write_out)},
	{FUSE_COPY_FILE_RANGE, sizeof(struct fuse_write_out)},
	{FUSE_LSEEK, sizeof(struct fuse_lseek_out)},
	{FUSE_STATFS, sizeof(struct fuse_statfs_out)},
};

/* Of requests whose body begins with a fuse_read_in or a fuse_getxattr_in. */
static void check_room(const struct fuzz_reply *reply, uint32_t opcode, const char *body,
		       size_t body_size)
{
	const struct fuse_read_in *read_in = (const void *)body;
	const struct fuse_getxattr_in *xattr_in = (const void *)body;

	if (body_size < sizeof(*xattr_in) && opcode == FUSE_LISTXATTR)
		return; /* the root has none, whoever asks how */
	switch (opcode) {
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		MUST(reply->size <= read_in->size);
		break;
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		if (xattr_in->size == 0)
			MUST(reply->size == sizeof(struct fuse_getxattr_out));
		else
			MUST(reply->size <= xattr_in->size);
		break;
	case FUSE_READLINK:
		MUST(reply->size < 4096);
		break;
	case FUSE_IOCTL:
		MUST(reply->size >= sizeof(struct fuse_ioctl_out));
		break;
	default:
		MUST(reply->size == 0);
		break;
	}
}

static void check_size(const struct fuzz_reply *reply, uint32_t opcode, const char *body,
		       size_t body_size)
{
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (sizes[i].opcode != opcode)
			continue;
		MUST(reply->size == sizes[i].size);
		return;
	}
	check_room(reply, opcode, body, body_size);
}

void fuzz_reply_read(const char *replies, size_t size, const struct fuse_in_header *head,
		     const char *body, size_t body_size, struct fuzz_reply *ret_reply)
{
	*ret_reply = (struct fuzz_reply){0};
	while (size > 0) {
		struct fuse_out_header out;

		MUST(size >= sizeof(out));
		memcpy(&out, replies, sizeof(out));
		MUST(out.len >= sizeof(out) && out.len <= size);
		replies += out.len;
		size -= out.len;
		if (out.unique == 0) {
			MUST(out.error > 0); /* a notification's code */
			continue;
		}
		MUST(out.unique == head->unique);
		MUST(out.error > -512 && out.error <= 0);
		MUST(out.error == 0 || out.len == sizeof(out));
		ret_reply->count++;
		ret_reply->error = out.error;
		ret_reply->size = out.len - sizeof(out);
		ret_reply->data = replies - ret_reply->size;
	}
	if (ret_reply->count > 0 && ret_reply->error == 0)
		check_size(ret_reply, head->opcode, body, body_size);
}
