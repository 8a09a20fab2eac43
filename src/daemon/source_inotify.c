/*
 * inotify on devtmpfs, as measured on 6.18: a node that the kernel makes or removes is reported in
 * every bind mount of the directory (CREATE, DELETE), in any namespace; at DELETE the device may
 * still be in sysfs for a moment. A medium that changes in a drive makes no node, but is opened by
 * somebody, which shows at that node (OPEN, CLOSE). Those are watched one by one: in the directory
 * every use of /dev/null would be reported, too. An open of our own finds nothing changed in sysfs,
 * and ends there.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

#include "base/limits.h"
#include "base/log.h"
#include "device/blockdev.h"
#include "device/sysfs.h"
#include "source.h"

#define DIRECTORY_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ATTRIB)
#define NODE_EVENTS	 (IN_OPEN | IN_CLOSE)

/* What comes together is looked at together. */
#define LOOK_MS 100
/* A second look, for what sysfs was late with when a node came or went. */
#define LOOK_AGAIN_MS 1000

/* A device as it was when last looked at: facts that need no lock of the device. */
struct known {
	char kname[LIMIT_KNAME];
	char devnum[16];
	uint64_t size;
	uint64_t diskseq;
	bool read_only;
	int watch;    /* of its node, or negative: we may not read it */
	bool dirty;   /* its node was used */
	bool touched; /* was written to, or may be opened by others now */
	bool seen;    /* in this look */
};

struct inotify_source {
	const struct source_events *events;
	int fd;
	int sysfs_fd;
	char *dev_dir;
	int directory; /* the watch */
	struct known *known;
	size_t count;
	size_t size;
	bool all; /* nodes came or went: look at all */
	struct loop *loop;
	struct loop_fd *source;
	struct loop_timer *look;
	struct loop_timer *again;
};

static struct known *find(struct inotify_source *s, const char *kname)
{
	for (size_t i = 0; i < s->count; i++)
		if (streq(s->known[i].kname, kname))
			return &s->known[i];
	return NULL;
}

/* Brings it up to date; returns whether it is another than it was. */
static bool known_read(struct inotify_source *s, struct known *known)
{
	struct sysfs sysfs = {.fd = s->sysfs_fd};
	struct known old = *known;
	char dir[LIMIT_KNAME + 16];

	(void)snprintf(dir, sizeof(dir), "class/block/%s", known->kname);
	(void)sysfs_read(&sysfs, dir, "dev", known->devnum, sizeof(known->devnum));
	known->size = sysfs_read_number(&sysfs, dir, "size");
	known->diskseq = sysfs_read_number(&sysfs, dir, "diskseq");
	known->read_only = sysfs_read_number(&sysfs, dir, "ro") == 1;
	if (sysfs.err < 0) { /* who is told has to look again later, too */
		*known = old;
		return true;
	}
	return !streq(old.devnum, known->devnum) || old.size != known->size ||
	       old.diskseq != known->diskseq || old.read_only != known->read_only;
}

static void node_watch(struct inotify_source *s, struct known *known)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", s->dev_dir, known->kname);
	for (char *p = path + strlen(s->dev_dir) + 1; *p; p++)
		if (*p == '!')
			*p = '/';
	known->watch = inotify_add_watch(s->fd, path, NODE_EVENTS);
	if (known->watch < 0)
		log_debug("cannot watch %s: %s, ignoring", QUOTE(path), strerror(errno));
}

static struct known *known_add(struct inotify_source *s, const char *kname)
{
	struct known *known;

	if (s->count == s->size) {
		size_t size = s->size ? 2 * s->size : 64;

		known = s->size >= 2ul * LIMIT_MEDIA ? NULL
						     : reallocarray(s->known, size, sizeof(*known));
		if (!known)
			return NULL;
		s->known = known;
		s->size = size;
	}
	known = &s->known[s->count++];
	*known = (struct known){.watch = -1};
	(void)STR_COPY(known->kname, kname);
	node_watch(s, known);
	return known;
}

/* Looks at one of class/block; what is new or has changed is told. */
static int look_at(const char *kname, void *data)
{
	struct inotify_source *s = data;
	struct known *known = find(s, kname);
	bool tell = !known;

	if (!known && !(known = known_add(s, kname)))
		return 0;
	known->seen = true;
	tell |= known_read(s, known) || known->touched;
	if (known->watch < 0 && known->touched)
		node_watch(s, known);
	known->dirty = known->touched = false;
	if (tell)
		s->events->device(kname, s->events->data);
	return 0;
}

