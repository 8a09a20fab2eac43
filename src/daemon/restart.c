/* What the service manager has kept (keep.c) is taken back: no process of the daemon is left. */
#include <fcntl.h>
#include <stdio.h>

#include "base/environment.h"
#include "base/log.h"
#include "context.h"
#include "daemon/handover.h"
#include "daemon/mountpoint.h"
#include "daemon/notify.h"

/* What is handed over starts here (sd_listen_fds(3)). */
#define LISTEN_FD_FIRST 3
#define LISTEN_FD_MAX	64

struct kept {
	int fuse;
	int nodes;
	int namespace;
	int record[2];
};

static void kept_done(struct kept *kept)
{
	close_fd(kept->fuse);
	close_fd(kept->nodes);
	close_fd(kept->namespace);
	close_fd(kept->record[0]);
	close_fd(kept->record[1]);
}

static int *slot(struct kept *kept, const char *name)
{
	const struct {
		const char *name;
		int *fd;
	} slots[] = {
		{KEEP_PREFIX "fuse", &kept->fuse},
		{KEEP_PREFIX "nodes", &kept->nodes},
		{KEEP_PREFIX "namespace", &kept->namespace},
		{KEEP_PREFIX "record-0", &kept->record[0]},
		{KEEP_PREFIX "record-1", &kept->record[1]},
	};

	for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
		if (streq(name, slots[i].name))
			return slots[i].fd;
	return NULL;
}

/* Takes ours out of what was handed over; the same name twice is the same thing. */
static void collect(struct kept *kept)
{
	const char *names = getenv("LISTEN_FDNAMES");
	_cleanup_free_ char *copy = names ? strdup(names) : NULL;
	char *rest = copy;
	int max = MIN(environment_number("LISTEN_FDS"), LISTEN_FD_MAX);

	if (!copy || environment_number("LISTEN_PID") != getpid())
		return;
	for (int fd = LISTEN_FD_FIRST; fd < LISTEN_FD_FIRST + max; fd++) {
		const char *name = strsep(&rest, ":");
		int *place = name ? slot(kept, name) : NULL;

		if (!place)
			continue;
		close_fd(*place);
		*place = fd;
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
}

/* The newer of two records, if the daemon was killed between the one and the other. */
static int read_newest(const struct kept *kept, struct handover **ret_handover, char *error,
		       size_t size)
{
	_cleanup_(handover_freep) struct handover *newest = NULL;
	int r = -ENOENT;

	for (size_t i = 0; i < ARRAY_SIZE(kept->record); i++) {
		_cleanup_(handover_freep) struct handover *h = NULL;

		if (kept->record[i] < 0)
			continue;
		r = handover_read(kept->record[i], &h, error, size);
		if (r == 0 && (!newest || h->sequence > newest->sequence)) {
			handover_free(newest);
			newest = TAKE_PTR(h);
		}
	}
	if (!newest)
		return r < 0 ? r : -ENOENT;
	*ret_handover = TAKE_PTR(newest);
	return 0;
}

/* Its files and its disks are lost; a new view is mounted. */
static void discard(struct broker *b, const char *mountpoint, const char *why)
{
	int r;

	log_warning("what the service manager has kept cannot be used: %s", why);
	keep_forget_all();
	r = mountpoint_discard(mountpoint);
	if (r < 0)
		log_warning("cannot unmount %s: %s", QUOTE(mountpoint), strerror(-r));
	b->handover = handover_free(b->handover);
}

static int take(struct broker *b, struct kept *kept)
{
	struct handover *h = b->handover;

	h->fuse_fd = TAKE_FD(kept->fuse);
	h->nodes_fd = TAKE_FD(kept->nodes);
	h->namespace_fd = TAKE_FD(kept->namespace);
	b->stored = true;
	b->sequence = h->sequence;
	b->mountpoint = strdup(h->mountpoint);
	return b->mountpoint ? 0 : -ENOMEM;
}

int restart_begin(struct broker *b)
{
	_cleanup_(kept_done) struct kept kept = {-EBADF, -EBADF, -EBADF, {-EBADF, -EBADF}};
	char error[256] = "there is no record";
	int r;

	if (b->args->workload)
		return 0; /* whose daemon keeps nothing */
	collect(&kept);
	if (kept.fuse < 0 && kept.record[0] < 0 && kept.record[1] < 0)
		return 0;
	r = read_newest(&kept, &b->handover, error, sizeof(error));
	if (r < 0) {
		discard(b, b->args->mountpoint, error);
	} else if (kept.fuse < 0 || kept.nodes < 0 || kept.namespace < 0) {
		discard(b, b->handover->mountpoint, "something is missing");
	} else if (!streq(b->handover->operand, b->args->mountpoint)) {
		discard(b, b->handover->mountpoint, "the view is to be mounted somewhere else");
	} else {
		return take(b, &kept);
	}
	return 0;
}

void restart_find(struct broker *b)
{
	registry_for_each (m, &b->registry) {
		if (m->state == MEDIUM_MOUNTING)
			storage_find(b, m);
		else if (m->view == MEDIUM_VISIBLE)
			visibility_hide(b, m);
	}
}
