#include "medium.h"

#include <time.h>

#include "base/loop.h"
#include "view_internal.h"

/* slot, dev and ino share the 64 bits of st_ino; real inode numbers seldom pass 40 bits. */
#define INO_BITS   40
#define DEV_SHIFT  40
#define SLOT_SHIFT 51

uint64_t medium_ino(const struct medium *m, uint16_t dev, uint64_t ino)
{
	if (ino >> INO_BITS) /* folded: unique enough where the plain number is not possible */
		ino = (hash_mix(ino) & ((1ULL << INO_BITS) - 1)) | 1ULL << (INO_BITS - 1);
	return (uint64_t)m->slot << SLOT_SHIFT | (uint64_t)dev << DEV_SHIFT | ino;
}

static struct medium *medium_take(struct medium *m)
{
	if (m)
		atomic_fetch_add(&m->refs, 1);
	return m;
}

void medium_ref(struct medium *m)
{
	atomic_fetch_add(&m->refs, 1);
}

struct medium *medium_get(struct view *view, uint16_t slot)
{
	struct medium *m;

	pthread_mutex_lock(&view->media_lock);
	m = medium_take(view->media[slot]);
	pthread_mutex_unlock(&view->media_lock);
	return m;
}

struct medium *medium_by_id(struct view *view, uint32_t id)
{
	struct medium *m = NULL;

	pthread_mutex_lock(&view->media_lock);
	for (unsigned i = 1; i < STORE_SLOTS && !m; i++)
		if (view->media[i] && view->media[i]->id == id)
			m = medium_take(view->media[i]);
	pthread_mutex_unlock(&view->media_lock);
	return m;
}

struct medium *medium_by_name(struct view *view, const char *name, unsigned presences)
{
	struct medium *m = NULL;

	pthread_mutex_lock(&view->media_lock);
	for (unsigned i = 1; i < STORE_SLOTS && !m; i++) {
		struct medium *at = view->media[i];

		if (at && at->presence & presences && streq(at->facts.name, name))
			m = medium_take(at);
	}
	pthread_mutex_unlock(&view->media_lock);
	return m;
}

void medium_set_presence(struct medium *m, enum presence presence)
{
	pthread_mutex_lock(&m->view->media_lock);
	m->presence = presence;
	m->view->root_change_s = (uint64_t)time(NULL);
	pthread_mutex_unlock(&m->view->media_lock);
}

static void medium_free(struct medium *m)
{
	free(m->subvolumes);
	(void)pthread_cond_destroy(&m->renamed);
	(void)pthread_mutex_destroy(&m->lock);
	free(m);
}

struct medium *medium_put(struct medium *m)
{
	struct view *view = m->view;
	bool last;

	pthread_mutex_lock(&view->media_lock);
	last = atomic_fetch_sub(&m->refs, 1) == 1;
	if (last) {
		view->media[m->slot] = NULL;
		view->store.header->slots[m->slot] = 0;
		subvolumes_forget(m);
	}
	pthread_mutex_unlock(&view->media_lock);
	if (last) {
		dirs_drop_medium(&view->dirs, m);
		close_fd(m->root_fd);
		close_fd(m->coming_fd);
		medium_free(m);
	}
	return NULL;
}

/* The slot that an earlier server gave to this id, else a free one without nodes; 0: none. */
static uint16_t slot_choose(struct view *view, uint32_t id)
{
	uint16_t found = 0;

	for (uint16_t i = 1; i < STORE_SLOTS; i++) {
		if (view->store.header->slots[i] == id && !view->media[i])
			return i;
		if (!found && !view->media[i] && view->store.header->slots[i] == 0 &&
		    nodes_slot_count(&view->nodes, i) == 0)
			found = i;
	}
	return found;
}

static void set_access(struct medium *m, const struct view_medium *facts)
{
	atomic_store(&m->owner,
		     facts->owned ? (uint64_t)facts->uid << 32 | facts->gid : MEDIUM_NO_OWNER);
	atomic_store(&m->passthrough, facts->passthrough);
}