/* Those that are gone are told last: a disk that came back is another before. */
static void tell_gone(struct inotify_source *s)
{
	for (size_t i = 0; i < s->count;) {
		struct known gone = s->known[i];

		if (gone.seen) {
			i++;
			continue;
		}
		s->known[i] = s->known[--s->count];
		if (gone.watch >= 0)
			(void)inotify_rm_watch(s->fd, gone.watch);
		s->events->device(gone.kname, s->events->data);
	}
}

static void look_at_all(struct inotify_source *s)
{
	int r;

	s->all = false;
	for (size_t i = 0; i < s->count; i++)
		s->known[i].seen = false;
	r = blockdev_each(s->sysfs_fd, look_at, s);
	if (r < 0)
		log_err("cannot list the block devices in sysfs: %s", strerror(-r));
	else
		tell_gone(s);
}

static void look_at_used(struct inotify_source *s)
{
	for (size_t i = 0; i < s->count; i++) {
		char kname[LIMIT_KNAME];

		(void)STR_COPY(kname, s->known[i].kname);
		if (s->known[i].dirty)
			(void)look_at(kname, s);
	}
}

static void look_again(void *data)
{
	struct inotify_source *s = data;

	s->again = loop_timer_remove(s->again);
	look_at_all(s);
}

static void look(void *data)
{
	struct inotify_source *s = data;

	s->look = loop_timer_remove(s->look);
	if (!s->all) {
		look_at_used(s);
		return;
	}
	look_at_all(s);
	s->again = loop_timer_remove(s->again);
	(void)loop_timer_add(s->loop, LOOK_AGAIN_MS, look_again, s, &s->again);
}

static void node_used(struct inotify_source *s, const struct inotify_event *event)
{
	for (size_t i = 0; i < s->count; i++) {
		if (s->known[i].watch != event->wd)
			continue;
		s->known[i].dirty = true;
		s->known[i].touched |= (event->mask & IN_CLOSE_WRITE) != 0;
		if (event->mask & IN_IGNORED)
			s->known[i].watch = -1;
	}
}

static void take(struct inotify_source *s, const struct inotify_event *event)
{
	struct known *known = event->len ? find(s, event->name) : NULL;

	if (event->mask & IN_Q_OVERFLOW) {
		s->all = true;
		for (size_t i = 0; i < s->count; i++)
			s->known[i].touched = true;
	} else if (event->wd != s->directory) {
		node_used(s, event);
	} else if (event->mask & IN_ATTRIB && known) {
		known->dirty = known->touched = true; /* udevd has set who may open it */
	} else if (!(event->mask & IN_ATTRIB)) {
		s->all = true;
	}
}

static void readable(int fd, uint32_t events, void *data)
{
	char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct inotify_source *s = data;
	ssize_t n = read(fd, buf, sizeof(buf));

	(void)events;
	for (const char *p = buf; n > 0 && p < buf + n;) {
		const struct inotify_event *event = (const struct inotify_event *)p;

		take(s, event);
		p += sizeof(*event) + event->len;
	}
	if (n > 0 && !s->look && loop_timer_add(s->loop, LOOK_MS, look, s, &s->look) < 0)
		look(s);
}

static void inotify_stop(void *state)
{
	struct inotify_source *s = state;

	if (!s)
		return;
	loop_timer_remove(s->look);
	loop_timer_remove(s->again);
	loop_fd_remove(s->source);
	close_fd(s->fd);
	free(s->dev_dir);
	free(s->known);
	free(s);
}

/* What is there at the start is not told: whoever starts us looks at everything himself. */
static int remember(const char *kname, void *data)
{
	struct known *known = known_add(data, kname);

	if (known)
		(void)known_read(data, known);
	return 0;
}

static int inotify_start(const struct source_args *args, void **ret_state)
{
	struct inotify_source *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return -ENOMEM;
	*s = (struct inotify_source){.events = args->events,
				     .sysfs_fd = args->sysfs_fd,
				     .dev_dir = strdup(args->dev_dir),
				     .loop = args->loop};
	s->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (!s->dev_dir)
		r = -ENOMEM;
	else if (s->fd < 0)
		r = -errno;
	else if ((s->directory = inotify_add_watch(s->fd, s->dev_dir,
						   DIRECTORY_EVENTS | IN_ONLYDIR)) < 0)
		r = -errno;
	else
		r = loop_fd_add(args->loop, s->fd, EPOLLIN, readable, s, &s->source);
	if (r == 0)
		r = MIN(blockdev_each(s->sysfs_fd, remember, s), 0);
	if (r < 0) {
		inotify_stop(s);
		return r;
	}
	*ret_state = s;
	return 0;
}

const struct source_kind source_inotify = {inotify_start, inotify_stop};
