/* A gate is opened and closed: with the mount, when idle, by an eject, by the fence. */
#include "medium.h"

#include <sys/statvfs.h>

#include "base/log.h"
#include "base/loop.h"
#include "channel.h"
#include "gate_internal.h"
#include "view_internal.h"

/*
 * Closing has come to its end: nothing runs any more. Called with the lock held, which it gives
 * up, since closing files is work on the device.
 */
static void gate_drained(struct medium *m)
{
	enum gate_state then = m->state == GATE_EJECTING ? GATE_EJECTED : GATE_UNMOUNTED;
	bool fenced = m->state == GATE_FENCED;
	bool forced = m->close_forced;
	int root_fd = TAKE_FD(m->root_fd);
	struct list refused = LIST_INIT(refused);
	uint32_t id = m->facts.id;
	bool waits;

	m->frozen = false;
	m->close_asked = m->close_forced = false;
	pthread_mutex_unlock(&m->lock);
	if (forced) /* what ran when it was asked for may have opened something since */
		files_close_all(&m->view->files, m);
	dirs_drop_medium(&m->view->dirs, m);
	files_drop_deleted(&m->view->files, m->slot);
	if (!fenced && root_fd >= 0)
		medium_remember_root(m, root_fd);
	close_fd(root_fd);
	if (fenced) {
		nodes_thaw(&m->view->nodes, m->slot);
		return;
	}
	m->view->events.closed(id, 0, m->view->events.data);
	pthread_mutex_lock(&m->lock);
	waits = false;
	if (m->state == GATE_DRAINING || m->state == GATE_EJECTING) {
		waits = then == GATE_UNMOUNTED && !list_empty(&m->waiting);
		m->state = waits ? GATE_OPENING : then;
	}
	if (m->state == GATE_EJECTED)
		gate_empty(m, &refused);
	pthread_mutex_unlock(&m->lock);
	gate_refuse_all(&refused, -ENODEV);
	if (waits)
		m->view->events.want_mount(id, m->view->events.data);
}

/* Under the lock. What ends something runs without a root, too. */
static bool is_ending(const struct medium *m)
{
	return m->close_asked || m->frozen || (m->state == GATE_FENCED && m->root_fd >= 0);
}

void gate_settle(struct medium *m)
{
	pthread_mutex_lock(&m->lock);
	if (m->running_count == 0 && is_ending(m))
		gate_drained(m); /* unlocks */
	else
		pthread_mutex_unlock(&m->lock);
}

/* The mounted root has come: lets the waiting ones in, each on a thread of its own. */
static void gate_open(struct medium *m, int root_fd)
{
	pthread_mutex_lock(&m->lock);
	if (m->state == GATE_FENCED || m->state == GATE_EJECTED || m->root_fd >= 0) {
		pthread_mutex_unlock(&m->lock);
		close_fd(root_fd);
		return;
	}
	m->root_fd = root_fd;
	m->state = GATE_OPEN;
	m->last_use_ms = now_ms();
	pthread_mutex_unlock(&m->lock);
	gate_start_waiting(m);
}

static void gate_failed(struct medium *m, int err)
{
	struct list waiting = LIST_INIT(waiting);

	pthread_mutex_lock(&m->lock);
	gate_empty(m, &waiting);
	if (m->state == GATE_OPENING)
		m->state = GATE_UNMOUNTED;
	pthread_mutex_unlock(&m->lock);
	gate_refuse_all(&waiting, err);
}

/* vfat and its kin invent inode numbers (fs/fat/inode.c), FUSE drivers may. */
static bool has_stable_inodes(const struct statfs *fs)
{
	return fs->f_type != 0x4d44 /* MSDOS_SUPER_MAGIC */ &&
	       fs->f_type != 0x2011bab0 /* exfat */ &&
	       fs->f_type != 0x65735546 /* FUSE_SUPER_MAGIC */;
}

/* The server that died may have changed something without having told anybody. */
static bool may_be_written(const struct medium *m, const struct statfs *fs)
{
	return m->view->channel.restarted && !m->root_known && !(fs->f_flags & ST_RDONLY);
}

static void root_came(struct medium *m, int root_fd)
{
	struct statfs fs;
	struct stat st;
	bool written;

	if (fstat(root_fd, &st) < 0 || fstatfs(root_fd, &fs) < 0) {
		gate_failed(m, -EIO);
		close_fd(root_fd);
		return;
	}
	pthread_mutex_lock(&m->lock);
	if (m->root_fd >= 0) { /* asked for just before it was given unasked, after a restart */
		pthread_mutex_unlock(&m->lock);
		close_fd(root_fd);
		return;
	}
	written = may_be_written(m, &fs);
	m->by_name = !has_stable_inodes(&fs) && !m->facts.stable_inodes;
	subvolumes_unmounted(m);
	m->fstype = (uint32_t)fs.f_type;
	m->root_dev = st.st_dev;
	m->root_ino = st.st_ino;
	m->root_attr = st;
	if (!m->root_known)
		m->root_known_ms = now_ms();
	m->root_known = true;
	pthread_mutex_unlock(&m->lock);
	if (written)
		medium_written(m);
	gate_open(m, root_fd);
}

static void *root_thread(void *data)
{
	struct medium *m = data;
	int root_fd;

	pthread_mutex_lock(&m->lock);
	root_fd = TAKE_FD(m->coming_fd);
	pthread_mutex_unlock(&m->lock);
	if (root_fd >= 0)
		root_came(m, root_fd);
	medium_put(m);
	return NULL;
}

