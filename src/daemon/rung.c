#include "rung.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/environment.h"
#include "daemon/relay.h"
#include "daemon/udev.h"
#include "device/uevent.h"

/* PROC_USER_INIT_INO in include/linux/proc_ns.h of the kernel; the same since 3.8. */
#define INITIAL_USER_NAMESPACE 0xEFFFFFFDu

/* What the service manager hands over starts here (sd_listen_fds(3)). */
#define LISTEN_FD_FIRST 3
#define LISTEN_FD_MAX	64

/* uevent_net_init() in the kernel's lib/kobject_uevent.c: only initial ones are broadcast to. */
static enum rung_kernel kernel_sends(void)
{
	_cleanup_close_ int net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int owner = net < 0 ? -EBADF : ioctl(net, NS_GET_USERNS);
	struct stat st;

	if (owner < 0 || fstat(owner, &st) < 0)
		return RUNG_KERNEL_MAYBE;
	return st.st_ino == INITIAL_USER_NAMESPACE ? RUNG_KERNEL_SENDS : RUNG_KERNEL_SILENT;
}

/*
 * Whether a process of this network namespace listens to the kernel's uevents, as udevd does:
 * lines of /proc/net/netlink are "address protocol port groups ...", the kernel's own has no group.
 */
static bool somebody_listens(void)
{
	FILE *f = fopen("/proc/self/net/netlink", "re");
	char line[256];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		unsigned protocol, groups;

		found = sscanf(line, "%*s %u %*u %x", &protocol, &groups) == 2 &&
			protocol == NETLINK_KOBJECT_UEVENT && groups & 1;
	}
	if (f)
		(void)fclose(f);
	return found;
}

/* A socket of uevents among those that the service manager has handed over, or -EBADF. */
static int handed_over(void)
{
	int count = environment_number("LISTEN_FDS");

	if (environment_number("LISTEN_PID") != getpid() || count > LISTEN_FD_MAX)
		return -EBADF;
	for (int fd = LISTEN_FD_FIRST; fd < LISTEN_FD_FIRST + count; fd++)
		if (uevent_socket_check(fd) == 0)
			return fd;
	return -EBADF;
}

/* The filesystem type of the mount with this id, from a line of /proc/self/mountinfo. */
static bool line_is_devtmpfs(const char *line, unsigned long long mount_id)
{
	unsigned long long id;
	const char *dash = strstr(line, " - ");

	return sscanf(line, "%llu", &id) == 1 && id == mount_id && dash &&
	       strncmp(dash + 3, "devtmpfs ", 9) == 0;
}

static bool on_devtmpfs(const char *path)
{
	struct statx stx = {0};
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	bool found = false;
	FILE *f;

	if (statx(AT_FDCWD, path, 0, STATX_MNT_ID, &stx) < 0 || !(stx.stx_mask & STATX_MNT_ID))
		return false;
	f = fopen("/proc/self/mountinfo", "re");
	while (f && !found && getline(&line, &size, f) > 0)
		found = line_is_devtmpfs(line, stx.stx_mnt_id);
	if (f)
		(void)fclose(f);
	return found;
}

static enum events_kind best(const struct rung *rung)
{
	if (rung->fd >= 0)
		return EVENTS_FD;
	if (rung->kernel == RUNG_KERNEL_SENDS)
		return rung->udev_here ? EVENTS_UDEV : EVENTS_KERNEL;
	if (rung->relay)
		return EVENTS_UNIX;
	return rung->kernel == RUNG_KERNEL_MAYBE ? EVENTS_KERNEL : EVENTS_INOTIFY;
}

void rung_choose(const struct config *config, struct rung *ret_rung)
{
	const struct events_setting *asked = &config->events;
	struct rung rung = {
		.kind = asked->kind,
		.forced = asked->kind != EVENTS_AUTO,
		.fd = asked->fd,
		.kernel = kernel_sends(),
		.udev_running = access(UDEVD_SOCKET, F_OK) == 0,
		.relay = access(RELAY_SOCKET_DEFAULT, F_OK) == 0,
		.dev_lives = on_devtmpfs(config->dev_dir),
	};

	rung.udev_here = rung.udev_running && somebody_listens();
	(void)STR_COPY(rung.path, rung.forced ? asked->path : RELAY_SOCKET_DEFAULT);
	if (!rung.forced) {
		rung.fd = handed_over();
		rung.kind = best(&rung);
	}
	*ret_rung = rung;
}

const char *rung_name(enum events_kind kind)
{
	static const char *const names[] = {
		[EVENTS_AUTO] = "auto", [EVENTS_UDEV] = "udev", [EVENTS_KERNEL] = "kernel",
		[EVENTS_FD] = "fd",	[EVENTS_UNIX] = "unix", [EVENTS_INOTIFY] = "inotify",
	};

	return names[kind];
}

static const char *why_not_kernel(const struct rung *rung)
{
	if (rung->kernel == RUNG_KERNEL_SILENT)
		return "the kernel sends no events to this network namespace, which belongs to "
		       "another user namespace than the host's";
	if (rung->kernel == RUNG_KERNEL_MAYBE)
		return "this network namespace belongs to a user namespace that cannot be seen "
		       "from here; if that is not the host's, the kernel sends nothing";
	return "";
}

void rung_why(const struct rung *rung, char *ret_text, size_t size)
{
	if (rung->forced)
		(void)str_copy(ret_text, size, "the configuration says so");
	else if (rung->kind == EVENTS_FD)
		(void)str_copy(ret_text, size, "the socket was handed over by who started us");
	else if (rung->kind == EVENTS_KERNEL && rung->kernel == RUNG_KERNEL_SENDS)
		(void)snprintf(ret_text, size, "%s",
			       rung->udev_running ? "udevd is not in this network namespace"
						  : "there is no udevd with a " UDEVD_SOCKET);
	else
		(void)snprintf(ret_text, size, "%s%s", why_not_kernel(rung),
			       rung->kind == EVENTS_INOTIFY
				       ? "; there is no relay at " RELAY_SOCKET_DEFAULT
				       : "");
}
