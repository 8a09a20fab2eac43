/* Names of nodes. All functions are called with the table's lock held. */
#include "nodes_internal.h"

static const size_t link_sizes[] = {32, 48, 96, 272};
_Static_assert(LINK_HEADER + LIMIT_NAME <= 272, "the longest name fits");

const struct store_layout nodes_layout = {
	.record_size =
		{
			[STORE_NODES] = sizeof(struct node),
			[STORE_LINKS_SHORT] = 32,
			[STORE_LINKS_MEDIUM] = 48,
			[STORE_LINKS_LONG] = 96,
			[STORE_LINKS_LONGEST] = 272,
			[STORE_FILES] = 32,
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

	if (length > LIMIT_NAME)
		return -ENAMETOOLONG;
	while (link_sizes[class] < LINK_HEADER + length)
		class ++;
	r = slab_alloc(&nodes->store->slabs[STORE_LINKS_SHORT + class], &id);
	if (r < 0)
		return r;
	id |= class << 30;
	l = link_at(nodes, id);
	l->parent = parent;
	l->node_next = node->links;
	l->length = (uint8_t)length;
	memcpy(l->name, name, length);
	__atomic_store_n(&l->node_plus_1, index + 1, __ATOMIC_RELEASE);
	node->links = id;
	node_at(nodes, parent)->children++;
	index_insert(&nodes->by_name, id);
	return 0;
}

static void unhook(struct nodes *nodes, struct node *node, uint32_t id)
{
	uint32_t *at = &node->links;

	while (*at != LINK_NONE && *at != id)
		at = &link_at(nodes, *at)->node_next;
	if (*at == id)
		*at = link_at(nodes, id)->node_next;
}

void link_drop(struct nodes *nodes, uint32_t id)
{
	struct node_link *l = link_at(nodes, id);
	uint32_t parent = l->parent;

	unhook(nodes, node_at(nodes, l->node_plus_1 - 1), id);
	index_remove(&nodes->by_name, id);
	slab_free(&nodes->store->slabs[STORE_LINKS_SHORT + (id >> 30)], id & 0x3fffffff);
	node_at(nodes, parent)->children--;
	node_release(nodes, parent);
}

int nodes_add_name(struct nodes *nodes, uint32_t index, uint32_t parent, const char *name)
{
	uint32_t old;
	int r;

	pthread_mutex_lock(&nodes->lock);
	old = link_find(nodes, parent, name);
	if (old != LINK_NONE)
		link_drop(nodes, old);
	r = link_add(nodes, index, parent, name);
	pthread_mutex_unlock(&nodes->lock);
	return r;
}

void nodes_remove_name(struct nodes *nodes, uint32_t parent, const char *name, bool gone,
		       uint32_t *ret_left)
{
	uint32_t left = 0;
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
		for (uint32_t l = node->links; l != LINK_NONE; l = link_at(nodes, l)->node_next)
			left++;
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

int nodes_rename(struct nodes *nodes, uint32_t old_parent, const char *old_name,
		 uint32_t new_parent, const char *new_name)
{
	uint32_t old;
	uint32_t over;
	int r = 0;

	pthread_mutex_lock(&nodes->lock);
	over = link_find(nodes, new_parent, new_name);
	if (over != LINK_NONE)
		link_drop(nodes, over);
	old = link_find(nodes, old_parent, old_name);
	if (old != LINK_NONE)
		r = move_name(nodes, old, new_parent, new_name);
	pthread_mutex_unlock(&nodes->lock);
	return r;
}

int nodes_exchange(struct nodes *nodes, uint32_t parent_a, const char *name_a, uint32_t parent_b,
		   const char *name_b)
{
	uint32_t a;
	uint32_t b;
	int r = 0;

	pthread_mutex_lock(&nodes->lock);
	a = link_find(nodes, parent_a, name_a);
	b = link_find(nodes, parent_b, name_b);
	if (a != LINK_NONE)
		r = move_name(nodes, a, parent_b, name_b);
	if (b != LINK_NONE) {
		int r2 = move_name(nodes, b, parent_a, name_a);

		r = r ? r : r2;
	}
	pthread_mutex_unlock(&nodes->lock);
	return r;
}

int nodes_name(struct nodes *nodes, uint32_t index, unsigned number, uint32_t *ret_parent,
	       char ret_name[LIMIT_NAME + 1])
{
	int r = -ENOENT;
	uint32_t id;

	pthread_mutex_lock(&nodes->lock);
	id = node_at(nodes, index)->links;
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
		const struct node *node = node_at(nodes, index);
		const struct node_link *l;

		if (node->flags & NODE_MEDIUM_ROOT)
			break;
		if (node->links == LINK_NONE) {
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
