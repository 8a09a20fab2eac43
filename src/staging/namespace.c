#include "namespace.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

/*
 * Device nodes may be made in it, so it is not nodev; mount points and nodes are all that ever
 * lies in it, so it can be small.
 */
#define ROOT_OPTIONS "mode=0700,size=1m,nr_inodes=16k"

/* Any directory will do: it is covered in this namespace only. */
static const char *const places[] = {"/proc", "/dev", "/sys", "/run", "/tmp"};

static int mount_root(void)
{
	int r = -ENOENT;

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		r = mount("hotplugfs-staging", places[i], "tmpfs", MS_NOSUID | MS_NOEXEC,
			  ROOT_OPTIONS) < 0
			    ? -errno
			    : chdir(places[i]);
		if (r == 0)
			return 0;
	}
	return r;
}

/* The new root is the working directory; the old one is stacked on it and then detached. */
static int switch_root(void)
{
	if (syscall(SYS_pivot_root, ".", ".") == 0)
		return umount2(".", MNT_DETACH) < 0 ? -errno : 0;
	/* EINVAL: an initramfs, which cannot be pivoted; else docker's seccomp profile */
	if (errno != EINVAL && errno != EPERM && errno != ENOSYS)
		return -errno;
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
		return -errno;
	return 0;
}

int namespace_enter(void)
{
	int r;

	if (unshare(CLONE_NEWNS) < 0)
		return -errno;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno; /* EINVAL: a plain chroot, where our mounts could leak out */
	r = mount_root();
	if (r < 0)
		return r;
	r = switch_root();
	if (r < 0)
		return r;
	return chdir("/") < 0 ? -errno : 0;
}

int namespace_join(int fd)
{
	/* setns(2) refuses who shares a working directory with a thread: of a sanitizer, say */
	if (unshare(CLONE_FS) < 0 || setns(fd, CLONE_NEWNS) < 0)
		return -errno;
	return chdir("/") < 0 ? -errno : 0;
}
