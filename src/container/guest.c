#include "guest.h"

#include <fcntl.h>
#include <libgen.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/process.h"

static int open_directory(int dir, const char *path, uint64_t resolve)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = resolve | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static int open_of_process(int proc, pid_t pid, const char *what, int flags)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "%d/%s", (int)pid, what);
	fd = openat(proc, path, flags | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	return fd;
}

static int is_same(int a, int b)
{
	struct stat x;
	struct stat y;

	if (fstat(a, &x) < 0 || fstat(b, &y) < 0)
		return -errno;
	return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int guest_open(int pidfd, pid_t pid, struct guest *ret_guest)
{
	_cleanup_(guest_done) struct guest guest = GUEST_NONE;
	int r;

	guest.proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (guest.proc < 0)
		return -errno;
	guest.home = openat(guest.proc, "self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (guest.home < 0)
		return -errno;
	guest.mnt = open_of_process(guest.proc, pid, "ns/mnt", O_RDONLY);
	if (guest.mnt < 0)
		return guest.mnt;
	guest.root = open_of_process(guest.proc, pid, "root", O_PATH | O_DIRECTORY);
	if (guest.root < 0)
		return guest.root;
	/* It lives: then the number was its own all the time. */
	r = process_pidfd_kill(pidfd, 0);
	if (r < 0 && r != -EPERM)
		return r;
	r = is_same(guest.mnt, guest.home);
	if (r != 0)
		return r < 0 ? r : -EALREADY;
	*ret_guest = guest;
	guest = (struct guest)GUEST_NONE;
	return 0;
}

void guest_done(struct guest *guest)
{
	close_fd(guest->proc);
	close_fd(guest->mnt);
	close_fd(guest->root);
	close_fd(guest->home);
	*guest = (struct guest)GUEST_NONE;
}

int guest_enter(struct guest *guest)
{
	close_fd(guest->home);
	guest->home = openat(guest->proc, "self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (guest->home < 0)
		return -errno;
	return setns(guest->mnt, CLONE_NEWNS) < 0 ? -errno : 0;
}

int guest_leave(const struct guest *guest)
{
	return setns(guest->home, CLONE_NEWNS) < 0 ? -errno : 0;
}

int guest_set_root(struct guest *guest, const char *path)
{
	int fd = open_directory(AT_FDCWD, path, 0);

	if (fd < 0)
		return fd;
	close_fd(guest->root);
	guest->root = fd;
	return 0;
}

/* The path of an open directory from the root of the mount namespace, without links. */
static int path_of(const struct guest *guest, int fd, char *path, size_t size)
{
	char link[40];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "self/fd/%d", fd);
	n = readlinkat(guest->proc, link, path, size - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	return *path == '/' ? 0 : -ENOENT;
}

/* Opens the directory above, and sees to it that the name in there still means the same. */
static int find_parent(const struct guest *guest, struct guest_dir *dir)
{
	char root[PATH_MAX];
	char path[PATH_MAX];
	char copy[PATH_MAX];
	_cleanup_close_ int again = -EBADF;
	struct mount_facts facts;
	int r = path_of(guest, dir->fd, path, sizeof(path));

	if (r == 0)
		r = path_of(guest, guest->root, root, sizeof(root));
	if (r < 0)
		return r;
	if (streq(path, "/") || streq(path, root))
		return -EINVAL;
	(void)STR_COPY(copy, path);
	if (!STR_COPY(dir->name, basename(copy)))
		return -ENAMETOOLONG;
	dir->parent = open_directory(AT_FDCWD, dirname(path), RESOLVE_NO_SYMLINKS);
	if (dir->parent < 0)
		return dir->parent;
	again = open_directory(dir->parent, dir->name, RESOLVE_NO_SYMLINKS);
	if (again < 0)
		return again;
	r = mountinfo_of(guest->proc, again, &facts);
	if (r == 0 && facts.id != dir->facts.id)
		r = -EBUSY; /* somebody moves things about */
	if (r == 0)
		r = mountinfo_of(guest->proc, dir->parent, &facts);
	dir->mounted = facts.id != dir->facts.id;
	return r;
}

int guest_find(const struct guest *guest, const char *path, struct guest_dir *ret_dir)
{
	_cleanup_(guest_dir_done) struct guest_dir dir = GUEST_DIR_NONE;
	int r;

	dir.fd = open_directory(guest->root, path, RESOLVE_IN_ROOT);
	if (dir.fd < 0)
		return dir.fd;
	r = mountinfo_of(guest->proc, dir.fd, &dir.facts);
	if (r == 0)
		r = find_parent(guest, &dir);
	if (r < 0)
		return r;
	*ret_dir = dir;
	dir = (struct guest_dir)GUEST_DIR_NONE;
	return 0;
}

void guest_dir_done(struct guest_dir *dir)
{
	close_fd(dir->fd);
	close_fd(dir->parent);
	*dir = (struct guest_dir)GUEST_DIR_NONE;
}

int guest_make(const struct guest *guest, const char *path)
{
	_cleanup_close_ int parent = -EBADF;
	char name[PATH_MAX];
	char above[PATH_MAX];

	if (!STR_COPY(name, path) || !STR_COPY(above, path))
		return -ENAMETOOLONG;
	parent = open_directory(guest->root, dirname(above), RESOLVE_IN_ROOT);
	if (parent < 0)
		return parent;
	return mkdirat(parent, basename(name), 0755) < 0 ? -errno : 0;
}

int guest_unmount(const struct guest_dir *dir)
{
	if (fchdir(dir->parent) < 0)
		return -errno;
	return umount2(dir->name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
}
