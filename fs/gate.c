#include "medium.h"

#include <sys/statvfs.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/loop.h"
#include "channel.h"
#include "view_internal.h"

/* A copy of a request that can outlive the reader's buffer. NULL without memory. */
static struct request *request_copy(const struct request *req)
{
	struct request *copy;
	char *data;

	if (posix_memalign((void **)&copy, 4096, 4096 + req->head->len) != 0)
		return NULL;
	/* as in the reader's buffer: what is written begins at a page (O_DIRECT) */
	data = (char *)copy + 4096 - CHANNEL_WRITE_OFFSET;
	memcpy(data, req->head, req->head->len);
	*copy = (struct request){
		.view = req->view,
		.head = (const struct fuse_in_header *)data,
		.body = data + (req->body - (const char *)req->head),
		.body_size = req->body_size,
		.allocated = true,
	};
	list_init(&copy->link);
	return copy;
}

/*
 * What an earlier server may have done to names without noting it in the node table: until these
 * have been done (again), paths may be wrong, and nothing that needs one may run.
 */
static bool repairs_names(const struct request *req)
{
	switch (req->head->opcode) {
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
		return request_resent(req);
	default:
		return false;
	}
}

static int gate_queue(struct medium *m, const struct request *req)
{
	struct request *copy;

	if (m->waiting_count >= LIMIT_MEDIUM_QUEUE)
		return -EAGAIN;
	copy = request_copy(req);
	if (!copy)
		return -ENOMEM;
	copy->medium = m;
	copy->passive = req->passive;
	medium_ref(m);
	list_append(&m->waiting, &copy->link);
	m->waiting_count++;
	m->repairs += repairs_names(copy);
	return 0;
}

static void gate_start(struct medium *m, struct request *req)
{
	req->medium = m;
	req->pace = pace_begin(&m->pace);
	list_append(&m->running, &req->link);
	m->running_count++;
}

/* Under the lock, with an open gate: whether the caller may handle it at once. */
static bool may_run(const struct medium *m, const struct request *req)
{
	if (request_resent(req))
		return false; /* its reader is the only one, and must not wait for a device */
	/* what the kernel writes back may be what a running request waits for */
	if (req->head->opcode == FUSE_WRITE)
		return true;
	if (m->repairs > 0 && req->head->opcode != FUSE_READ)
		return false;
	return m->running_count < LIMIT_MEDIUM_THREADS;
}

/* Under the lock. Returns 0 to go on, 1 when it waits, or the errno to refuse it with. */
static int gate_admit(struct medium *m, struct request *req, bool opens, bool *want_mount)
{
	int r;

	if (req->head->opcode == FUSE_RELEASE || req->head->opcode == FUSE_RELEASEDIR) {
		gate_start(m, req); /* nobody waits for it, and it must not get lost */
		return 0;
	}
	switch (m->state) {
	case GATE_FENCED:
		return m->fence_err;
	case GATE_EJECTED:
		return -ENODEV;
	case GATE_EJECTING:
		if (opens)
			return -ENODEV;
		break;
	case GATE_UNMOUNTED:
		*want_mount = true;
		break;
	case GATE_OPEN:
		if (may_run(m, req)) {
			gate_start(m, req);
			return 0;
		}
		break;
	case GATE_OPENING:
	case GATE_DRAINING:
		break;
	}
	r = gate_queue(m, req);
	if (r < 0)
		return r;
	if (*want_mount)
		m->state = GATE_OPENING;
	return 1;
}

bool gate_is_open(struct medium *m)
{
	bool open;

	pthread_mutex_lock(&m->lock);
	open = m->state == GATE_OPEN && m->running_count < LIMIT_MEDIUM_THREADS;
	pthread_mutex_unlock(&m->lock);
	return open;
}

bool gate_may_open(struct medium *m)
{
	bool may;

	pthread_mutex_lock(&m->lock);
	may = m->state == GATE_UNMOUNTED || m->state == GATE_OPENING || m->state == GATE_OPEN ||
	      m->state == GATE_DRAINING;
	pthread_mutex_unlock(&m->lock);
	return may;
}

/* One after another, since one may need the path that another one changes. */
static struct request *next_repair(const struct medium *m)
{
	list_for_each (it, &m->running)
		if (repairs_names(CONTAINER_OF(it, struct request, link)))
			return NULL;
	list_for_each (it, &m->waiting) {
		struct request *req = CONTAINER_OF(it, struct request, link);

		if (repairs_names(req))
			return req;
	}
	return NULL;
}

