#include "watch.h"

#include "base/log.h"
#include "daemon/udev.h"
#include "device/uevent.h"

#define SOURCES_MAX 2

struct watch {
	struct source_events events;
	struct {
		const struct source_kind *kind;
		void *state;
	} sources[SOURCES_MAX];
	size_t count;
};

static int source_add(struct watch *w, const struct source_kind *kind,
		      const struct source_args *args)
{
	int r = kind->start(args, &w->sources[w->count].state);

	if (r == 0)
		w->sources[w->count++].kind = kind;
	return r;
}

static int add_kernel(struct watch *w, const struct rung *rung, struct source_args *args)
{
	args->relayed = rung->kernel == RUNG_KERNEL_SILENT;
	args->fd = uevent_socket_open();
	return args->fd < 0 ? args->fd : source_add(w, &source_socket, args);
}

/* An error is told here, since only here it is known what is missing. */
static int add_inherited(struct watch *w, struct source_args *args, int fd)
{
	int r = uevent_socket_adopt(fd);

	if (r == -EPROTOTYPE)
		log_err("descriptor %d is not a netlink socket for uevents", fd);
	else if (r == -EADDRNOTAVAIL)
		log_err("descriptor %d is a socket that is not bound to the kernel's group", fd);
	else if (r < 0)
		log_err("cannot use descriptor %d for events: %s", fd, strerror(-r));
	if (r < 0)
		return r;
	args->fd = fd;
	return source_add(w, &source_socket, args);
}

static int add_inotify(struct watch *w, const struct source_args *args)
{
	int r = source_add(w, &source_inotify, args);

	if (r < 0)
		log_err("cannot watch %s: %s", QUOTE(args->dev_dir), strerror(-r));
	return r;
}

static int add_sources(struct watch *w, const struct rung *rung, struct source_args *args)
{
	int r;

	switch (rung->kind) {
	case EVENTS_FD:
		return add_inherited(w, args, rung->fd);
	case EVENTS_UNIX:
		return source_add(w, &source_relay, args);
	case EVENTS_INOTIFY:
		r = add_inotify(w, args);
		return r < 0 || rung->forced ? r : add_kernel(w, rung, args);
	case EVENTS_AUTO:
	case EVENTS_UDEV:
	case EVENTS_KERNEL:
		break;
	}
	r = add_kernel(w, rung, args);
	if (r < 0)
		log_err("cannot receive uevents: %s", strerror(-r));
	if (r == 0 && !rung->forced && rung->kernel == RUNG_KERNEL_MAYBE)
		r = add_inotify(w, args);
	return r;
}

static void tell(const struct rung *rung, const struct config *config)
{
	char why[LIMIT_REASON + 160];

	rung_why(rung, why, sizeof(why));
	log_info("events: %s%s%s%s", rung_name(rung->kind), *why ? " (" : "", why, *why ? ")" : "");
	if (rung->kind == EVENTS_INOTIFY && !rung->dev_lives)
		log_warning("no new disk will be noticed: %s is not the host's directory of "
			    "devices; see hotplugfs doctor",
			    QUOTE(config->dev_dir));
	else if (rung->forced && rung->kind == EVENTS_KERNEL && rung->kernel == RUNG_KERNEL_SILENT)
		log_warning("the kernel sends no events to this network namespace, but a relay "
			    "may");
}

int watch_new(struct loop *loop, const struct rung *rung, const struct config *config, int sysfs_fd,
	      const struct source_events *events, struct watch **ret_watch)
{
	struct watch *w = calloc(1, sizeof(*w));
	struct source_args args = {.loop = loop,
				   .fd = -EBADF,
				   .path = rung->path,
				   .dev_dir = config->dev_dir,
				   .sysfs_fd = sysfs_fd};
	int r;

	if (!w)
		return -ENOMEM;
	w->events = *events;
	args.events = &w->events;
	if (rung->kind == EVENTS_UDEV && !rung->udev_running) {
		log_err("no events from udevd: there is no " UDEVD_SOCKET);
		r = -ENOENT;
	} else {
		r = add_sources(w, rung, &args);
	}
	if (r < 0) {
		watch_free(w);
		return r;
	}
	tell(rung, config);
	*ret_watch = w;
	return 0;
}

struct watch *watch_free(struct watch *w)
{
	if (!w)
		return NULL;
	while (w->count > 0) {
		w->count--;
		w->sources[w->count].kind->stop(w->sources[w->count].state);
	}
	free(w);
	return NULL;
}
