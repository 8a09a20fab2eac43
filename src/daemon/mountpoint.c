#include "mountpoint.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mountinfo.h"

#define VIEW_SOURCE "hotplugfs"

/* Only the directory above it is resolved; the last part is looked at by nobody. */
static int resolve_above(const char *path, char **ret_path)
{
	_cleanup_free_ char *above = NULL;
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_free_ char *last_copy = strdup(path);
	const char *last;
	char *whole;

	if (!copy || !last_copy)
		return -ENOMEM;
	last = basename(last_copy);
	above = realpath(dirname(copy), NULL);
	if (!above)
		return -errno;
	if (asprintf(&whole, "%s/%s", streq(above, "/") ? "" : above, last) < 0)
		return -ENOMEM;
	*ret_path = whole;
	return 0;
}

/* realpath(3) of what may be a dead mount. */
static int resolve(const char *path, char **ret_path)
{
	*ret_path = realpath(path, NULL);
	if (*ret_path)
		return 0;
	return errno == ENOTCONN || errno == EIO ? resolve_above(path, ret_path) : -errno;
}

/* In mountinfo space, tab, newline and backslash are written as three octal digits. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in; in++) {
		unsigned value;

		if (in[0] == '\\' && sscanf(in + 1, "%3o", &value) == 1) {
			*out++ = (char)value;
			in += 3;
		} else {
			*out++ = *in;
		}
	}
	*out = '\0';
}

/* Whether the topmost mount at path is a view. */
static bool is_view(const char *path)
{
	_cleanup_free_ char *line = NULL;
	char target[PATH_MAX];
	char type[64];
	size_t size = 0;
	bool view = false;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	if (!f)
		return false;
	while (getline(&line, &size, f) > 0) {
		const char *tail = strstr(line, " - ");

		if (!tail || sscanf(line, "%*s %*s %*s %*s %4095s", target) != 1 ||
		    sscanf(tail, " - %63s", type) != 1)
			continue;
		unescape(target);
		if (streq(target, path))
			view = streq(type, VIEW_TYPE);
	}
	(void)fclose(f);
	return view;
}

/*
 * statfs always asks the server, and the view answers it without a device; stat may be answered
 * from the kernel's cache although the server is dead.
 */
static int remove_dead_views(const char *path)
{
	struct statfs st;

	while (is_view(path)) {
		if (statfs(path, &st) == 0) {
			log_err("%s is already served by a running hotplugfs", QUOTE(path));
			return -EBUSY;
		}
		if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0) {
			int r = -errno;

			log_err("cannot unmount the dead hotplugfs at %s: %s", QUOTE(path),
				strerror(-r));
			return r;
		}
		log_notice("unmounted a dead hotplugfs at %s", QUOTE(path));
	}
	return 0;
}

static int open_directory(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* The daemon would use itself, and hold the disk that the mountpoint is on. */
static bool is_inside_view(int fd)
{
	_cleanup_close_ int proc = open_directory("/proc");
	struct mount_facts facts;

	return proc >= 0 && mountinfo_of(proc, fd, &facts) == 0 && streq(facts.type, VIEW_TYPE);
}

static int check_directory(const char *path)
{
	_cleanup_close_ int fd = open_directory(path);
	const char *reason = NULL;

	if (fd < 0)
		reason = strerror(-fd);
	else if (streq(path, "/"))
		reason = "it is the root directory, and everything would be under the view";
	else if (is_inside_view(fd))
		reason = "it is inside a view of hotplugfs";
	if (!reason)
		return 0;
	log_err("cannot use the mountpoint %s: %s", QUOTE(path), reason);
	return fd < 0 ? fd : -EINVAL;
}

int mountpoint_prepare(const char *path, char **ret_path)
{
	_cleanup_free_ char *real = NULL;
	int r = resolve(path, &real);

	if (r < 0) {
		log_err("cannot use the mountpoint %s: %s", QUOTE(path), strerror(-r));
		return r;
	}
	r = remove_dead_views(real);
	if (r == 0)
		r = check_directory(real);
	if (r == 0)
		*ret_path = TAKE_PTR(real);
	return r;
}

static int open_fuse(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	int r = fd < 0 ? -errno : fd;

	if (r == -ENOENT || r == -ENODEV || r == -ENXIO)
		log_err("there is no /dev/fuse: load the kernel module \"fuse\", or give the "
			"container --device /dev/fuse");
	else if (r < 0)
		log_err("cannot open /dev/fuse: %s", strerror(-r));
	return r;
}

int mountpoint_mount(const char *path, bool exec)
{
	_cleanup_close_ int fd = open_fuse();
	char options[128];
	int r;

	if (fd < 0)
		return fd;
	(void)snprintf(options, sizeof(options),
		       "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,"
		       "max_read=%d",
		       fd, LIMIT_READ);
	if (mount(VIEW_SOURCE, path, VIEW_TYPE, MS_NOSUID | MS_NODEV | (exec ? 0 : MS_NOEXEC),
		  options) == 0)
		return TAKE_FD(fd);
	r = -errno;
	if (r == -EPERM)
		log_err("not allowed to mount at %s: CAP_SYS_ADMIN is needed", QUOTE(path));
	else
		log_err("cannot mount at %s: %s", QUOTE(path), strerror(-r));
	return r;
}

int mountpoint_readahead(const char *path, int sysfs_fd, unsigned kib)
{
	_cleanup_close_ int fd = -EBADF;
	struct statx sx;
	char text[64];

	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, 0, &sx) < 0)
		return -errno;
	(void)snprintf(text, sizeof(text), "class/bdi/%u:%u/read_ahead_kb", sx.stx_dev_major,
		       sx.stx_dev_minor);
	fd = openat(sysfs_fd, text, O_WRONLY | O_CLOEXEC);
	(void)snprintf(text, sizeof(text), "%u", kib);
	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int mountpoint_sync(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return syncfs(fd) < 0 ? -errno : 0;
}

/*
 * MNT_FORCE aborts the connection first (fuse_umount_begin() in fs/fuse/inode.c). Without it a
 * notification that waits for a page which the server is to read has a lock that the unmount waits
 * for (fc->killsb), and both wait for the device.
 */
int mountpoint_unmount(const char *path)
{
	if (!is_view(path))
		return 0; /* somebody else has taken it away, or mounted over it */
	if (umount2(path, MNT_FORCE | UMOUNT_NOFOLLOW) == 0)
		return 0;
	if (errno == EBUSY && umount2(path, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return 0;
	return errno == EINVAL ? 0 : -errno;
}

int mountpoint_discard(const char *path)
{
	_cleanup_free_ char *real = NULL;
	int r = resolve_above(path, &real);

	/* MNT_FORCE aborts the connection (fuse_umount_begin), so that nothing waits for a server
	 */
	while (r == 0 && is_view(real))
		if (umount2(real, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			r = -errno;
	return r;
}
