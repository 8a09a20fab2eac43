#include "device/probe_node.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/limits.h"

/* A drive without a medium is opened too (O_NONBLOCK): that makes the kernel look at it. */
static int open_verified(int dir_fd, const char *path, dev_t devnum)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	/* before the open, which may wait for ever on another kind of file */
	if (fstatat(dir_fd, path, &st, 0) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode) || st.st_rdev != devnum)
		return -ENODEV;
	fd = openat(dir_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISBLK(st.st_mode) && st.st_rdev == devnum ? TAKE_FD(fd) : -ENODEV;
}

static int open_made(dev_t devnum)
{
	_cleanup_close_ int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
	_cleanup_close_ int root = -EBADF;

	if (context < 0 || fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	root = fsmount(context, FSMOUNT_CLOEXEC, 0);
	if (root < 0 || mknodat(root, "node", S_IFBLK | 0600, devnum) < 0)
		return -errno;
	return open_verified(root, "node", devnum);
}

int probe_node_open(int dev_fd, const char *kname, dev_t devnum)
{
	char path[LIMIT_KNAME];
	int fd, made;

	/* the kernel writes a slash of a device's name as an exclamation mark: cciss!c0d0 */
	(void)STR_COPY(path, kname);
	for (char *p = path; *p; p++)
		if (*p == '!')
			*p = '/';
	fd = open_verified(dev_fd, path, devnum);
	if (fd != -ENOENT && fd != -ENOTDIR && fd != -ENODEV && fd != -EACCES && fd != -EPERM)
		return fd;
	made = open_made(devnum);
	return made == -EPERM || made == -ENOSYS || made == -EACCES ? fd : made;
}