static void *settle_thread(void *data)
{
	struct medium *m = data;

	gate_settle(m);
	medium_put(m);
	return NULL;
}

/*
 * The caller serves other media, too. A look at a root that the kernel has just mounted waits for
 * nothing; a program may never answer.
 */
static void root_given(struct medium *m, int root_fd)
{
	bool program;

	pthread_mutex_lock(&m->lock);
	program = m->facts.program && m->coming_fd < 0;
	if (program)
		m->coming_fd = TAKE_FD(root_fd);
	pthread_mutex_unlock(&m->lock);
	if (program)
		medium_on_a_thread(m, root_thread);
	else
		root_came(m, root_fd);
}

void view_medium_root(struct view *view, uint32_t id, int root_fd, int err)
{
	_cleanup_(medium_putp) struct medium *m = medium_by_id(view, id);

	if (m && err == 0) {
		root_given(m, root_fd);
	} else {
		if (m)
			gate_failed(m, err);
		close_fd(root_fd);
	}
}

/* What was deleted is closed then, which may wait for the device: not by the caller. */
void view_medium_close(struct view *view, uint32_t id, enum view_close how)
{
	_cleanup_(medium_putp) struct medium *m = medium_by_id(view, id);
	bool mounted;
	bool busy;

	if (!m)
		return;
	if (how == VIEW_CLOSE_FORCE)
		medium_abandon(m);
	pthread_mutex_lock(&m->lock);
	busy = m->openers > 0 ||
	       (m->running_count + m->waiting_count > 0 && how == VIEW_CLOSE_IDLE);
	if (m->state == GATE_FENCED || (busy && how != VIEW_CLOSE_FORCE)) {
		pthread_mutex_unlock(&m->lock);
		view->events.closed(id, -EBUSY, view->events.data);
		return;
	}
	if (m->state == GATE_OPEN || m->state == GATE_UNMOUNTED)
		m->state = how == VIEW_CLOSE_IDLE ? GATE_DRAINING : GATE_EJECTING;
	m->close_asked = m->state == GATE_DRAINING || m->state == GATE_EJECTING;
	m->close_forced = m->close_asked && how == VIEW_CLOSE_FORCE;
	mounted = m->root_fd >= 0;
	if (!mounted && (m->running_count == 0 || !m->close_asked))
		gate_drained(m); /* unlocks */
	else
		pthread_mutex_unlock(&m->lock);
	if (mounted)
		medium_on_a_thread(m, settle_thread);
}

void view_medium_reopen(struct view *view, uint32_t id)
{
	_cleanup_(medium_putp) struct medium *m = medium_by_id(view, id);
	bool want_mount;

	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	if (m->state == GATE_EJECTED || m->state == GATE_EJECTING) {
		m->state = m->root_fd >= 0 ? GATE_OPEN : GATE_UNMOUNTED;
		m->close_asked = m->close_forced = false;
	}
	want_mount = m->state == GATE_UNMOUNTED && !list_empty(&m->waiting);
	if (want_mount)
		m->state = GATE_OPENING;
	pthread_mutex_unlock(&m->lock);
	gate_start_waiting(m);
	if (want_mount)
		view->events.want_mount(id, view->events.data);
}

/* Claims those of a list, so that their handlers cannot answer any more; the replies come after. */
static unsigned fence_claim(struct list *requests, uint64_t *uniques, unsigned max)
{
	unsigned n = 0;

	list_for_each (it, requests) {
		struct request *req = CONTAINER_OF(it, struct request, link);

		if (n < max && request_claim(req))
			uniques[n++] = req->head->unique;
	}
	return n;
}

void view_medium_remove(struct view *view, uint32_t id, int err)
{
	_cleanup_(medium_putp) struct medium *m = medium_by_id(view, id);
	struct list waiting = LIST_INIT(waiting);
	uint64_t uniques[1024];
	unsigned n;

	if (!m) {
		view->events.fenced(id, view->events.data);
		return;
	}
	medium_set_presence(m, PRESENCE_LEAVING);
	pthread_mutex_lock(&m->lock);
	m->state = GATE_FENCED;
	m->fence_err = err;
	m->frozen = m->running_count > 0;
	if (m->frozen)
		nodes_freeze(&m->view->nodes, m->slot); /* gate_drained() thaws them */
	gate_empty(m, &waiting);
	n = fence_claim(&m->running, uniques, ARRAY_SIZE(uniques));
	n += fence_claim(&m->ending, uniques + n, ARRAY_SIZE(uniques) - n);
	pthread_mutex_unlock(&m->lock);
	gate_refuse_all(&waiting, err);
	for (unsigned i = 0; i < n; i++) {
		struct fuse_out_header out = {
			.len = sizeof(out), .error = err, .unique = uniques[i]};
		struct iovec iov = {.iov_base = &out, .iov_len = sizeof(out)};

		(void)channel_write(&view->channel, &iov, 1);
	}
	if (n > 0)
		log_debug("%u running requests of %s ended by the fence", n, QUOTE(m->facts.name));
	medium_conceal(m);
}

uint64_t view_medium_idle_ms(struct view *view, uint32_t id)
{
	_cleanup_(medium_putp) struct medium *m = medium_by_id(view, id);
	uint64_t idle = UINT64_MAX;

	if (!m)
		return idle;
	pthread_mutex_lock(&m->lock);
	if (m->state == GATE_OPEN && m->openers == 0)
		idle = m->running_count + m->waiting_count > 0 ? 0 : now_ms() - m->last_use_ms;
	pthread_mutex_unlock(&m->lock);
	return idle;
}