/* Under the lock: the next waiting request, now running, or NULL. */
static struct request *gate_next(struct medium *m)
{
	struct request *req;

	if (m->state != GATE_OPEN || list_empty(&m->waiting) ||
	    m->running_count >= LIMIT_MEDIUM_THREADS)
		return NULL;
	req = m->repairs > 0 ? next_repair(m) : CONTAINER_OF(m->waiting.next, struct request, link);
	if (!req)
		return NULL;
	list_remove(&req->link);
	m->waiting_count--;
	gate_start(m, req);
	req->pace.sleeps = -1; /* it may run on another thread */
	return req;
}

/* Takes all waiting requests out. Under the lock. */
static void gate_empty(struct medium *m, struct list *ret_waiting)
{
	while (!list_empty(&m->waiting)) {
		struct list *it = m->waiting.next;

		list_remove(it);
		list_append(ret_waiting, it);
		m->repairs -= repairs_names(CONTAINER_OF(it, struct request, link));
	}
	m->waiting_count = 0;
}

static void refuse_all(struct list *waiting, int err)
{
	list_for_each_safe (it, tmp, waiting) {
		struct request *req = CONTAINER_OF(it, struct request, link);

		(void)reply_error(req, err);
		medium_put(req->medium);
		free(req);
	}
}

/* What `ls -l` and `df` show while it is not mounted: nobody else can change it meanwhile. */
static void remember_root(struct medium *m, int root_fd)
{
	struct stat st;
	struct statfs fs;
	bool st_ok = fstat(root_fd, &st) == 0;
	bool fs_ok = fstatfs(root_fd, &fs) == 0;

	pthread_mutex_lock(&m->lock);
	m->root_known = st_ok;
	m->space_known = fs_ok;
	if (st_ok)
		m->root_attr = st;
	if (fs_ok)
		m->space = fs;
	pthread_mutex_unlock(&m->lock);
}

/*
 * Closing has come to its end: nothing runs any more. Called with the lock held, which it gives
 * up, since closing files is work on the device.
 */
static void gate_drained(struct medium *m)
{
	enum gate_state then = m->state == GATE_EJECTING ? GATE_EJECTED : GATE_UNMOUNTED;
	bool fenced = m->state == GATE_FENCED;
	int root_fd = TAKE_FD(m->root_fd);
	struct list refused = LIST_INIT(refused);
	uint32_t id = m->facts.id;
	bool waits;

	pthread_mutex_unlock(&m->lock);
	dirs_drop_medium(&m->view->dirs, m);
	files_drop_deleted(&m->view->files, m->slot);
	if (!fenced && root_fd >= 0)
		remember_root(m, root_fd);
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
	refuse_all(&refused, -ENODEV);
	if (waits)
		m->view->events.want_mount(id, m->view->events.data);
}

/* Lets in what waits, as far as there is room, each on a thread of its own. */
static void gate_start_waiting(struct medium *m)
{
	struct request *req;

	do {
		pthread_mutex_lock(&m->lock);
		req = gate_next(m);
		pthread_mutex_unlock(&m->lock);
		if (req)
			workers_run(req);
	} while (req);
}

/* Under the lock, of a request that runs now: whether somebody else should read meanwhile. */
static bool expects_to_wait(const struct medium *m, const struct request *req)
{
	return m->running_count > 1 || pace_is_slow(&m->pace, &req->pace);
}

/* Under the lock, of one that has ended. */
static void remember_use(struct medium *m, const struct request *req)
{
	uint64_t now = pace_end(&m->pace, &req->pace);

	if (!req->passive)
		m->last_use_ms = now / 1000;
}

enum gate_verdict gate_enter(struct medium *m, struct request *req, bool opens)
{
	bool want_mount = false;
	uint32_t id = m->facts.id;
	bool yield;
	int r;

	pthread_mutex_lock(&m->lock);
	r = gate_admit(m, req, opens, &want_mount);
	yield = r == 0 && expects_to_wait(m, req);
	pthread_mutex_unlock(&m->lock);
	if (yield)
		workers_yield(m->view);
	if (r == 0)
		return GATE_GO;
	if (r < 0) {
		(void)reply_error(req, r);
		return GATE_REFUSED;
	}
	if (want_mount)
		m->view->events.want_mount(id, m->view->events.data);
	else if (request_resent(req))
		gate_start_waiting(m);
	return GATE_WAITS;
}

