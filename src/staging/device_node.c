#include "device_node.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * Opened for reading only: a close after writing makes udevd send a "change" event for the
 * device. The claim is the same.
 */
static int claim(int dir_fd, const char *path, dev_t devnum)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (fstatat(dir_fd, path, &st, 0) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode) || st.st_rdev != devnum)
		return -ENODEV;
	fd = openat(dir_fd, path, O_RDONLY | O_EXCL | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fstat(fd, &st) == 0 && st.st_rdev == devnum ? 0 : -ENODEV;
}

/* The kernel writes a slash of a device's name as an exclamation mark: cciss!c0d0. */
static void kname_to_path(const char *kname, struct device_node *node)
{
	(void)STR_COPY(node->path, kname);
	for (char *p = node->path; *p; p++)
		if (*p == '!')
			*p = '/';
}

static int make_node(dev_t devnum, struct device_node *node)
{
	(void)snprintf(node->path, sizeof(node->path), "/b%u:%u", major(devnum), minor(devnum));
	if (mknod(node->path, S_IFBLK | 0600, devnum) < 0 && errno != EEXIST)
		return -errno;
	node->made = true;
	return claim(AT_FDCWD, node->path, devnum);
}

int device_node_find(int dev_fd, const char *kname, dev_t devnum, struct device_node *ret_node)
{
	struct device_node node = DEVICE_NODE_NULL;
	int r;
	int made;

	kname_to_path(kname, &node);
	if (fchdir(dev_fd) < 0)
		return -errno;
	r = claim(dev_fd, node.path, devnum);
	if (r == -ENOENT || r == -ENODEV || r == -EACCES || r == -EPERM) {
		made = make_node(devnum, &node);
		if (made == -EPERM && node.made == false)
			made = r; /* the first failure tells more */
		r = made;
	}
	if (r < 0)
		device_node_done(&node);
	else
		*ret_node = node;
	return r;
}

void device_node_done(struct device_node *node)
{
	if (node->made)
		(void)unlink(node->path);
	node->made = false;
}
