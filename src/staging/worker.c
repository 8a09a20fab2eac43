#include "worker.h"

#include <fcntl.h>
#include <linux/types.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "base/flush.h"
#include "staging/device_node.h"
#include "staging/mounter.h"

/*
 * Shutdown of a filesystem, as ext4, xfs and f2fs know it (the number comes from XFS; flag 0: all
 * is written out first, 2: neither data nor log are written any more). The kernel exports no
 * common name for it.
 */
#define IOC_SHUTDOWN	     _IOR('X', 125, __u32)
#define SHUTDOWN_SYNCED	     0
#define SHUTDOWN_NO_LOGFLUSH 2

struct worker_path worker_mount_point(uint32_t id)
{
	struct worker_path path;

	(void)snprintf(path.text, sizeof(path.text), "/m%u", id);
	return path;
}

void worker_space(int fd, struct staging_result *result)
{
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return;
	result->block_size = (uint32_t)st.f_bsize;
	result->total_bytes = (uint64_t)st.f_blocks * (uint64_t)st.f_bsize;
	result->free_bytes = (uint64_t)st.f_bfree * (uint64_t)st.f_bsize;
}

/* The mounted root, or -ENOENT when only the empty mount point, or not even that, is there. */
static int open_root(uint32_t id, int flags)
{
	struct worker_path path = worker_mount_point(id);
	_cleanup_close_ int above = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = open(path.text, flags | O_DIRECTORY | O_CLOEXEC);
	struct statx here;
	struct statx root;

	if (above < 0 || fd < 0)
		return -errno;
	if (statx(above, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &root) < 0 ||
	    statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &here) < 0)
		return -errno;
	if (here.stx_dev_major == root.stx_dev_major && here.stx_dev_minor == root.stx_dev_minor)
		return -ENOENT;
	return TAKE_FD(fd);
}

static void remove_mount_point(uint32_t id)
{
	(void)rmdir(worker_mount_point(id).text);
}

static void detach(uint32_t id, struct staging_result *result)
{
	if (umount2(worker_mount_point(id).text, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 &&
	    errno != EINVAL && errno != ENOENT)
		result->err = -errno;
	remove_mount_point(id);
}

/* Handles that others still have fail from now on, where the filesystem can do that. */
static void shut_down(uint32_t id, __u32 flags)
{
	_cleanup_close_ int root = open_root(id, O_RDONLY);

	if (root >= 0)
		(void)ioctl(root, IOC_SHUTDOWN, &flags);
}

static void run_umount(const struct staging_request *request, struct staging_result *result)
{
	_cleanup_close_ int root = open_root(request->id, O_PATH);

	if (root >= 0 && !request->force)
		worker_space(root, result);
	root = close_fd(root);
	if (request->force) {
		if (!request->program)
			shut_down(request->id, SHUTDOWN_SYNCED);
		detach(request->id, result);
		return;
	}
	if (umount2(worker_mount_point(request->id).text, UMOUNT_NOFOLLOW) == 0) {
		remove_mount_point(request->id);
		return;
	}
	result->err = -errno;
	if (result->err == -EINVAL || result->err == -ENOENT) {
		remove_mount_point(request->id);
		result->err = -ENOENT; /* worker_run() looks whether it lives on */
	}
	if (result->err == -EBUSY)
		result->root_fd = open_root(request->id, O_PATH);
}

/*
 * What an unmount writes, that the filesystem is clean for example, stays in the disk's cache on
 * vfat and ntfs. Who pulls the disk, pulls its power. What is lost without it is no data.
 */
static void flush_disk(const struct staging_request *request, const struct worker_tools *tools)
{
	_cleanup_(device_node_done) struct device_node node = DEVICE_NODE_NULL;
	_cleanup_close_ int fd = -EBADF;

	if (device_node_find(tools->dev_fd, request->kname, request->devnum, &node) < 0)
		return;
	fd = open(node.path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0)
		(void)fsync(fd);
}

/* Nothing is mounted here; an unmount that an earlier keeper began may still be writing. */
static int still_held(const struct staging_request *request, const struct worker_tools *tools)
{
	_cleanup_(device_node_done) struct device_node node = DEVICE_NODE_NULL;

	if (!*request->kname)
		return 0;
	return device_node_find(tools->dev_fd, request->kname, request->devnum, &node) == -EBUSY
		       ? -ETIMEDOUT
		       : 0;
}

static void run_sync(const struct staging_request *request, struct staging_result *result)
{
	_cleanup_close_ int root = open_root(request->id, O_RDONLY);

	if (root < 0) {
		result->err = root;
		return;
	}
	result->err = request->program ? flush_program(root) : flush_filesystem(root);
	worker_space(root, result);
}

/* For a program that does not know what an earlier one has left here. */
static void run_find(const struct staging_request *request, struct staging_result *result)
{
	struct statfs st;

	if (request->program) {
		detach(request->id, result);
		result->err = -ENOENT;
		return;
	}
	result->root_fd = open_root(request->id, O_PATH);
	if (result->root_fd < 0 || fstatfs(result->root_fd, &st) < 0) {
		result->err = result->root_fd < 0 ? result->root_fd : -errno;
		result->root_fd = close_fd(result->root_fd);
		return;
	}
	result->read_only = st.f_flags & ST_RDONLY;
	worker_space(result->root_fd, result);
}

static void run_abandon(const struct staging_request *request, struct staging_result *result)
{
	if (request->shutdown)
		shut_down(request->id, SHUTDOWN_NO_LOGFLUSH);
	detach(request->id, result);
}

static int make_read_only(uint32_t id)
{
	const unsigned long flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV;

	return mount(NULL, worker_mount_point(id).text, NULL, flags, NULL) < 0 ? -errno : 0;
}

/* The first questions to a program: they wait until it serves, or fail when it has ended. */
static void run_check(const struct staging_request *request, struct staging_result *result)
{
	_cleanup_close_ int root = open_root(request->id, O_PATH);
	struct stat st;

	if (root < 0)
		result->err = root;
	else if (fstat(root, &st) < 0)
		result->err = -errno;
	else
		worker_space(root, result);
	if (result->err == 0 && request->read_only)
		result->err = make_read_only(request->id);
}

static void (*const works[])(const struct staging_request *, struct staging_result *) = {
	[STAGING_UMOUNT] = run_umount, [STAGING_SYNC] = run_sync,   [STAGING_ABANDON] = run_abandon,
	[STAGING_FIND] = run_find,     [STAGING_CHECK] = run_check,
};

/*
 * If the namespace with the mount was lost, this closes the last that is left of it, and unmounts:
 * only here it may be shut down before.
 */
static void let_go(const struct staging_request *request, int root_fd)
{
	__u32 flags = SHUTDOWN_NO_LOGFLUSH;
	_cleanup_close_ int root = -EBADF;

	if (root_fd >= 0 && request->work == STAGING_ABANDON && request->shutdown)
		root = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root >= 0)
		(void)ioctl(root, IOC_SHUTDOWN, &flags);
	close_fd(root_fd);
}

void worker_run(const struct staging_request *request, const struct worker_tools *tools,
		struct staging_result *ret_result)
{
	*ret_result = (struct staging_result){.root_fd = -EBADF};
	let_go(request, tools->root_fd);
	if (request->work == STAGING_MOUNT)
		mounter_run(request, tools, ret_result);
	else
		works[request->work](request, ret_result);
	if (request->work == STAGING_UMOUNT && ret_result->err == -ENOENT)
		ret_result->err = still_held(request, tools);
	if (request->work == STAGING_UMOUNT && *request->kname && ret_result->err == 0)
		flush_disk(request, tools);
}
