/* Names of nodes. All functions are called with the table's lock held. */
#include "nodes_internal.h"
#include "subvolumes.h"

static const size_t link_sizes[LINK_CLASSES] = {36, 52, 100, 288, 1088};
_Static_assert(LINK_HEADER + LIMIT_NAME <= 288, "what most filesystems allow fits");
_Static_assert(LINK_HEADER + LIMIT_FILE_NAME <= 1088, "the longest name fits");

const struct store_layout nodes_layout = {
	.record_size =
		{
			[STORE_NODES] = sizeof(struct node),
			[STORE_LINKS_SHORT] = 36,
			[STORE_LINKS_MEDIUM] = 52,
			[STORE_LINKS_LONG] = 100,
			[STORE_LINKS_LONGER] = 288,
			[STORE_LINKS_LONGEST] = 1088,
			[STORE_FILES] = 40,
			[STORE_SUBVOLUMES] = sizeof(struct subvolume_record),
		},
};

uint64_t link_hash(uint32_t parent, const char *name, size_t length)
{
	uint64_t h = hash_mix(parent + 0x9e3779b97f4a7c15ULL);

	while (length >= 8) {
		uint64_t word;

		memcpy(&word, name, 8);
		h = hash_mix(h ^ word);
		name += 8;
		length -= 8;
	}
	if (length > 0) {
		uint64_t word = length << 56;

		memcpy(&word, name, length);
		h = hash_mix(h ^ word);
	}
	return h;
}

uint32_t link_find(struct nodes *nodes, uint32_t parent, const char *name)
{
	size_t length = strlen(name);
	uint32_t id = index_first(&nodes->by_name, link_hash(parent, name, length));

	while (id != INDEX_NONE) {
		const struct node_link *l = link_at(nodes, id);

		if (l->parent == parent && l->length == length && !memcmp(l->name, name, length))
			return id;
		id = l->hash_next;
	}
	return LINK_NONE;
}

int link_add(struct nodes *nodes, uint32_t index, uint32_t parent, const char *name)
{
	size_t length = strlen(name);
	struct node *node = node_at(nodes, index);
	struct node_link *l;
	uint32_t class = 0;
	uint32_t id;
	int r;

	if (length > LIMIT_FILE_NAME)
		return -ENAMETOOLONG;
	if (!node_find(nodes, parent))
		return -ESTALE;
	while (link_sizes[class] < LINK_HEADER + length)
		class ++;
	r = slab_alloc(&nodes->store->slabs[STORE_LINKS_SHORT + class], &id);
	if (r < 0)
		return r;
	id |= class << LINK_CLASS_SHIFT;
	l = link_at(nodes, id);
	l->parent = parent;
	l->length = (uint16_t)length;
	memcpy(l->name, name, length);
	__atomic_store_n(&l->node_plus_1, index + 1, __ATOMIC_RELEASE);
	link_hook(nodes, node, id);
	node_at(nodes, parent)->children++;
	index_insert(&nodes->by_name, id);
	return 0;
}

static void unhook(struct nodes *nodes, struct node *node, uint32_t id)
{
	const struct node_link *l = link_at(nodes, id);

	if (l->node_prev == LINK_NONE)
		node->links = l->node_next;
	else
		link_at(nodes, l->node_prev)->node_next = l->node_next;
	if (l->node_next != LINK_NONE)
		link_at(nodes, l->node_next)->node_prev = l->node_prev;
}

void link_drop(struct nodes *nodes, uint32_t id)
{
	struct node_link *l = link_at(nodes, id);
	uint32_t parent = l->parent;

	unhook(nodes, node_at(nodes, l->node_plus_1 - 1), id);
	index_remove(&nodes->by_name, id);
	slab_free(link_slab(nodes, id), id & LINK_INDEX_MASK);
	node_at(nodes, parent)->children--;
	node_release(nodes, parent);
}

void nodes_remove_name(struct nodes *nodes, uint32_t parent, const char *name, bool gone,
		       bool *ret_left)
{
	bool left = false;
	uint32_t id;

	pthread_mutex_lock(&nodes->lock);
	id = link_find(nodes, parent, name);
	if (id != LINK_NONE) {
		uint32_t index = link_at(nodes, id)->node_plus_1 - 1;
		struct node *node = node_at(nodes, index);

		if (gone && !(node->flags & NODE_GONE)) {
			node->flags |= NODE_GONE;
			index_remove(&nodes->by_key, index);
		}
		link_drop(nodes, id);
		left = node->links != LINK_NONE;
	}
	pthread_mutex_unlock(&nodes->lock);
	if (ret_left)
		*ret_left = left;
}

