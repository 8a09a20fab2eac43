#include "program_root.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "staging/namespace.h"

#define HELPER	  "/helper/fusermount"
#define OURSELVES "/proc/self/exe"

#define TREE_ATTRIBUTES	  (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define DEVICE_ATTRIBUTES (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)

/* What the new root has of the old one. */
static const struct {
	const char *from; /* NULL: the device */
	const char *to;
	uint64_t attributes;
	bool needed;
} parts[] = {
	{"/usr", "/usr", TREE_ATTRIBUTES, true},
	{"/lib", "/lib", TREE_ATTRIBUTES, false},
	{"/lib32", "/lib32", TREE_ATTRIBUTES, false},
	{"/lib64", "/lib64", TREE_ATTRIBUTES, false},
	{"/bin", "/bin", TREE_ATTRIBUTES, false},
	{"/sbin", "/sbin", TREE_ATTRIBUTES, false},
	{"/etc/ld.so.cache", "/etc/ld.so.cache", TREE_ATTRIBUTES, false},
	{"/etc/mtab", "/etc/mtab", TREE_ATTRIBUTES, false}, /* a link: nobody writes to it */
	{"/proc/filesystems", "/proc/filesystems", TREE_ATTRIBUTES, false},
	{OURSELVES, HELPER, TREE_ATTRIBUTES, true},
	{OURSELVES, HELPER "3", TREE_ATTRIBUTES, true},
	{"/dev/null", "/dev/null", DEVICE_ATTRIBUTES, false},
	{"/dev/urandom", "/dev/urandom", DEVICE_ATTRIBUTES, false},
	{"/dev/fuse", "/dev/fuse", DEVICE_ATTRIBUTES, true},
	{NULL, PROGRAM_ROOT_DISK, DEVICE_ATTRIBUTES, false},
};

/* Where libfuse looks for it before it looks in the path. */
static const char *const covered[] = {
	"/usr/bin/fusermount",
	"/usr/bin/fusermount3",
	"/bin/fusermount",
	"/bin/fusermount3",
};

/* A part while it is on its way: a link, or a tree that is mounted nowhere. */
struct piece {
	int tree; /* -EBADF: a link, or there is none */
	bool directory;
	char link[PATH_MAX]; /* "" unless it is one */
};

static int piece_clone(const char *path, uint64_t attributes, struct piece *piece)
{
	struct mount_attr attr = {.attr_set = attributes, .propagation = MS_PRIVATE};

	piece->tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (piece->tree < 0)
		return -errno;
	/* private: what is mounted over it must not be seen outside */
	return mount_setattr(piece->tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0
		       ? -errno
		       : 0;
}

static int link_read(const char *path, char target[PATH_MAX])
{
	ssize_t n = readlink(path, target, PATH_MAX - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	return 0;
}

/* By its path: the file itself may be on a mount of another namespace, and cannot be cloned. */
static int piece_take_ourselves(uint64_t attributes, struct piece *piece)
{
	char path[PATH_MAX];
	int r = link_read(OURSELVES, path);

	return r < 0 ? r : piece_clone(path, attributes, piece);
}

static int piece_take(const char *path, uint64_t attributes, struct piece *piece)
{
	struct stat st;

	if (streq(path, OURSELVES))
		return piece_take_ourselves(attributes, piece);
	if (lstat(path, &st) < 0)
		return -errno;
	piece->directory = S_ISDIR(st.st_mode);
	if (S_ISLNK(st.st_mode))
		return link_read(path, piece->link);
	return piece_clone(path, attributes, piece);
}

/* The node, if it is this device's. A link is followed. */
static int piece_take_device(const char *dev_dir, const char *kname, dev_t devnum,
			     struct piece *piece)
{
	char path[PATH_MAX];
	struct stat st;
	int n = snprintf(path, sizeof(path), "%s/%s", dev_dir, kname);

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	/* the kernel writes a slash of a device's name as an exclamation mark: cciss!c0d0 */
	for (char *p = path + n - strlen(kname); *p; p++)
		if (*p == '!')
			*p = '/';
	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode) || st.st_rdev != devnum)
		return -ENODEV;
	return piece_clone(path, DEVICE_ATTRIBUTES, piece);
}

static int directories_make(const char *path)
{
	char above[PATH_MAX];

	(void)STR_COPY(above, path);
	for (char *slash = strchr(above + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(above, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return 0;
}

static int piece_put(const struct piece *piece, const char *path)
{
	int r = directories_make(path);

	if (r < 0)
		return r;
	if (piece->link[0])
		return symlink(piece->link, path) < 0 ? -errno : 0;
	if (piece->tree < 0)
		return 0;
	r = piece->directory ? mkdir(path, 0755) : mknod(path, S_IFREG | 0600, 0);
	if (r < 0)
		return -errno;
	return move_mount(piece->tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno
											: 0;
}

static int finish(dev_t devnum, bool has_node)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};

	if (!has_node && mknod(PROGRAM_ROOT_DISK, S_IFBLK | 0600, devnum) < 0)
		return -errno;
	if (mkdir(PROGRAM_ROOT_MOUNT, 0755) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(covered); i++)
		if (access(covered[i], F_OK) == 0 &&
		    mount(HELPER, covered[i], NULL, MS_BIND, NULL) < 0)
			return -errno;
	return mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

int program_root_enter(const char *dev_dir, const char *kname, dev_t devnum, const char **failed)
{
	static struct piece pieces[ARRAY_SIZE(parts)];
	const size_t disk = ARRAY_SIZE(parts) - 1;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		pieces[i].tree = -EBADF;
		*failed = parts[i].to;
		if (parts[i].from)
			r = piece_take(parts[i].from, parts[i].attributes, &pieces[i]);
		else
			r = piece_take_device(dev_dir, kname, devnum, &pieces[i]);
		if (r < 0 && parts[i].needed)
			return r;
	}
	*failed = "a mount namespace";
	r = namespace_enter();
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
		*failed = parts[i].to;
		r = piece_put(&pieces[i], parts[i].to);
		close_fd(pieces[i].tree);
	}
	if (r < 0)
		return r;
	*failed = "the root directory";
	return finish(devnum, pieces[disk].tree >= 0);
}