static struct medium *medium_new(struct view *view, const struct view_medium *facts)
{
	struct medium *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->view = view;
	m->id = facts->id;
	m->facts = *facts;
	set_access(m, facts);
	m->presence = facts->visible ? PRESENCE_VISIBLE : PRESENCE_NEW;
	m->refs = 1; /* the registry's */
	m->root_fd = -EBADF;
	m->coming_fd = -EBADF;
	m->state = GATE_UNMOUNTED;
	for (int i = 0; i < ROOT_ACLS; i++)
		m->root_acls[i].size = ROOT_ACL_UNKNOWN;
	list_init(&m->running);
	list_init(&m->waiting);
	list_init(&m->ending);
	list_init(&m->expiring);
	(void)pthread_mutex_init(&m->lock, NULL);
	(void)pthread_cond_init(&m->renamed, NULL);
	atomic_init(&m->names_begun, 1); /* by an earlier server, maybe: not yet written out */
	atomic_init(&m->names_ended, 1);
	return m;
}

/* Under view->media_lock. Returns 0, -ENOSPC or -ENOMEM. */
static int slot_take(struct view *view, struct medium *m)
{
	uint16_t slot = slot_choose(view, m->id);
	int r;

	if (!slot)
		return -ENOSPC;
	m->slot = slot;
	r = subvolumes_begin(m, view->store.header->slots[slot] == m->id);
	if (r < 0)
		return r;
	view->media[slot] = m;
	view->store.header->slots[slot] = m->id;
	return 0;
}

/*
 * What an earlier server said of the directory holds, but this one does not know it before the
 * next mount: attributes and ACL must not come from two of them.
 */
static void root_expire(struct medium *m)
{
	uint64_t id = nodes_root_id(&m->view->nodes, m->slot);

	if (id && m->view->channel.restarted)
		(void)channel_notify_attributes(&m->view->channel, id);
}

int view_medium_add(struct view *view, const struct view_medium *facts)
{
	struct medium *m = medium_new(view, facts);
	int r;

	if (!m)
		return -ENOMEM;
	pthread_mutex_lock(&view->media_lock);
	r = slot_take(view, m);
	pthread_mutex_unlock(&view->media_lock);
	if (r < 0) {
		medium_free(m);
		return r;
	}
	files_adopt(&view->files, m);
	root_expire(m);
	return 0;
}

void view_medium_update(struct view *view, const struct view_medium *facts)
{
	_cleanup_(medium_putp) struct medium *m = medium_by_id(view, facts->id);

	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->facts.appeared_s = facts->appeared_s;
	m->facts.program = facts->program;
	m->facts.stable_inodes = facts->stable_inodes;
	m->facts.total_bytes = facts->total_bytes;
	m->facts.free_bytes = facts->free_bytes;
	m->facts.block_size = facts->block_size;
	memcpy(m->facts.texts, facts->texts, sizeof(m->facts.texts));
	m->facts.text_count = facts->text_count;
	pthread_mutex_unlock(&m->lock);
	set_access(m, facts);
	/* its mkdir was answered by a server that died before it was told that it is visible */
	pthread_mutex_lock(&view->media_lock);
	if (facts->visible && m->presence == PRESENCE_NEW)
		m->presence = PRESENCE_VISIBLE;
	pthread_mutex_unlock(&view->media_lock);
}

void view_medium_forget(struct view *view, uint32_t id)
{
	struct medium *m = medium_by_id(view, id);

	if (!m)
		return;
	pthread_mutex_lock(&view->media_lock);
	m->id = 0;
	m->presence = PRESENCE_GONE;
	view->store.header->slots[m->slot] = 0; /* the id may be another's one day */
	pthread_mutex_unlock(&view->media_lock);
	medium_put(m);
	medium_put(m); /* the registry's; open files and running requests may have more */
}

/* Under the lock: whether the daemon is to be told that there is something to read. */
static bool use_changed(struct medium *m)
{
	bool tell = !m->use_pending;

	m->use_pending = true;
	return tell;
}

static void tell_changed(struct medium *m)
{
	m->view->events.changed(m->view->events.data);
}

void medium_opened(struct medium *m, bool writer)
{
	bool tell = false;

	pthread_mutex_lock(&m->lock);
	if (m->openers++ == 0)
		tell = use_changed(m);
	if (writer && m->writers++ == 0)
		tell = use_changed(m) || tell;
	pthread_mutex_unlock(&m->lock);
	if (tell)
		tell_changed(m);
}