/* The link id now stands under another name; the node keeps its place. */
static int move_name(struct nodes *nodes, uint32_t id, uint32_t parent, const char *name)
{
	uint32_t index = link_at(nodes, id)->node_plus_1 - 1;
	/* the new name first: a crash in between leaves two, one of which leads nowhere */
	int r = link_add(nodes, index, parent, name);

	link_drop(nodes, id);
	return r;
}

static int rename_held(struct nodes *nodes, uint32_t old, uint32_t new_parent, const char *new_name)
{
	uint32_t over = link_find(nodes, new_parent, new_name);

	if (over == old)
		return 0;
	if (over != LINK_NONE)
		link_drop(nodes, over);
	return old == LINK_NONE ? 0 : move_name(nodes, old, new_parent, new_name);
}

int nodes_rename(struct nodes *nodes, uint32_t old_parent, const char *old_name,
		 uint32_t new_parent, const char *new_name)
{
	uint32_t old;
	int r = -ESTALE;

	pthread_mutex_lock(&nodes->lock);
	old = link_find(nodes, old_parent, old_name);
	if (dir_hold(nodes, new_parent)) {
		r = rename_held(nodes, old, new_parent, new_name);
		dir_unhold(nodes, new_parent);
	} else if (old != LINK_NONE) {
		link_drop(nodes, old);
	}
	pthread_mutex_unlock(&nodes->lock);
	return r;
}

struct name_at {
	uint32_t parent;
	const char *name;
};

static int exchange_held(struct nodes *nodes, const struct name_at *a, const struct name_at *b)
{
	uint32_t link_a = link_find(nodes, a->parent, a->name);
	uint32_t link_b = link_find(nodes, b->parent, b->name);
	int r_a = 0;
	int r_b = 0;

	if (link_a == link_b)
		return 0;
	if (link_a != LINK_NONE)
		r_a = move_name(nodes, link_a, b->parent, b->name);
	if (link_b != LINK_NONE)
		r_b = move_name(nodes, link_b, a->parent, a->name);
	return r_a ? r_a : r_b;
}

int nodes_exchange(struct nodes *nodes, uint32_t parent_a, const char *name_a, uint32_t parent_b,
		   const char *name_b)
{
	const struct name_at a = {.parent = parent_a, .name = name_a};
	const struct name_at b = {.parent = parent_b, .name = name_b};
	int r = -ESTALE;

	pthread_mutex_lock(&nodes->lock);
	if (dir_hold(nodes, parent_a)) {
		if (dir_hold(nodes, parent_b)) {
			r = exchange_held(nodes, &a, &b);
			dir_unhold(nodes, parent_b);
		}
		dir_unhold(nodes, parent_a);
	}
	pthread_mutex_unlock(&nodes->lock);
	return r;
}

int nodes_name(struct nodes *nodes, uint32_t index, unsigned number, uint32_t *ret_parent,
	       char ret_name[LIMIT_FILE_NAME + 1])
{
	const struct node *node;
	int r = -ENOENT;
	uint32_t id;

	pthread_mutex_lock(&nodes->lock);
	node = node_find(nodes, index);
	id = node ? node->links : LINK_NONE;
	while (id != LINK_NONE && number-- > 0)
		id = link_at(nodes, id)->node_next;
	if (id != LINK_NONE) {
		const struct node_link *l = link_at(nodes, id);

		*ret_parent = l->parent;
		memcpy(ret_name, l->name, l->length);
		ret_name[l->length] = '\0';
		r = 0;
	}
	pthread_mutex_unlock(&nodes->lock);
	return r;
}

int nodes_dir_path(struct nodes *nodes, uint32_t index, struct node_path *ret_path)
{
	struct node_path *p = ret_path;
	char *at = p->buf + sizeof(p->buf) - 1;
	int r = 0;

	*at = '\0';
	pthread_mutex_lock(&nodes->lock);
	for (;;) {
		const struct node *node = node_find(nodes, index);
		const struct node_link *l;

		if (node && node->flags & NODE_MEDIUM_ROOT)
			break;
		if (!node || node->links == LINK_NONE) {
			r = -ESTALE;
			break;
		}
		l = link_at(nodes, node->links);
		if (at - p->buf < l->length + 1)
			break;
		if (*at)
			*--at = '/';
		at -= l->length;
		memcpy(at, l->name, l->length);
		index = l->parent;
	}
	pthread_mutex_unlock(&nodes->lock);
	p->path = at;
	p->base = index;
	return r;
}
