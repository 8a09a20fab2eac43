#include "nodes_internal.h"

static uint64_t key_hash(uint16_t slot, uint16_t dev, uint64_t ino)
{
	return hash_mix(ino ^ ((uint64_t)slot << 48) ^ ((uint64_t)dev << 32));
}

static uint32_t *node_next(void *owner, uint32_t index)
{
	return &node_at(owner, index)->hash_next;
}

static uint64_t node_hash(void *owner, uint32_t index)
{
	const struct node *n = node_at(owner, index);

	return key_hash(n->slot, n->dev, n->ino);
}

static uint32_t *link_next(void *owner, uint32_t id)
{
	return &link_at(owner, id)->hash_next;
}

static uint64_t link_id_hash(void *owner, uint32_t id)
{
	const struct node_link *l = link_at(owner, id);

	return link_hash(l->parent, l->name, l->length);
}

static uint64_t id_of(uint32_t index, const struct node *node)
{
	return ((uint64_t)node->generation << 32) | index;
}

/* NULL for an id that does not name a live node. */
static struct node *node_of_id(struct nodes *nodes, uint64_t nodeid)
{
	struct node *node = node_find(nodes, (uint32_t)nodeid);

	return node && node->generation == nodeid >> 32 ? node : NULL;
}

static void info_fill(struct node_info *info, uint32_t index, const struct node *node)
{
	*info = (struct node_info){
		.index = index,
		.key = {.slot = node->slot, .dev = node->dev, .ino = node->ino},
		.type = (mode_t)node->type << 12,
		.flags = node->flags,
		.known = node->lookups > 0,
	};
}

int nodes_get(struct nodes *nodes, uint64_t nodeid, struct node_info *ret_info)
{
	struct node *node;

	pthread_mutex_lock(&nodes->lock);
	node = node_of_id(nodes, nodeid);
	if (node)
		info_fill(ret_info, (uint32_t)nodeid, node);
	pthread_mutex_unlock(&nodes->lock);
	return node ? 0 : -ESTALE;
}

static uint32_t find_key(struct nodes *nodes, const struct node_key *key)
{
	uint32_t i = index_first(&nodes->by_key, key_hash(key->slot, key->dev, key->ino));

	while (i != INDEX_NONE) {
		const struct node *n = node_at(nodes, i);

		if (n->ino == key->ino && n->slot == key->slot && n->dev == key->dev)
			return i;
		i = n->hash_next;
	}
	return INDEX_NONE;
}

static int node_new(struct nodes *nodes, const struct node_key *key, mode_t type, uint8_t flags,
		    uint32_t *ret_index)
{
	struct node *n;
	uint32_t index;
	int r = slab_alloc(&nodes->store->slabs[STORE_NODES], &index);

	if (r < 0)
		return r;
	n = node_at(nodes, index);
	n->ino = key->ino;
	n->slot = key->slot;
	n->dev = key->dev;
	n->links = LINK_NONE;
	n->type = (uint8_t)(type >> 12);
	n->flags = flags;
	if (++nodes->store->header->generation == 0)
		nodes->store->header->generation = 1;
	slab_publish(&nodes->store->slabs[STORE_NODES], index, nodes->store->header->generation);
	if (flags & NODE_BY_NAME)
		n->hash_next = INDEX_NONE;
	else
		index_insert(&nodes->by_key, index);
	nodes->slot_nodes[key->slot]++;
	*ret_index = index;
	return 0;
}

/* The node of a file by its key. Not one of another type: then the number was used again. */
static uint32_t node_by_key(struct nodes *nodes, const struct node_key *key, mode_t type)
{
	uint32_t index = find_key(nodes, key);

	if (index == INDEX_NONE || node_at(nodes, index)->type == type >> 12)
		return index;
	node_at(nodes, index)->flags |= NODE_GONE;
	index_remove(&nodes->by_key, index);
	return INDEX_NONE;
}

/*
 * What the name leads to now is *index, or INDEX_NONE for a file not known yet: forgets that it
 * ever led to another one. With by_name the file is the one that had the name, unless its type is
 * another. Returns the file's link, or LINK_NONE when it does not have this name yet.
 */
static uint32_t name_settle(struct nodes *nodes, uint32_t parent, const char *name, mode_t type,
			    bool by_name, uint32_t *index)
{
	uint32_t link;

	/* a crash can have left the name twice */
	while ((link = link_find(nodes, parent, name)) != LINK_NONE) {
		uint32_t holder = link_at(nodes, link)->node_plus_1 - 1;

		if (by_name && *index == INDEX_NONE && node_at(nodes, holder)->type == type >> 12)
			*index = holder;
		if (holder == *index)
			break;
		link_drop(nodes, link);
	}
	return link;
}

