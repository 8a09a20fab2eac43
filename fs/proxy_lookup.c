/* Finding names: LOOKUP, READLINK, and the entry that every new file's reply carries. */
#include "ops.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>

#define HFS_MAGIC     0x4244
#define HFSPLUS_MAGIC 0x482b

static int entry_of(struct medium *m, const struct node_info *dir, const char *name,
		    const struct stat *st, int fd, const char *at_name,
		    struct fuse_entry_out *ret_entry)
{
	struct node_info node = {
		.key = {.slot = m->slot,
			.dev = subvolume_number(m, st->st_dev, fd, at_name),
			.ino = st->st_ino},
		.type = st->st_mode & S_IFMT,
	};
	bool by_name = m->by_name || node.key.dev == SUBVOLUMES_OTHER;
	uint8_t flags = by_name ? NODE_BY_NAME : 0;
	struct fuse_entry_out entry = {.entry_valid = WIRE_FOREVER_S};
	int r = nodes_lookup(&m->view->nodes, dir->index, name, &node.key, node.type, flags,
			     &entry.nodeid);

	if (r == 0)
		r = nodes_get(&m->view->nodes, entry.nodeid, &node);
	if (r < 0)
		return r;
	if (name && node.flags & NODE_NAMELESS) { /* it has another name that was not known */
		nodes_set_flags(&m->view->nodes, node.index, 0, NODE_NAMELESS);
		files_forget_node(&m->view->files, node.index);
	}
	entry.attr_valid = attr_valid_s(&node, st);
	attr_fill(m, &node, st, &entry.attr);
	*ret_entry = entry;
	return 0;
}

int entry_make(struct medium *m, const struct node_info *dir, const char *node_name, int fd,
	       const char *name, struct fuse_entry_out *ret_entry)
{
	struct stat st;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
		return -errno;
	return entry_of(m, dir, node_name, &st, fd, name, ret_entry);
}

void entry_undo(struct medium *m, const struct fuse_entry_out *entry)
{
	if (entry->nodeid)
		op_forget(m->view, entry->nodeid, 1);
}

void entry_reply(struct request *req, struct medium *m, const struct node_info *dir, int err,
		 const char *name, int fd)
{
	struct fuse_entry_out entry = {0};

	if (err == 0)
		err = entry_make(m, dir, name, fd, name, &entry);
	if (err < 0)
		(void)reply_error(req, err);
	else if (reply_data(req, &entry, sizeof(entry)) < 0)
		entry_undo(m, &entry);
}

/*
 * Whether a name may come to be there when one is made that is written otherwise. Of the
 * filesystems that can do so for single directories these are asked.
 */
static bool folds_case(const struct medium *m, int dir_fd)
{
	_cleanup_close_ int readable = -EBADF;
	int flags = 0;

	switch (m->fstype) {
	case MSDOS_SUPER_MAGIC:
	case EXFAT_SUPER_MAGIC:
	case HFS_MAGIC:
	case HFSPLUS_MAGIC:
		return true;
	case EXT4_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
		if (ioctl(dir_fd, FS_IOC_GETFLAGS, &flags) < 0 && errno == EBADF) {
			readable = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			(void)ioctl(readable, FS_IOC_GETFLAGS, &flags);
		}
		return flags & FS_CASEFOLD_FL;
	default:
		return false;
	}
}

void op_lookup(struct request *req, struct medium *m, const struct node_info *node)
{
	struct fuse_entry_out entry = {.entry_valid = WIRE_FOREVER_S};
	_cleanup_place_ struct place p = PLACE_NONE;
	const char *name;
	int r = request_name(req, 0, &name);

	if (r == 0)
		r = resolve_dir(m, node, &p);

	if (r == 0)
		r = entry_make(m, node, name, p.fd, name, &entry);
	/* "not there" is worth remembering, too: node id 0 */
	if (r == -ENOENT && !folds_case(m, p.fd))
		r = 0;
	if (r < 0)
		(void)reply_error(req, r);
	else if (reply_data(req, &entry, sizeof(entry)) < 0)
		entry_undo(m, &entry);
}

#define TARGET_SIZE 4097

static int read_target(const struct place *p, void *target)
{
	ssize_t n = readlinkat(p->fd, p->name, target, TARGET_SIZE);

	return n < 0 ? -errno : (int)n;
}

void op_readlink(struct request *req, struct medium *m, const struct node_info *node)
{
	char target[TARGET_SIZE];
	int r = resolve_read(m, node, read_target, target);

	if (r < 0)
		(void)reply_error(req, r);
	else
		(void)reply_data(req, target, (size_t)r);
}
