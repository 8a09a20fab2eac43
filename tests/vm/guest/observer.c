/*
 * When the kernel said that something happened to a block device, and when the view showed it.
 *
 *     observer DIRECTORY
 *
 * Prints a line for each event, with the time of CLOCK_MONOTONIC in microseconds:
 *
 *     TIME kernel ACTION DEVICE	an event of the kernel
 *     TIME inotify create|delete NAME	what a watcher of the directory is told
 *     TIME listing gone NAME		the first listing after an event "remove" without NAME
 *
 * Its threads run before everything else that wants the processor, need no page that is not in
 * memory, and little of the processor: what they do not see at once would be taken for slow.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NAMES	     64
#define KERNEL_GROUP 1
#define LOOK_US	     1000000 /* at the listing, again and again, after an event "remove" */
#define PAUSE_US     1000
#define ONCE	     1
#define AGAIN	     (1 << 20)

struct observer {
	const char *path;
	DIR *directory;
	int uevents;
	int inotify;
	int changed; /* eventfd, of the thread that looks at the listing */
	char names[NAMES][NAME_MAX + 1];
	size_t count; /* of names, only for that thread */
};

static uint64_t now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* One write for each line: the threads share the file. */
static void tell(uint64_t at, const char *source, const char *what, const char *name)
{
	char line[NAME_MAX + 128];
	int n = snprintf(line, sizeof(line), "%llu %s %s %s\n", (unsigned long long)at, source,
			 what, name);

	(void)!write(STDOUT_FILENO, line, (size_t)n);
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

/* ---- the listing ---- */

/* The directory stays open: one request is enough to list it anew. */
static size_t list(DIR *directory, char names[NAMES][NAME_MAX + 1])
{
	struct dirent *entry;
	size_t n = 0;

	rewinddir(directory);
	while (n < NAMES && (entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			(void)snprintf(names[n++], NAME_MAX + 1, "%s", entry->d_name);
	return n;
}

static bool has(char names[NAMES][NAME_MAX + 1], size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* Tells of names that were there before, and keeps those that are there now. */
static void look(struct observer *o)
{
	static char found[NAMES][NAME_MAX + 1];
	size_t count = list(o->directory, found);
	uint64_t at = now_us();

	for (size_t i = 0; i < o->count; i++)
		if (!has(found, count, o->names[i]))
			tell(at, "listing", "gone", o->names[i]);
	memcpy(o->names, found, sizeof(found));
	o->count = count;
}

/* The value of the eventfd is a sum of ONCE and AGAIN. */
static void *listing_thread(void *data)
{
	struct observer *o = data;
	uint64_t value;

	while (read(o->changed, &value, sizeof(value)) == (ssize_t)sizeof(value)) {
		uint64_t end = now_us() + LOOK_US;

		look(o);
		while (value >= AGAIN && o->count > 0 && now_us() < end) {
			(void)usleep(PAUSE_US);
			look(o);
		}
	}
	return NULL;
}

static void wake(const struct observer *o, uint64_t value)
{
	(void)!write(o->changed, &value, sizeof(value));
}

/* ---- events ---- */

static const char *value_of(const char *message, size_t size, const char *key)
{
	size_t length = strlen(key);

	for (const char *p = message; p < message + size; p += strlen(p) + 1)
		if (strncmp(p, key, length) == 0)
			return p + length;
	return "";
}

static void uevent(struct observer *o, uint64_t at)
{
	char message[8192] = "";
	ssize_t n = recv(o->uevents, message, sizeof(message) - 1, MSG_DONTWAIT);
	const char *action;
	const char *path;

	if (n <= 0 || strcmp(value_of(message, (size_t)n, "SUBSYSTEM="), "block") != 0)
		return;
	action = value_of(message, (size_t)n, "ACTION=");
	path = strrchr(value_of(message, (size_t)n, "DEVPATH="), '/');
	tell(at, "kernel", action, path ? path + 1 : "");
	if (strcmp(action, "remove") == 0)
		wake(o, AGAIN);
}

static void watched(const struct observer *o, uint64_t at)
{
	char buf[8192] __attribute__((aligned(8)));
	ssize_t n = read(o->inotify, buf, sizeof(buf));

	for (const char *p = buf; n > 0 && p < buf + n;) {
		const struct inotify_event *event = (const struct inotify_event *)p;

		tell(at, "inotify", event->mask & IN_CREATE ? "create" : "delete", event->name);
		wake(o, ONCE);
		p += sizeof(*event) + event->len;
	}
}

static int event_loop(struct observer *o)
{
	struct pollfd fds[] = {{.fd = o->uevents, .events = POLLIN},
			       {.fd = o->inotify, .events = POLLIN}};

	while (poll(fds, 2, -1) > 0 || errno == EINTR) {
		uint64_t at = now_us();

		if (fds[0].revents)
			uevent(o, at);
		if (fds[1].revents)
			watched(o, at);
	}
	return fail("poll");
}

static int open_sources(struct observer *o)
{
	static const struct sockaddr_nl address = {.nl_family = AF_NETLINK,
						   .nl_groups = KERNEL_GROUP};

	o->changed = eventfd(0, EFD_CLOEXEC);
	o->inotify = inotify_init1(IN_CLOEXEC);
	o->uevents = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	if (o->changed < 0 || o->inotify < 0 || o->uevents < 0)
		return -1;
	o->directory = opendir(o->path);
	if (!o->directory)
		return -1;
	if (inotify_add_watch(o->inotify, o->path, IN_CREATE | IN_DELETE | IN_ONLYDIR) < 0)
		return -1;
	return bind(o->uevents, (const struct sockaddr *)&address, sizeof(address));
}

static int start_listing(struct observer *o)
{
	static const struct sched_param priority = {.sched_priority = 49};
	pthread_t thread;
	int r = pthread_create(&thread, NULL, listing_thread, o);

	return r == 0 ? pthread_setschedparam(thread, SCHED_FIFO, &priority) : r;
}

int main(int argc, char **argv)
{
	static const struct sched_param priority = {.sched_priority = 50};
	static struct observer o;

	if (argc != 2) {
		(void)fprintf(stderr, "Usage: observer DIRECTORY\n");
		return 2;
	}
	o.path = argv[1];
	if (open_sources(&o) < 0)
		return fail(o.path);
	o.count = list(o.directory, o.names);
	if (sched_setscheduler(0, SCHED_FIFO, &priority) < 0)
		return fail("sched_setscheduler");
	if (start_listing(&o) != 0)
		return fail("pthread_create");
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		return fail("mlockall");
	return event_loop(&o);
}