/* A directory has one name: one that a lookup finds elsewhere has been moved. */
static int name_new(struct nodes *nodes, uint32_t index, uint32_t parent, const char *name)
{
	const struct node *node = node_at(nodes, index);

	if (index == parent)
		return -ELOOP;
	while (node->type == S_IFDIR >> 12 && node->links != LINK_NONE)
		link_drop(nodes, node->links);
	return link_add(nodes, index, parent, name);
}

/* nodes_lookup() with the lock held and the parent, too. */
static int lookup(struct nodes *nodes, uint32_t parent, const char *name,
		  const struct node_key *key, mode_t type, uint8_t flags, uint64_t *ret_nodeid)
{
	bool by_name = flags & NODE_BY_NAME;
	uint32_t index = by_name ? INDEX_NONE : node_by_key(nodes, key, type);
	uint32_t link = LINK_NONE;
	int r = 0;

	if (name)
		link = name_settle(nodes, parent, name, type, by_name, &index);
	if (index == INDEX_NONE)
		r = node_new(nodes, key, type, flags, &index);
	if (r < 0)
		return r;
	node_at(nodes, index)->lookups++;
	if (name && link == LINK_NONE)
		r = name_new(nodes, index, parent, name);
	if (r < 0) {
		node_at(nodes, index)->lookups--;
		node_release(nodes, index);
		return r;
	}
	*ret_nodeid = id_of(index, node_at(nodes, index));
	return 0;
}

int nodes_lookup(struct nodes *nodes, uint32_t parent, const char *name, const struct node_key *key,
		 mode_t type, uint8_t flags, uint64_t *ret_nodeid)
{
	int r = -ESTALE;

	pthread_mutex_lock(&nodes->lock);
	if (!name) {
		r = lookup(nodes, parent, name, key, type, flags, ret_nodeid);
	} else if (dir_hold(nodes, parent)) {
		r = lookup(nodes, parent, name, key, type, flags, ret_nodeid);
		dir_unhold(nodes, parent);
	}
	pthread_mutex_unlock(&nodes->lock);
	return r;
}

bool dir_hold(struct nodes *nodes, uint32_t index)
{
	struct node *dir = node_find(nodes, index);

	if (!dir || dir->type != S_IFDIR >> 12)
		return false;
	dir->pins++;
	return true;
}

void dir_unhold(struct nodes *nodes, uint32_t index)
{
	node_at(nodes, index)->pins--;
	node_release(nodes, index);
}

void node_release(struct nodes *nodes, uint32_t index)
{
	/* a loop, not a recursion: a hostile tree may be a million directories deep */
	for (;;) {
		struct node *n = node_at(nodes, index);
		uint32_t parent = INDEX_NONE;
		uint16_t slot = n->slot;

		if (n->lookups || n->pins || n->children || nodes->frozen[slot])
			return;
		while (n->links != LINK_NONE) {
			uint32_t id = n->links;
			struct node_link *l = link_at(nodes, id);

			if (parent != INDEX_NONE)
				node_release(nodes, parent); /* further names: of plain files */
			parent = l->parent;
			n->links = l->node_next;
			index_remove(&nodes->by_name, id);
			slab_free(link_slab(nodes, id), id & LINK_INDEX_MASK);
			node_at(nodes, parent)->children--;
		}
		if (!(n->flags & (NODE_GONE | NODE_BY_NAME)))
			index_remove(&nodes->by_key, index);
		slab_free(&nodes->store->slabs[STORE_NODES], index);
		nodes->slot_nodes[slot]--;
		if (parent == INDEX_NONE)
			return;
		index = parent;
	}
}

bool nodes_forget(struct nodes *nodes, uint64_t nodeid, uint64_t count)
{
	struct node *node;
	bool pinned = false;

	pthread_mutex_lock(&nodes->lock);
	node = node_of_id(nodes, nodeid);
	if (node) {
		node->lookups -= MIN(node->lookups, count);
		pinned = node->lookups == 0 && node->pins > 0;
		node_release(nodes, (uint32_t)nodeid);
	}
	pthread_mutex_unlock(&nodes->lock);
	return pinned;
}

bool nodes_exists(struct nodes *nodes, uint32_t index)
{
	bool exists;

	pthread_mutex_lock(&nodes->lock);
	exists = node_find(nodes, index) != NULL;
	pthread_mutex_unlock(&nodes->lock);
	return exists;
}

uint32_t nodes_slot_count(struct nodes *nodes, uint16_t slot)
{
	uint32_t count;

	pthread_mutex_lock(&nodes->lock);
	count = nodes->slot_nodes[slot];
	pthread_mutex_unlock(&nodes->lock);
	return count;
}