void medium_closed(struct medium *m, bool writer)
{
	bool tell = false;

	pthread_mutex_lock(&m->lock);
	if (--m->openers == 0)
		tell = use_changed(m);
	if (writer) {
		m->writers--;
		m->written = true; /* passthrough: the kernel does not tell of single writes */
		tell = use_changed(m) || tell;
	}
	m->last_use_ms = now_ms();
	pthread_mutex_unlock(&m->lock);
	if (tell)
		tell_changed(m);
}

void medium_written(struct medium *m)
{
	bool tell = false;

	pthread_mutex_lock(&m->lock);
	if (!m->written)
		tell = use_changed(m);
	m->written = true;
	pthread_mutex_unlock(&m->lock);
	if (tell)
		tell_changed(m);
}

bool view_medium_use(struct view *view, uint32_t id, struct view_use *ret_use)
{
	_cleanup_(medium_putp) struct medium *m = medium_by_id(view, id);
	bool pending;

	if (!m)
		return false;
	pthread_mutex_lock(&m->lock);
	pending = m->use_pending;
	*ret_use = (struct view_use){
		.openers = m->openers, .writers = m->writers, .written = m->written};
	m->use_pending = false;
	m->written = false;
	pthread_mutex_unlock(&m->lock);
	return pending;
}

void medium_rename_begin(struct medium *m, bool dir)
{
	atomic_fetch_add(&m->moves_running, 1);
	if (dir)
		atomic_fetch_add(&m->renames_running, 1);
}

void medium_rename_end(struct medium *m, bool dir)
{
	atomic_fetch_add(&m->moves_done, 1);
	if (dir)
		atomic_fetch_add(&m->renames_done, 1);
	pthread_mutex_lock(&m->lock);
	atomic_fetch_sub(&m->moves_running, 1);
	if (dir)
		atomic_fetch_sub(&m->renames_running, 1);
	pthread_cond_broadcast(&m->renamed);
	pthread_mutex_unlock(&m->lock);
}

void medium_rename_wait(struct medium *m)
{
	pthread_mutex_lock(&m->lock);
	while (atomic_load(&m->renames_running) > 0)
		pthread_cond_wait(&m->renamed, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

void medium_move_wait(struct medium *m, unsigned done)
{
	pthread_mutex_lock(&m->lock);
	while (atomic_load(&m->moves_running) > 0 && atomic_load(&m->moves_done) == done)
		pthread_cond_wait(&m->renamed, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

bool view_medium_peek(struct view *view, uint32_t id, struct view_use *ret_use)
{
	_cleanup_(medium_putp) struct medium *m = medium_by_id(view, id);

	if (!m)
		return false;
	pthread_mutex_lock(&m->lock);
	*ret_use = (struct view_use){
		.openers = m->openers, .writers = m->writers, .written = m->written};
	pthread_mutex_unlock(&m->lock);
	return true;
}

static void *abandon_thread(void *data)
{
	struct medium *m = data;

	files_abandon(&m->view->files, m);
	gate_settle(m);
	medium_put(m);
	return NULL;
}

static void *conceal_thread(void *data)
{
	struct medium *m = data;
	struct view *view = m->view;

	(void)channel_notify_entry(&view->channel, NODE_ID_ROOT, m->facts.name);
	view->events.fenced(m->facts.id, view->events.data);
	return abandon_thread(m);
}

void medium_on_a_thread(struct medium *m, void *(*fn)(void *data))
{
	pthread_t thread;

	medium_ref(m);
	follow_leave_caller();
	if (pthread_create(&thread, NULL, fn, m) == 0)
		(void)pthread_detach(thread);
	else
		(void)fn(m);
}

void medium_abandon(struct medium *m)
{
	medium_on_a_thread(m, abandon_thread);
}

void medium_conceal(struct medium *m)
{
	medium_on_a_thread(m, conceal_thread);
}

static void *orphans_thread(void *data)
{
	struct view *view = data;

	files_abandon(&view->files, NULL);
	return NULL;
}

void media_abandon_orphans(struct view *view)
{
	pthread_t thread;

	pthread_mutex_lock(&view->media_lock);
	for (unsigned i = 1; i < STORE_SLOTS; i++)
		if (!view->media[i])
			view->store.header->slots[i] = 0;
	pthread_mutex_unlock(&view->media_lock);
	if (pthread_create(&thread, NULL, orphans_thread, view) == 0)
		(void)pthread_detach(thread);
}
