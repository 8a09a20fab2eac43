#include "udev.h"

#include <libudev.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/sysmacros.h>

/* A file for each device, "b8:16" for block devices, moved there when it is written. */
#define UDEVD_DATABASE "/run/udev/data"

struct udev_source {
	struct udev *udev;
	bool running;
	struct udev_monitor *monitor; /* NULL: not in udevd's network namespace */
	int inotify;		      /* of its database, instead; or negative */
	struct loop_fd *source;
	udev_event_fn fn;
	void *data;
};

static void monitor_readable(int fd, uint32_t events, void *data)
{
	struct udev_source *s = data;
	struct udev_device *device;

	(void)fd;
	(void)events;
	while ((device = udev_monitor_receive_device(s->monitor))) {
		const char *kname = udev_device_get_sysname(device);

		if (kname)
			s->fn(kname, s->data);
		udev_device_unref(device);
	}
}

static int monitor_start(struct udev_source *s, struct loop *loop)
{
	int r;

	s->monitor = udev_monitor_new_from_netlink(s->udev, "udev");
	if (!s->monitor)
		return -errno;
	r = udev_monitor_filter_add_match_subsystem_devtype(s->monitor, "block", NULL);
	if (r >= 0)
		r = udev_monitor_enable_receiving(s->monitor);
	if (r < 0)
		return r;
	return loop_fd_add(loop, udev_monitor_get_fd(s->monitor), EPOLLIN, monitor_readable, s,
			   &s->source);
}

static void tell_written(struct udev_source *s, const char *file)
{
	struct udev_device *device;
	unsigned major_no, minor_no;
	char end;

	if (sscanf(file, "b%u:%u%c", &major_no, &minor_no, &end) != 2)
		return;
	device = udev_device_new_from_devnum(s->udev, 'b', makedev(major_no, minor_no));
	if (device && udev_device_get_sysname(device))
		s->fn(udev_device_get_sysname(device), s->data);
	udev_device_unref(device);
}

static void database_readable(int fd, uint32_t events, void *data)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct udev_source *s = data;
	ssize_t n = read(fd, buf, sizeof(buf));

	(void)events;
	for (const char *p = buf; n > 0 && p < buf + n;) {
		const struct inotify_event *event = (const struct inotify_event *)p;

		if (event->len)
			tell_written(s, event->name);
		p += sizeof(*event) + event->len;
	}
}

static int database_start(struct udev_source *s, struct loop *loop)
{
	s->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->inotify < 0 || inotify_add_watch(s->inotify, UDEVD_DATABASE,
						IN_MOVED_TO | IN_CLOSE_WRITE | IN_ONLYDIR) < 0)
		return errno == ENOENT ? 0 : -errno;
	return loop_fd_add(loop, s->inotify, EPOLLIN, database_readable, s, &s->source);
}

int udev_source_new(struct loop *loop, bool group, udev_event_fn fn, void *data,
		    struct udev_source **ret_source)
{
	struct udev_source *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return -ENOMEM;
	*s = (struct udev_source){.fn = fn, .data = data, .inotify = -EBADF};
	s->running = access(UDEVD_SOCKET, F_OK) == 0;
	s->udev = udev_new();
	if (!s->udev)
		r = -ENOMEM;
	else if (s->running)
		r = group ? monitor_start(s, loop) : database_start(s, loop);
	if (r < 0) {
		udev_source_free(s);
		return r;
	}
	*ret_source = s;
	return 0;
}

struct udev_source *udev_source_free(struct udev_source *s)
{
	if (!s)
		return NULL;
	loop_fd_remove(s->source);
	close_fd(s->inotify);
	if (s->monitor)
		udev_monitor_unref(s->monitor);
	if (s->udev)
		udev_unref(s->udev);
	free(s);
	return NULL;
}

enum udev_knowledge udev_source_ask(struct udev_source *s, dev_t devnum)
{
	struct udev_device *device;
	enum udev_knowledge knowledge = UDEV_UNKNOWN;
	const char *ignore;

	if (!s->running)
		return UDEV_ABSENT;
	device = udev_device_new_from_devnum(s->udev, 'b', devnum);
	if (!device)
		return UDEV_UNKNOWN;
	if (udev_device_get_is_initialized(device) > 0) {
		ignore = udev_device_get_property_value(device, "UDISKS_IGNORE");
		knowledge = ignore && streq(ignore, "1") ? UDEV_IGNORED : UDEV_KNOWN;
	}
	udev_device_unref(device);
	return knowledge;
}