void nodes_sweep(struct nodes *nodes)
{
	struct slab *slab = &nodes->store->slabs[STORE_NODES];

	pthread_mutex_lock(&nodes->lock);
	for (uint32_t i = 0; i < slab->chunk_count * slab->per_chunk; i++)
		if (node_find(nodes, i))
			node_release(nodes, i);
	pthread_mutex_unlock(&nodes->lock);
}

void nodes_freeze(struct nodes *nodes, uint16_t slot)
{
	pthread_mutex_lock(&nodes->lock);
	nodes->frozen[slot] = true;
	pthread_mutex_unlock(&nodes->lock);
}

#define THAW_BATCH 1024 /* nodes looked at before others have their turn */

/* Returns whether there are more behind *index. */
static bool thaw_some(struct nodes *nodes, uint16_t slot, uint32_t *index)
{
	struct slab *slab = &nodes->store->slabs[STORE_NODES];
	uint32_t end = slab->chunk_count * slab->per_chunk;

	for (unsigned n = 0; *index < end && n < THAW_BATCH; ++*index, n++) {
		const struct node *node = node_find(nodes, *index);

		if (node && node->slot == slot)
			node_release(nodes, *index);
	}
	return *index < end;
}

void nodes_thaw(struct nodes *nodes, uint16_t slot)
{
	uint32_t index = 0;
	bool more;

	pthread_mutex_lock(&nodes->lock);
	more = nodes->frozen[slot];
	nodes->frozen[slot] = false;
	pthread_mutex_unlock(&nodes->lock);
	while (more) {
		pthread_mutex_lock(&nodes->lock);
		more = thaw_some(nodes, slot, &index);
		pthread_mutex_unlock(&nodes->lock);
	}
}

bool nodes_pin(struct nodes *nodes, uint32_t index)
{
	struct node *node;

	pthread_mutex_lock(&nodes->lock);
	node = node_find(nodes, index);
	if (node)
		node->pins++;
	pthread_mutex_unlock(&nodes->lock);
	return node != NULL;
}

void nodes_unpin(struct nodes *nodes, uint32_t index)
{
	struct node *node;

	pthread_mutex_lock(&nodes->lock);
	node = node_find(nodes, index);
	if (node && node->pins > 0) {
		node->pins--;
		node_release(nodes, index);
	}
	pthread_mutex_unlock(&nodes->lock);
}

void nodes_set_flags(struct nodes *nodes, uint32_t index, uint8_t set, uint8_t clear)
{
	struct node *node;

	pthread_mutex_lock(&nodes->lock);
	node = node_find(nodes, index);
	if (node)
		node->flags = (uint8_t)((node->flags | set) & ~clear);
	pthread_mutex_unlock(&nodes->lock);
}

/* Under the lock. */
static bool is_free_key(struct nodes *nodes, const struct node *node)
{
	const struct node_key key = {.slot = node->slot, .dev = node->dev, .ino = node->ino};

	return find_key(nodes, &key) == INDEX_NONE;
}

void nodes_spare(struct nodes *nodes, uint32_t index, bool same)
{
	struct node *node;

	pthread_mutex_lock(&nodes->lock);
	node = node_find(nodes, index);
	if (node) {
		node->flags &= (uint8_t)~NODE_LEAVING;
		if (same && node->flags & NODE_GONE && is_free_key(nodes, node)) {
			node->flags &= (uint8_t)~NODE_GONE;
			if (!(node->flags & NODE_BY_NAME))
				index_insert(&nodes->by_key, index);
		}
	}
	pthread_mutex_unlock(&nodes->lock);
}

void nodes_cap_ask(struct nodes *nodes, uint32_t index, uint32_t thread)
{
	struct node *node;

	pthread_mutex_lock(&nodes->lock);
	node = node_find(nodes, index);
	if (node && !(node->flags & NODE_CAP_ASKED)) {
		node->asker = (uint16_t)thread;
		node->flags |= NODE_CAP_ASKED;
	} else if (node && node->asker != (uint16_t)thread) {
		node->asker = 0;
	}
	pthread_mutex_unlock(&nodes->lock);
}

void nodes_cap_read(struct nodes *nodes, uint32_t index, uint32_t thread)
{
	struct node *node;

	pthread_mutex_lock(&nodes->lock);
	node = node_find(nodes, index);
	if (node && node->asker && node->asker == (uint16_t)thread)
		node->flags &= (uint8_t)~NODE_CAP_ASKED;
	pthread_mutex_unlock(&nodes->lock);
}

