#include "ops.h"

#include <sys/sysmacros.h>

/* The kernel's encoding of a device number in the protocol (new_encode_dev). */
static uint32_t rdev_encode(dev_t dev)
{
	uint32_t major = major(dev);
	uint32_t minor = minor(dev);

	return (minor & 0xff) | (major << 8) | ((minor & ~0xffU) << 12);
}

void attr_fill(const struct medium *m, const struct node_info *node, const struct stat *st,
	       struct fuse_attr *ret_attr)
{
	*ret_attr = (struct fuse_attr){
		.ino = node->flags & NODE_MEDIUM_ROOT ? medium_ino(m, 0, 0)
						      : medium_ino(m, node->key.dev, node->key.ino),
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec,
		.mtime = (uint64_t)st->st_mtim.tv_sec,
		.ctime = (uint64_t)st->st_ctim.tv_sec,
		.atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = rdev_encode(st->st_rdev),
		.blksize = (uint32_t)st->st_blksize,
	};
	(void)medium_owner(m, &ret_attr->uid, &ret_attr->gid);
}

static struct wire_sx_time sx_time(uint64_t s, uint32_t ns)
{
	return (struct wire_sx_time){.tv_sec = (int64_t)s, .tv_nsec = ns};
}

void attr_to_statx(const struct fuse_attr *attr, struct wire_statx *ret_sx)
{
	dev_t rdev = makedev((attr->rdev & 0xfff00) >> 8,
			     (attr->rdev & 0xff) | ((attr->rdev >> 12) & 0xfff00));

	*ret_sx = (struct wire_statx){
		.mask = STATX_BASIC_STATS,
		.blksize = attr->blksize,
		.nlink = attr->nlink,
		.uid = attr->uid,
		.gid = attr->gid,
		.mode = (uint16_t)attr->mode,
		.ino = attr->ino,
		.size = attr->size,
		.blocks = attr->blocks,
		.atime = sx_time(attr->atime, attr->atimensec),
		.ctime = sx_time(attr->ctime, attr->ctimensec),
		.mtime = sx_time(attr->mtime, attr->mtimensec),
		.rdev_major = major(rdev),
		.rdev_minor = minor(rdev),
	};
}

uint64_t attr_valid_s(const struct node_info *node, const struct stat *st)
{
	/*
	 * Pages of a passthrough mapping change the times without a word to FUSE. An empty file has
	 * none, and the kernel knows of every way in which it gets some.
	 */
	if (node->flags & NODE_MAPPED && st->st_size > 0)
		return 0;
	return WIRE_FOREVER_S;
}
