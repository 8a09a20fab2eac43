/* Event sources: what they tell, of made-up events, on a made-up /sys and /dev. */
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <cmocka.h>

#include "base/listen.h"
#include "daemon/relay.h"
#include "daemon/source.h"
#include "device/uevent.h"

#define NEVER_MS 20000 /* a source that has not told by then never will */
#define QUIET_MS 1500  /* longer than any timer of a source */

/* What a source has told, and a loop that runs until it has told enough. */
struct listener {
	struct loop *loop;
	struct source_events events;
	char told[512]; /* " sda sdb", and " *" for a loss */
	unsigned count, wanted;
};

static void told(struct listener *l, const char *what)
{
	size_t used = strlen(l->told);

	(void)snprintf(l->told + used, sizeof(l->told) - used, " %s", what);
	if (++l->count == l->wanted)
		loop_quit(l->loop, 0);
}

static void told_device(const char *kname, void *data)
{
	told(data, kname);
}

static void told_lost(void *data)
{
	told(data, "*");
}

static void listener_init(struct listener *l)
{
	*l = (struct listener){.wanted = 0};
	l->events = (struct source_events){told_device, told_lost, l};
	assert_int_equal(loop_new(&l->loop), 0);
}

static void expired(void *data)
{
	loop_quit(data, 1);
}

/* Returns what is told until there are count of them, or until nothing more comes. */
static const char *hear(struct listener *l, unsigned count)
{
	struct loop_timer *timer;

	l->told[0] = '\0';
	l->count = 0;
	l->wanted = count;
	assert_int_equal(
		loop_timer_add(l->loop, count ? NEVER_MS : QUIET_MS, expired, l->loop, &timer), 0);
	assert_int_equal(loop_run(l->loop), count ? 0 : 1);
	loop_timer_remove(timer);
	return l->told;
}

/* Events for source_read_events(), in place of a socket. */
static const struct made_up {
	int r;
	const char *subsystem, *kname;
} * script;

static int read_script(int fd, struct uevent *ret_event)
{
	(void)fd;
	*ret_event = (struct uevent){.action = UEVENT_ADD};
	if (script->r == 0) {
		(void)STR_COPY(ret_event->subsystem, script->subsystem);
		(void)STR_COPY(ret_event->kname, script->kname);
	}
	return (script++)->r;
}

static void reads_events(void **state)
{
	static const struct made_up made_up[] = {
		{0, "block", "sda"},
		{0, "usb", "1-2"},
		{0, "block", "sdb"},
		{0, "block", "sda"},
		{0, "block", ""},
		{-EAGAIN},
		{0, "block", "sda"},
		{-ENOBUFS},
		{0, "block", "sdb"},
		{-EAGAIN},
		{0, "block", "sdc"},
		{-EAGAIN},
		{0, RELAY_LOST_SUBSYSTEM, ""},
		{-EAGAIN},
		{-ENOBUFS},
		{-EPIPE},
	};
	struct listener l;
	bool lost = false;

	(void)state;
	listener_init(&l);
	script = made_up;
	assert_int_equal(source_read_events(-1, read_script, &lost, &l.events), 0);
	assert_string_equal(l.told, " sda sdb");
	assert_int_equal(source_read_events(-1, read_script, &lost, &l.events), 0);
	assert_string_equal(l.told, " sda sdb *");
	assert_int_equal(source_read_events(-1, read_script, &lost, &l.events), 0);
	assert_string_equal(l.told, " sda sdb * sdc");
	assert_int_equal(source_read_events(-1, read_script, &lost, &l.events), 0);
	assert_string_equal(l.told, " sda sdb * sdc *");
	assert_int_equal(source_read_events(-1, read_script, &lost, &l.events), -EPIPE);
	assert_string_equal(l.told, " sda sdb * sdc * *");
	loop_free(l.loop);
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

struct world {
	struct listener listener;
	char path[64];
	char dev[80];
	int fd;
	void *source;
};

static void put(const struct world *w, const char *path, const char *text)
{
	_cleanup_close_ int fd = openat(w->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
					0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void put_device(const struct world *w, const char *kname, const char *size)
{
	static const char *const names[] = {"", "/dev", "/size", "/diskseq", "/ro"};
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof(path), "class/block/%s%s", kname, names[i]);
		if (i == 0)
			(void)mkdirat(w->fd, path, 0700);
		else
			put(w, path, i == 2 ? size : "7\n");
	}
}

static void put_node(const struct world *w, const char *kname)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "dev/%s", kname);
	put(w, path, "");
}

static void remove_device(const struct world *w, const char *kname)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/class/block/%s", w->path, kname);
	assert_int_equal(nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
	(void)snprintf(path, sizeof(path), "dev/%s", kname);
	assert_int_equal(unlinkat(w->fd, path, 0), 0);
}

/* Opens a node as somebody who looks at it does, not to write. */
static void use_node(const struct world *w, const char *kname)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "dev/%s", kname);
	close_fd(openat(w->fd, path, O_RDONLY | O_CLOEXEC));
}

static void world_init(struct world *w)
{
	listener_init(&w->listener);
	(void)STR_COPY(w->path, "/tmp/test-source-XXXXXX");
	assert_non_null(mkdtemp(w->path));
	w->fd = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(w->fd >= 0);
	assert_int_equal(mkdirat(w->fd, "class", 0700), 0);
	assert_int_equal(mkdirat(w->fd, "class/block", 0700), 0);
	assert_int_equal(mkdirat(w->fd, "dev", 0700), 0);
	(void)snprintf(w->dev, sizeof(w->dev), "%s/dev", w->path);
}