bool nodes_cap_take(struct nodes *nodes, uint32_t index, uint32_t thread)
{
	struct node *node;
	bool asked = false;

	pthread_mutex_lock(&nodes->lock);
	node = node_find(nodes, index);
	if (node) {
		asked = node->flags & NODE_CAP_ASKED &&
			(node->asker == 0 || node->asker == (uint16_t)thread);
		node->flags &= (uint8_t)~NODE_CAP_ASKED;
	}
	pthread_mutex_unlock(&nodes->lock);
	return asked;
}

uint64_t nodes_id(struct nodes *nodes, uint32_t index, uint8_t *ret_flags)
{
	const struct node *node;
	uint64_t id;

	pthread_mutex_lock(&nodes->lock);
	node = node_find(nodes, index);
	id = node ? id_of(index, node) : 0;
	*ret_flags = node ? node->flags : 0;
	pthread_mutex_unlock(&nodes->lock);
	return id;
}

uint64_t nodes_root_id(struct nodes *nodes, uint16_t slot)
{
	const struct node_key key = {.slot = slot};
	uint64_t id = 0;
	uint32_t index;

	pthread_mutex_lock(&nodes->lock);
	index = find_key(nodes, &key);
	if (index != INDEX_NONE)
		id = id_of(index, node_at(nodes, index));
	pthread_mutex_unlock(&nodes->lock);
	return id;
}

int nodes_find_name(struct nodes *nodes, uint32_t parent, const char *name,
		    struct node_info *ret_info)
{
	uint32_t id;

	pthread_mutex_lock(&nodes->lock);
	id = link_find(nodes, parent, name);
	if (id != LINK_NONE) {
		uint32_t index = link_at(nodes, id)->node_plus_1 - 1;

		info_fill(ret_info, index, node_at(nodes, index));
	}
	pthread_mutex_unlock(&nodes->lock);
	return id != LINK_NONE ? 0 : -ENOENT;
}

/* Private fields of every live node, as if freshly made. */
static void nodes_rebuild(struct nodes *nodes)
{
	struct slab *slab = &nodes->store->slabs[STORE_NODES];

	for (uint32_t i = 0; i < slab->chunk_count * slab->per_chunk; i++) {
		struct node *n = slab_find(slab, i);

		if (!n)
			continue;
		n->links = LINK_NONE;
		n->children = 0;
		n->pins = 0; /* open files are pinned again by their own table */
		n->hash_next = INDEX_NONE;
		if (n->flags & NODE_LEAVING) /* the number may be another file's already */
			n->flags = (uint8_t)((n->flags | NODE_GONE) & ~NODE_LEAVING);
		nodes->slot_nodes[n->slot]++;
		if (!(n->flags & (NODE_GONE | NODE_BY_NAME)))
			index_insert(&nodes->by_key, i);
	}
}

static void link_rebuild(struct nodes *nodes, uint32_t id)
{
	struct node_link *l = link_at(nodes, id);
	struct node *node = node_find(nodes, l->node_plus_1 - 1);
	struct node *parent = node_find(nodes, l->parent);

	if (!node || !parent) { /* made before its node, or outlived it */
		slab_free(link_slab(nodes, id), id & LINK_INDEX_MASK);
		return;
	}
	link_hook(nodes, node, id);
	parent->children++;
	index_insert(&nodes->by_name, id);
}

static void links_rebuild(struct nodes *nodes)
{
	for (uint32_t class = 0; class < LINK_CLASSES; class ++) {
		struct slab *slab = &nodes->store->slabs[STORE_LINKS_SHORT + class];

		for (uint32_t i = 0; i < slab->chunk_count * slab->per_chunk; i++)
			if (slab_find(slab, i))
				link_rebuild(nodes, class << LINK_CLASS_SHIFT | i);
	}
}

int nodes_init(struct nodes *nodes, struct store *store)
{
	int r;

	*nodes = (struct nodes){
		.store = store,
		.by_key = {.next = node_next, .hash = node_hash, .owner = nodes},
		.by_name = {.next = link_next, .hash = link_id_hash, .owner = nodes},
	};
	r = -pthread_mutex_init(&nodes->lock, NULL);
	if (r < 0)
		return r;
	r = index_init(&nodes->by_key);
	if (r == 0)
		r = index_init(&nodes->by_name);
	if (r < 0) {
		nodes_done(nodes);
		return r;
	}
	nodes_rebuild(nodes);
	links_rebuild(nodes);
	return 0;
}

void nodes_done(struct nodes *nodes)
{
	index_done(&nodes->by_key);
	index_done(&nodes->by_name);
	(void)pthread_mutex_destroy(&nodes->lock);
}
