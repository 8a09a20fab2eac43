/*
 * The view outlives the daemon where a service manager keeps descriptors (sd_notify(3), FDSTORE=1):
 *
 *   fuse, nodes, namespace   the connection, the server's memfd, where the disks are mounted
 *   record-0, record-1       handover.h, as it would be now; the one with the higher sequence
 * counts
 *
 * The next start gets them back (sd_listen_fds_with_names(3)) and goes on, in takeover.c: after
 * SIGUSR1, by which `systemctl restart` is told from a stop (RestartKillSignal=, systemd 244), and
 * after the daemon was killed. Any other end takes all of it out of the store, and then everything
 * down as without a store.
 */
#include <cap-ng.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "context.h"
#include "daemon/handover.h"
#include "daemon/notify.h"
#include "daemon/server.h"

/* Records that follow closely are written together. */
#define WRITE_DELAY_MS 10
#define RETRY_MS       200
/* For what is on its way when we are to end, and until the manager has all. */
#define LEAVE_DEADLINE_MS   10000
#define BARRIER_DEADLINE_MS 5000
#define LEAVE_LOOK_MS	    5

static const char *const names[] = {"fuse", "nodes", "namespace", "record-0", "record-1"};

struct keep {
	struct loop_timer *write_timer;
	struct handover *last; /* the record that is kept */
	uint64_t sequence;     /* its number */
	bool connected;	       /* the connection and the memfd are kept */
	pid_t keeper;	       /* whose namespace is kept */
	uint64_t leave_ms;     /* when we leave, whatever is on its way; 0: we do not */
	struct loop_timer *leave_timer;
	struct loop_fd *barrier;
	int barrier_fd;
};

static int store(const char *name, int fd)
{
	char state[96];

	(void)snprintf(state, sizeof(state), "FDSTORE=1\nFDNAME=" KEEP_PREFIX "%s\nFDPOLL=0", name);
	return notify_send_fd(state, fd);
}

/* What an earlier program has stored under the name goes: it may be another descriptor of the same.
 */
static int forget(const char *name)
{
	char state[96];

	(void)snprintf(state, sizeof(state), "FDSTOREREMOVE=1\nFDNAME=" KEEP_PREFIX "%s", name);
	return notify_send_fd(state, -EBADF);
}

