#include "mount_calls.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>

/* Linux 6.6, linux/mount.h: fails with EBUSY instead of sharing a superblock that exists. */
#define CMD_CREATE_EXCL 8

/* The last error of the context's log: lines "e text", "w text" and "i text", one a read. */
static void read_message(int context, char *message, size_t size)
{
	char line[512];
	ssize_t n;

	while ((n = read(context, line, sizeof(line) - 1)) > 2) {
		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == 'e')
			(void)str_copy(message, size, line + 2);
	}
}

static int set_option(int context, char *option)
{
	char *value = strchr(option, '=');
	int r;

	if (!value)
		return fsconfig(context, FSCONFIG_SET_FLAG, option, NULL, 0) < 0 ? -errno : 0;
	*value++ = '\0';
	r = fsconfig(context, FSCONFIG_SET_STRING, option, value, 0);
	return r < 0 ? -errno : 0;
}

static int set_options(int context, const char *options)
{
	char copy[LIMIT_OPTIONS];
	char *rest = copy;
	char *option;
	int r = 0;

	if (!STR_COPY(copy, options))
		return -E2BIG;
	while (r == 0 && (option = strsep(&rest, ",")))
		if (*option)
			r = set_option(context, option);
	return r;
}

static int create(int context)
{
	int first;

	if (fsconfig(context, CMD_CREATE_EXCL, NULL, NULL, 0) == 0)
		return 0;
	first = errno;
	if (first != EOPNOTSUPP)
		return -first;
	/* Not known to this kernel or this filesystem; or it is what the filesystem said: then
	   the context is spent, and the second call fails in another way. */
	if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		return 0;
	return errno == EBUSY ? -first : -errno;
}

static int configure(int context, const struct mount_attempt *attempt)
{
	int r;

	if (fsconfig(context, FSCONFIG_SET_STRING, "source", attempt->source, 0) < 0)
		return -errno;
	if (attempt->read_only && fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
		return -errno;
	r = set_options(context, attempt->options);
	return r < 0 ? r : create(context);
}

static int attach(int context, const struct mount_attempt *attempt)
{
	unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			      (attempt->read_only ? MOUNT_ATTR_RDONLY : 0);
	_cleanup_close_ int mnt = fsmount(context, FSMOUNT_CLOEXEC, attributes);

	if (mnt < 0)
		return -errno;
	if (move_mount(mnt, "", AT_FDCWD, attempt->target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

static int mount_old(const struct mount_attempt *attempt)
{
	unsigned long flags = MS_NOSUID | MS_NODEV | (attempt->read_only ? MS_RDONLY : 0);

	if (mount(attempt->source, attempt->target, attempt->type, flags, attempt->options) < 0)
		return -errno;
	return 0;
}

int mount_attempt_run(const struct mount_attempt *attempt, char *message, size_t size)
{
	_cleanup_close_ int context = fsopen(attempt->type, FSOPEN_CLOEXEC);
	int r;

	message[0] = '\0';
	if (context < 0 && (errno == ENOSYS || errno == EPERM))
		return mount_old(attempt);
	if (context < 0)
		return -errno;
	r = configure(context, attempt);
	if (r == 0)
		r = attach(context, attempt);
	if (r < 0)
		read_message(context, message, size);
	return r;
}
