#include "udev.h"

#include <libudev.h>
#include <sys/epoll.h>

#define UDEVD_SOCKET "/run/udev/control"

struct udev_source {
	struct udev *udev;
	struct udev_monitor *monitor; /* NULL: no udevd */
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

int udev_source_new(struct loop *loop, udev_event_fn fn, void *data,
		    struct udev_source **ret_source)
{
	struct udev_source *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return -ENOMEM;
	*s = (struct udev_source){.fn = fn, .data = data};
	s->udev = udev_new();
	if (!s->udev)
		r = -ENOMEM;
	else if (access(UDEVD_SOCKET, F_OK) == 0)
		r = monitor_start(s, loop);
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

	if (!s->monitor)
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
