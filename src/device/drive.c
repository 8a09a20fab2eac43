#include "device/drive.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

/*
 * A hand needs a second to put another card in. In that second the empty drive must have been seen
 * and cut off, on a busy machine, too: a new card that is there when the kernel asks next can be
 * written at once.
 */
#define ASK_MS	   "200"
#define DEFAULT_MS "-1" /* of events_poll_msecs: as the module's parameter says */

static int open_at(int dir_fd, const char *dir, const char *name, int flags)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = openat(dir_fd, path, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

static int write_at(int dir_fd, const char *dir, const char *name, const char *value)
{
	_cleanup_close_ int fd = open_at(dir_fd, dir, name, O_WRONLY);

	if (fd < 0)
		return fd;
	return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

/* The interval goes from one to the other; 0 if it is neither. */
static int set_interval(const char *path, const char *from, const char *to)
{
	_cleanup_close_ int fd = open_at(AT_FDCWD, path, "events_poll_msecs", O_RDONLY);
	char text[16];
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return streq(text, from) ? write_at(AT_FDCWD, path, "events_poll_msecs", to) : 0;
}

int drive_ask(const char *path)
{
	return set_interval(path, DEFAULT_MS, ASK_MS);
}

int drive_ask_no_more(const char *path)
{
	return set_interval(path, ASK_MS, DEFAULT_MS);
}

int drive_look(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return fd < 0 ? -errno : 0;
}

/* Whether the kernel is at removing it: then it refuses requests by itself. */
static bool is_leaving(int sysfs_fd, const char *dir)
{
	_cleanup_close_ int fd = open_at(sysfs_fd, dir, "state", O_RDONLY);
	char state[32];
	ssize_t n = fd < 0 ? -1 : read(fd, state, sizeof(state) - 1);

	if (n < 0)
		return fd == -ENOENT || (fd >= 0 && errno == ENODEV);
	state[n] = '\0';
	state[strcspn(state, "\n")] = '\0';
	return streq(state, "cancel") || streq(state, "deleted");
}

int drive_cut_off(int sysfs_fd, const char *address)
{
	char dir[64];
	int r;

	(void)snprintf(dir, sizeof(dir), "class/scsi_device/%s/device", address);
	r = write_at(sysfs_fd, dir, "state", "offline\n"); /* without the end: EINVAL */
	/* there is no way from these states to that one (scsi_device_set_state()) */
	return r == -EINVAL && is_leaving(sysfs_fd, dir) ? -ENODEV : r;
}

/* Deleting alone would first write out what the old medium is still owed. */
int drive_renew(const char *address)
{
	unsigned host, channel, target, lun;
	char dir[80];
	char place[40];
	int r;

	if (sscanf(address, "%u:%u:%u:%u", &host, &channel, &target, &lun) != 4)
		return -EINVAL;
	(void)snprintf(dir, sizeof(dir), "/sys/class/scsi_device/%s/device", address);
	r = write_at(AT_FDCWD, dir, "delete", "1");
	if (r < 0)
		return r;
	(void)snprintf(dir, sizeof(dir), "/sys/class/scsi_host/host%u", host);
	(void)snprintf(place, sizeof(place), "%u %u %u", channel, target, lun);
	return write_at(AT_FDCWD, dir, "scan", place);
}