/* Another keeper has another namespace. */
static int store_namespace(struct broker *b)
{
	pid_t keeper = staging_keeper(b->staging);
	_cleanup_close_ int fd = -EBADF;
	char path[32];
	int r;

	if (keeper == b->keep->keeper || keeper == 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%d/ns/mnt", (int)keeper);
	fd = openat(b->proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = forget("namespace");
	if (r == 0)
		r = store("namespace", fd);
	if (r == 0)
		b->keep->keeper = keeper;
	return r;
}

/*
 * As the next program can go on with it, were we killed now: what is on its way is as before, or as
 * far as the kernel may know it already.
 */
static bool normalize(const struct medium *m, struct medium *ret_medium)
{
	bool known = m->view == MEDIUM_VISIBLE || m->view == MEDIUM_APPEARING ||
		     m->view == MEDIUM_VANISHING;

	if (!known || m->state == MEDIUM_REMOVED || !m->driver)
		return false;
	*ret_medium = *m;
	ret_medium->view = MEDIUM_VISIBLE;
	ret_medium->root_fd = -EBADF;
	ret_medium->free_bytes = 0; /* it changes all the time, and is found out again */
	ret_medium->unsynced = false;
	ret_medium->written = false;
	if (m->state == MEDIUM_UNMOUNTING || m->state == MEDIUM_EJECTING)
		ret_medium->umount_err = -ETIMEDOUT; /* it may go on; storage_find() knows better */
	if (medium_is_engaged(m))
		ret_medium->state = MEDIUM_IDLE; /* found out again, too */
	return true;
}

static int leave_media(struct broker *b, struct handover *h)
{
	struct medium *copy = malloc(sizeof(*copy));
	int r = copy ? 0 : -ENOMEM;

	h->last_id = b->registry.last;
	registry_for_each (m, &b->registry)
		if (r == 0 && (m->state == MEDIUM_EJECTED && m->view == MEDIUM_ABSENT))
			r = handover_leave_medium(h, m);
		else if (r == 0 && normalize(m, copy))
			r = handover_leave_medium(h, copy);
	free(copy);
	return r;
}

static int record_new(struct broker *b, struct handover **ret_handover)
{
	_cleanup_(handover_freep) struct handover *h = NULL;
	int r = handover_new(&h);

	if (r < 0)
		return r;
	h->fuse_fd = h->nodes_fd = h->files_fd = h->link_fd = -EBADF;
	h->keeper_fd = h->events_fd = h->program_fd = -EBADF;
	h->sequence = b->keep->sequence;
	r = upgrade_leave_facts(b, h);
	if (r == 0)
		r = leave_media(b, h);
	if (r == 0)
		r = handover_pack(h);
	if (r == 0)
		*ret_handover = TAKE_PTR(h);
	return r;
}

/* The new one comes before the old one goes, so that there is always one, and one of each name. */
static int store_record(struct broker *b, struct handover *h)
{
	_cleanup_close_ int fd = -EBADF;
	bool odd;
	int r;

	h->sequence++;
	odd = h->sequence & 1;
	fd = handover_write(h);
	if (fd < 0)
		return fd;
	r = forget(odd ? "record-1" : "record-0"); /* of a try that failed half way */
	if (r == 0)
		r = store(odd ? "record-1" : "record-0", fd);
	if (r == 0)
		r = forget(odd ? "record-0" : "record-1");
	return r;
}

static int store_connection(struct broker *b)
{
	struct supervisor_left server;
	int r;

	if (b->keep->connected)
		return 0;
	supervisor_leave(b->server, &server);
	r = forget("fuse");
	if (r == 0)
		r = store("fuse", server.fuse_fd);
	if (r == 0)
		r = forget("nodes");
	if (r == 0)
		r = store("nodes", server.nodes_fd);
	b->keep->connected = r == 0;
	return r;
}

static int write_now(struct broker *b)
{
	_cleanup_(handover_freep) struct handover *h = NULL;
	struct keep *k = b->keep;
	int r = store_connection(b);

	if (r == 0)
		r = store_namespace(b);
	if (r == 0)
		r = record_new(b, &h);
	if (r < 0 || (k->last && json_object_equal(h->record, k->last->record)))
		return r;
	r = store_record(b, h);
	if (r == 0) {
		k->sequence = h->sequence;
		handover_free(k->last);
		k->last = TAKE_PTR(h);
	}
	return r;
}

static void keep_free(struct broker *b)
{
	struct keep *k = TAKE_PTR(b->keep);

	if (!k)
		return;
	loop_timer_remove(k->write_timer);
	loop_timer_remove(k->leave_timer);
	loop_fd_remove(k->barrier);
	close_fd(k->barrier_fd);
	handover_free(k->last);
	free(k);
}

static void write_due(void *data);

static void write_after(struct broker *b, uint64_t delay_ms)
{
	(void)loop_timer_add(b->loop, delay_ms, write_due, b, &b->keep->write_timer);
}

static void write_or_retry(struct broker *b)
{
	int r = write_now(b);

	if (r == -EAGAIN) {
		write_after(b, RETRY_MS);
	} else if (r < 0) {
		log_info("the service manager keeps nothing: %s", strerror(-r));
		keep_free(b);
	}
}

/* Names do not wait longer than that, even for a manager that does not read. */
static void write_due(void *data)
{
	struct broker *b = data;

	b->keep->write_timer = loop_timer_remove(b->keep->write_timer);
	write_or_retry(b);
	visibility_kept(b);
}

void keep_changed(struct broker *b)
{
	if (b->keep && !b->keep->write_timer && b->phase != BROKER_ENDING)
		write_after(b, WRITE_DELAY_MS);
}

void keep_now(struct broker *b)
{
	if (b->keep && b->phase != BROKER_ENDING)
		write_due(b);
}

/* The first of several is written at once; the others wait until the timer ends, together. */
bool keep_has_names(struct broker *b)
{
	if (!b->keep || b->phase == BROKER_ENDING)
		return true;
	if (b->keep->write_timer)
		return false;
	write_or_retry(b);
	if (b->keep)
		keep_changed(b);
	return true;
}

static bool can_join_namespaces(void)
{
	return capng_get_caps_process() < 0 ||
	       capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_CHROOT);
}

void keep_start(struct broker *b)
{
	if (b->keep || !notify_wanted() || b->workload || !b->resend || !can_join_namespaces())
		return;
	b->keep = calloc(1, sizeof(*b->keep));
	if (!b->keep)
		return;
	b->keep->barrier_fd = -EBADF;
	b->keep->sequence = b->sequence;
	write_or_retry(b);
}

uint64_t keep_sequence(const struct broker *b)
{
	return b->keep ? b->keep->sequence : 0;
}

void keep_forget_all(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		(void)forget(names[i]);
}

void keep_forget(struct broker *b)
{
	if (b->keep || b->stored)
		keep_forget_all();
	keep_free(b);
}

/* ---- the daemon ends, the view does not ---- */

static void left(struct broker *b)
{
	log_info("leaving %s to the service manager", QUOTE(b->mountpoint));
	b->left = true;
	keep_free(b);
	loop_quit(b->loop, 0);
}

static void barrier_timeout(void *data)
{
	left(data);
}

static void barrier_passed(int fd, uint32_t events, void *data)
{
	(void)fd;
	(void)events;
	left(data);
}

/* The manager closes its end when it has dealt with everything before; or it does not know it. */
static int wait_for_manager(struct broker *b)
{
	struct keep *k = b->keep;
	_cleanup_close_ int theirs = -EBADF;
	int fds[2];
	int r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	k->barrier_fd = fds[0];
	theirs = fds[1];
	r = notify_send_fd("BARRIER=1", theirs);
	if (r == 0)
		r = loop_fd_add(b->loop, k->barrier_fd, 0, barrier_passed, b, &k->barrier);
	if (r == 0)
		r = loop_timer_add(b->loop, BARRIER_DEADLINE_MS, barrier_timeout, b,
				   &k->leave_timer);
	return r;
}

static void leave_look(void *data)
{
	struct broker *b = data;
	struct keep *k = b->keep;
	char why[1200];
	int r;

	k->leave_timer = loop_timer_remove(k->leave_timer);
	if (staging_serves(b->staging)) {
		log_notice("the view is not kept: a disk is served by a driver program, which ends "
			   "with the daemon");
		shutdown_begin(b, 0);
		return;
	}
	if (upgrade_in_flight(b, why, sizeof(why)) && now_ms() < k->leave_ms) {
		(void)loop_timer_add(b->loop, LEAVE_LOOK_MS, leave_look, b, &k->leave_timer);
		return;
	}
	r = write_now(b);
	if (r == 0)
		r = wait_for_manager(b);
	if (r == 0)
		return;
	log_warning("the service manager does not keep the view: %s", strerror(-r));
	shutdown_begin(b, 0);
}

bool keep_leave(struct broker *b)
{
	if (b->phase == BROKER_STARTING && b->stored) {
		left(b); /* nothing has changed yet */
		return true;
	}
	if (!b->keep || b->phase == BROKER_ENDING)
		return false;
	if (b->keep->leave_ms == 0) {
		upgrade_cancel(b);
		b->keep->leave_ms = now_ms() + LEAVE_DEADLINE_MS;
		leave_look(b);
	}
	return true;
}