static void world_done(struct world *w)
{
	loop_free(w->listener.loop);
	close(w->fd);
	assert_int_equal(nftw(w->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void inotify_tells_what_changed(void **state)
{
	struct world w;
	struct source_args args = {.dev_dir = w.dev};

	(void)state;
	world_init(&w);
	args.loop = w.listener.loop;
	args.events = &w.listener.events;
	args.sysfs_fd = w.fd;
	put_device(&w, "sda", "0\n");
	put_node(&w, "sda");
	assert_int_equal(source_inotify.start(&args, &w.source), 0);

	/* nothing has changed: those of the start, a node that was opened, other files */
	use_node(&w, "sda");
	put_node(&w, "null");
	assert_string_equal(hear(&w.listener, 0), "");

	put_device(&w, "sdb", "100\n");
	put_node(&w, "sdb");
	assert_string_equal(hear(&w.listener, 1), " sdb");

	/* a medium was put into a drive, and somebody looked at it */
	put_device(&w, "sda", "200\n");
	use_node(&w, "sda");
	assert_string_equal(hear(&w.listener, 1), " sda");

	put_node(&w, "sdb"); /* is written to */
	assert_string_equal(hear(&w.listener, 1), " sdb");
	assert_int_equal(fchmodat(w.fd, "dev/sdb", 0640, 0), 0);
	assert_string_equal(hear(&w.listener, 1), " sdb");

	remove_device(&w, "sda");
	assert_string_equal(hear(&w.listener, 1), " sda");
	assert_string_equal(hear(&w.listener, 0), "");
	source_inotify.stop(w.source);
	world_done(&w);
}

/* sysfs may lag behind the node when a device goes. */
static void inotify_looks_again(void **state)
{
	struct world w;
	struct source_args args = {.dev_dir = w.dev};
	char path[128];

	(void)state;
	world_init(&w);
	args.loop = w.listener.loop;
	args.events = &w.listener.events;
	args.sysfs_fd = w.fd;
	put_device(&w, "sda", "9\n");
	put_device(&w, "sdb", "9\n");
	put_node(&w, "sda");
	put_node(&w, "sdb");
	assert_int_equal(source_inotify.start(&args, &w.source), 0);
	assert_int_equal(unlinkat(w.fd, "dev/sda", 0), 0);
	put_device(&w, "sdb", "8\n"); /* tells when the first look is over */
	assert_string_equal(hear(&w.listener, 1), " sdb");
	(void)snprintf(path, sizeof(path), "%s/class/block/sda", w.path);
	assert_int_equal(nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
	assert_string_equal(hear(&w.listener, 1), " sda");
	source_inotify.stop(w.source);
	world_done(&w);
}

static const char an_event[] = "add@/devices/sda\0ACTION=add\0DEVPATH=/devices/sda\0"
			       "SUBSYSTEM=block\0DEVNAME=sda";

static int accept_from(int listener)
{
	int fd = -1;

	for (int i = 0; i < 1000 && fd < 0; i++) {
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			(void)usleep(10000);
	}
	assert_true(fd >= 0);
	return fd;
}

static void relay_is_followed(void **state)
{
	struct world w;
	char path[96];
	char *made = NULL;
	struct source_args args = {.path = path};
	int listener, peer;

	(void)state;
	world_init(&w);
	args.loop = w.listener.loop;
	args.events = &w.listener.events;
	(void)snprintf(path, sizeof(path), "%s/dev/socket", w.path);
	assert_int_equal(source_relay.start(&args, &w.source), 0); /* there is none yet */
	listener = listen_unix(path, SOCK_SEQPACKET, &made);
	assert_true(listener >= 0 && !made);
	assert_int_equal(listen_unix(path, SOCK_SEQPACKET, &made), -EADDRINUSE);
	close_fd(accept_from(listener)); /* ours, from the line above */
	assert_string_equal(hear(&w.listener, 1), " *");
	peer = accept_from(listener);
	assert_int_equal(send(peer, "nonsense", 8, 0), 8);
	assert_int_equal(send(peer, an_event, sizeof(an_event), 0), sizeof(an_event));
	assert_string_equal(hear(&w.listener, 1), " sda");
	close_fd(peer);
	assert_string_equal(hear(&w.listener, 1), " *");
	source_relay.stop(w.source);
	close_fd(listener);
	world_done(&w);
}

static void seqnum_is_left_out(void **state)
{
	static const char with[] = "add@/x\0SEQNUM=12\0ACTION=add\0SEQNUM=3";
	static const char without[] = "add@/x\0ACTION=add";
	char buf[64];

	(void)state;
	assert_int_equal(uevent_without_seqnum(with, sizeof(with), buf, sizeof(buf)),
			 sizeof(without));
	assert_memory_equal(buf, without, sizeof(without));
	assert_int_equal(uevent_without_seqnum(without, sizeof(without) - 1, buf, sizeof(buf)),
			 sizeof(without) - 1);
	assert_int_equal(uevent_without_seqnum(with, sizeof(with), buf, 10), -EMSGSIZE);
	assert_int_equal(uevent_without_seqnum(with, 0, buf, sizeof(buf)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_events),	       cmocka_unit_test(inotify_tells_what_changed),
		cmocka_unit_test(inotify_looks_again), cmocka_unit_test(relay_is_followed),
		cmocka_unit_test(seqnum_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
