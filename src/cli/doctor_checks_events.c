/*
 * Events: where they come from, and whether they arrive. Writing "change" to
 * /sys/class/block/X/uevent makes the kernel send one as if the device had changed
 * (Documentation/ABI/testing/sysfs-uevent). It is done to an unused virtual device, where it means
 * nothing to anybody.
 */
#include "cli/doctor.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <stdio.h>

#include "base/loop.h"
#include "cli/output.h"
#include "daemon/relay.h"
#include "daemon/rung.h"
#include "device/blockdev.h"
#include "device/uevent.h"

#define EVENT_WAIT_MS 300

struct choice {
	int sysfs_fd;
	char kname[LIMIT_KNAME];
};

/* Stops at the first device that nobody uses. */
static int choose(const char *kname, void *data)
{
	struct choice *choice = data;
	struct blockdev dev;

	if (blockdev_read(choice->sysfs_fd, kname, &dev) < 0)
		return 0;
	if (dev.bus != BLOCKDEV_BUS_VIRTUAL || dev.partno || dev.has_holders)
		return 0;
	if (dev.size_bytes && fnmatch("ram[0-9]*", kname, 0) != 0)
		return 0;
	(void)STR_COPY(choice->kname, kname);
	return 1;
}

static int event_send(const struct choice *choice)
{
	char path[LIMIT_KNAME + 32];
	_cleanup_close_ int fd = -EBADF;

	(void)snprintf(path, sizeof(path), "class/block/%s/uevent", choice->kname);
	fd = openat(choice->sysfs_fd, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, "change", 6) < 0 ? -errno : 0;
}

/* Returns 0 once the event is there, or -ETIMEDOUT, or -errno. */
static int event_wait(int fd, const char *kname)
{
	uint64_t deadline = now_ms() + EVENT_WAIT_MS;
	uint64_t now;

	while ((now = now_ms()) < deadline) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		struct uevent event;
		int r;

		(void)poll(&wait, 1, (int)(deadline - now));
		r = uevent_socket_read(fd, &event);
		if (r == 0 && streq(event.kname, kname))
			return 0;
		if (r < 0 && r != -EAGAIN && r != -ENOBUFS)
			return r;
	}
	return -ETIMEDOUT;
}

static void untested(struct doctor_finding *finding, const char *why)
{
	doctor_found(finding, DOCTOR_WARN,
		     "start the daemon, run hotplugfs monitor and plug something in", "%s", why);
}

static void event_test(int fd, const struct choice *choice, struct doctor_finding *finding)
{
	int r = event_send(choice);

	if (r == -EROFS || r == -EACCES || r == -EPERM) {
		untested(finding, "not tested: /sys is not writable, so no event can be caused");
		return;
	}
	if (r == 0)
		r = event_wait(fd, choice->kname);
	if (r == 0)
		doctor_found(finding, DOCTOR_OK, NULL, "an event of %s arrived", choice->kname);
	else if (r == -ETIMEDOUT)
		doctor_found(finding, DOCTOR_FAIL,
			     "on the host: hotplugfs relay; or container: --network host, or no "
			     "--userns",
			     "an event of %s did not arrive within %d ms", choice->kname,
			     EVENT_WAIT_MS);
	else
		doctor_found(finding, DOCTOR_FAIL, "plug something in while hotplugfs monitor runs",
			     "the test with %s failed: %s", choice->kname, error_text(-r));
}

static void check_events(const struct config *config, struct doctor_finding *finding)
{
	_cleanup_close_ int sysfs_fd = open("/sys", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = uevent_socket_open();
	struct choice choice = {.sysfs_fd = sysfs_fd};
	struct rung rung;

	rung_choose(config, &rung);
	if (rung.kind != EVENTS_UDEV && rung.kind != EVENTS_KERNEL)
		doctor_found(finding, DOCTOR_OK, NULL, "not needed: events come by %s",
			     rung_name(rung.kind));
	else if (fd < 0)
		doctor_found(finding, DOCTOR_FAIL, "allow AF_NETLINK sockets",
			     "no socket for events: %s", error_text(-fd));
	else if (blockdev_each(sysfs_fd, choose, &choice) <= 0)
		untested(finding, "not tested: there is no unused loop or ram device");
	else
		event_test(fd, &choice, finding);
}

#define ADVICE_RELAY                                                                    \
	"for events at once: on the host hotplugfs relay --pid PID of this container, " \
	"or hotplugfs relay and container: -v " RELAY_DIRECTORY ":" RELAY_DIRECTORY

static void found_rung(const struct rung *rung, enum doctor_verdict verdict, const char *advice,
		       struct doctor_finding *finding)
{
	char why[400];

	rung_why(rung, why, sizeof(why));
	doctor_found(finding, verdict, advice, "%s%s%s", rung_name(rung->kind), *why ? ": " : "",
		     why);
}

static void check_inotify(const struct rung *rung, struct doctor_finding *finding)
{
	if (rung->dev_lives) {
		found_rung(rung, DOCTOR_WARN, ADVICE_RELAY, finding);
		return;
	}
	found_rung(rung, DOCTOR_FAIL,
		   "container: -v /dev:/host/dev:ro, and --dev /host/dev; or on the host: "
		   "hotplugfs relay --pid PID of this container",
		   finding);
	doctor_found_more(finding, "; and the directory of devices is not the host's");
}

static void check_fd(const struct rung *rung, struct doctor_finding *finding)
{
	int r = uevent_socket_check(rung->fd);

	found_rung(rung, r < 0 ? DOCTOR_FAIL : DOCTOR_OK,
		   "systemd: ListenNetlink=kobject-uevent 1; podman: --preserve-fds", finding);
	if (r < 0)
		doctor_found_more(finding, "; but descriptor %d is no bound socket for uevents: %s",
				  rung->fd, error_text(-r));
}

static void check_rung(const struct config *config, struct doctor_finding *finding)
{
	struct rung rung;

	rung_choose(config, &rung);
	if (rung.kind == EVENTS_INOTIFY)
		check_inotify(&rung, finding);
	else if (rung.kind == EVENTS_FD)
		check_fd(&rung, finding);
	else if (rung.kind == EVENTS_UDEV && !rung.udev_running)
		found_rung(&rung, DOCTOR_FAIL,
			   "container: -v /run/udev:/run/udev:ro, and the "
			   "host's network namespace",
			   finding);
	else if (rung.kind == EVENTS_UNIX && access(rung.path, R_OK | W_OK) < 0)
		found_rung(&rung, DOCTOR_FAIL, "on the host: hotplugfs relay", finding);
	else
		found_rung(&rung, DOCTOR_OK, NULL, finding);
}

const struct doctor_check doctor_checks_events[] = {
	{"events", "by them the daemon notices that something was plugged in or pulled",
	 check_rung},
	{"uevents", "the kernel tells through them that a disk was plugged in or pulled",
	 check_events},
	{0},
};