struct request *gate_leave(struct medium *m, struct request *req)
{
	struct request *next;
	bool repaired;

	pthread_mutex_lock(&m->lock);
	list_remove(&req->link);
	m->running_count--;
	remember_use(m, req);
	repaired = repairs_names(req) && --m->repairs == 0;
	next = gate_next(m);
	pthread_mutex_unlock(&m->lock);
	if (repaired) /* all that had to wait for it */
		gate_start_waiting(m);
	gate_settle(m);
	return next;
}

void gate_settle(struct medium *m)
{
	pthread_mutex_lock(&m->lock);
	if (m->running_count == 0 && m->root_fd >= 0 &&
	    (m->state == GATE_DRAINING || m->state == GATE_EJECTING || m->state == GATE_FENCED))
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
	refuse_all(&waiting, err);
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
	if (m->devs) /* other device numbers on this mount */
		memset(m->devs->devs, 0, sizeof(m->devs->devs));
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

/* What a thread is to do that may be left waiting for a program. */
struct aside {
	struct medium *medium; /* referenced */
	int root_fd;	       /* -EBADF: gate_settle() */
};

static void *aside_thread(void *data)
{
	struct aside *aside = data;

	if (aside->root_fd >= 0)
		root_came(aside->medium, aside->root_fd);
	else
		gate_settle(aside->medium);
	medium_put(aside->medium);
	free(aside);
	return NULL;
}

/* On a thread of its own: the caller serves other media, too. root_fd is taken over. */
static void set_aside(struct medium *m, int root_fd)
{
	struct aside *aside = malloc(sizeof(*aside));
	pthread_t thread;

	if (aside) {
		medium_ref(m);
		*aside = (struct aside){.medium = m, .root_fd = root_fd};
		if (pthread_create(&thread, NULL, aside_thread, aside) == 0) {
			(void)pthread_detach(thread);
			return;
		}
		medium_put(m);
		free(aside);
	}
	if (root_fd >= 0)
		root_came(m, root_fd);
	else
		gate_settle(m);
}

static bool is_programs(struct medium *m)
{
	bool program;

	pthread_mutex_lock(&m->lock);
	program = m->facts.program;
	pthread_mutex_unlock(&m->lock);
	return program;
}

void view_medium_root(struct view *view, uint32_t id, int root_fd, int err)
{
	_cleanup_(medium_putp) struct medium *m = medium_by_id(view, id);

	if (m && err == 0 && is_programs(m)) {
		set_aside(m, root_fd);
	} else if (m && err == 0) {
		root_came(m, root_fd);
	} else {
		if (m)
			gate_failed(m, err);
		close_fd(root_fd);
	}
}

void view_medium_close(struct view *view, uint32_t id, enum view_close how)
{
	_cleanup_(medium_putp) struct medium *m = medium_by_id(view, id);
	bool aside;
	bool busy;

	if (!m)
		return;
	if (how == VIEW_CLOSE_FORCE) {
		medium_abandon(m);
		busy = false;
	}
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
	aside = m->facts.program && m->root_fd >= 0;
	if (m->running_count == 0 && !aside)
		gate_drained(m); /* unlocks */
	else
		pthread_mutex_unlock(&m->lock);
	if (aside)
		set_aside(m, -EBADF);
}

void view_medium_reopen(struct view *view, uint32_t id)
{
	_cleanup_(medium_putp) struct medium *m = medium_by_id(view, id);
	bool want_mount;

	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	if (m->state == GATE_EJECTED || m->state == GATE_EJECTING)
		m->state = m->root_fd >= 0 ? GATE_OPEN : GATE_UNMOUNTED;
	want_mount = m->state == GATE_UNMOUNTED && !list_empty(&m->waiting);
	if (want_mount)
		m->state = GATE_OPENING;
	pthread_mutex_unlock(&m->lock);
	gate_start_waiting(m);
	if (want_mount)
		view->events.want_mount(id, view->events.data);
}

/* Claims what runs, so that its handlers cannot answer any more; the replies come after. */
static unsigned fence_claim(struct medium *m, uint64_t *uniques, unsigned max)
{
	unsigned n = 0;

	list_for_each (it, &m->running) {
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
	if (m->running_count > 0)
		nodes_freeze(&m->view->nodes, m->slot); /* gate_drained() thaws them */
	gate_empty(m, &waiting);
	n = fence_claim(m, uniques, ARRAY_SIZE(uniques));
	pthread_mutex_unlock(&m->lock);
	refuse_all(&waiting, err);
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
