#include "dirent.h"

static size_t record_size(const struct dirent_buffer *buf, size_t name_length)
{
	size_t head = buf->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;

	return FUSE_DIRENT_ALIGN(head + name_length);
}

bool dirent_fits(const struct dirent_buffer *buf, size_t name_length)
{
	return record_size(buf, name_length) <= buf->size - buf->used;
}

bool dirent_add(struct dirent_buffer *buf, const char *name, uint64_t ino, uint32_t type,
		uint64_t next, const struct fuse_entry_out *entry)
{
	size_t length = strlen(name);
	size_t size = record_size(buf, length);
	char *at = buf->data + buf->used;
	struct fuse_dirent *d;

	if (!dirent_fits(buf, length))
		return false;
	memset(at, 0, size);
	if (buf->plus) {
		memcpy(at, entry, sizeof(*entry));
		at += sizeof(*entry);
	}
	d = (struct fuse_dirent *)at;
	d->ino = ino;
	d->off = next;
	d->namelen = (uint32_t)length;
	d->type = type;
	memcpy(d->name, name, length);
	buf->used += size;
	return true;
}
