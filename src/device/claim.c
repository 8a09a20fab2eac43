#include "device/claim.h"

#include <fcntl.h>
#include <sys/stat.h>

int claim_open(int dev_fd, const char *kname, dev_t devnum)
{
	char node[LIMIT_KNAME];
	struct stat st;
	int fd;

	if (!STR_COPY(node, kname))
		return -ENAMETOOLONG;
	for (char *slash = node; (slash = strchr(slash, '!'));)
		*slash = '/';
	fd = openat(dev_fd, node, O_RDONLY | O_EXCL | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == devnum)
		return fd;
	close_fd(fd);
	return -ENODEV;
}

int claim_try(const void *data)
{
	const struct claim *what = data;
	_cleanup_close_ int dev_fd = open(what->dev_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = dev_fd < 0 ? -errno
					    : claim_open(dev_fd, what->kname, what->devnum);

	return fd < 0 ? fd : 0;
}
