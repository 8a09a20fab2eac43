#include "registry.h"

/* Goes round, so that the id of something gone is not soon the id of something else. */
static uint32_t free_id(const struct registry *registry)
{
	for (uint32_t i = 1; i <= LIMIT_MEDIA; i++) {
		uint32_t id = (registry->last + i - 1) % LIMIT_MEDIA + 1;

		if (!registry->media[id])
			return id;
	}
	return 0;
}

int registry_restore(struct registry *registry, uint32_t id, struct medium **ret_medium)
{
	struct medium *m;

	if (id < 1 || id > LIMIT_MEDIA)
		return -ERANGE;
	if (registry->media[id])
		return -EEXIST;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->id = id;
	m->root_fd = -EBADF;
	list_init(&m->probe_link);
	registry->media[id] = m;
	registry->count++;
	*ret_medium = m;
	return 0;
}

int registry_add(struct registry *registry, const struct blockdev *dev, struct medium **ret_medium)
{
	uint32_t id = free_id(registry);
	struct medium *m;
	int r = id == 0 ? -ENOSPC : registry_restore(registry, id, &m);

	if (r < 0)
		return r;
	m->dev = *dev;
	registry->last = id;
	*ret_medium = m;
	return 0;
}

void registry_drop(struct registry *registry, struct medium *medium)
{
	registry->media[medium->id] = NULL;
	registry->count--;
	free(medium);
}

struct medium *registry_find(struct registry *registry, uint32_t id)
{
	return id <= LIMIT_MEDIA ? registry->media[id] : NULL;
}

struct medium *registry_find_device(struct registry *registry, const char *kname)
{
	registry_for_each (m, registry)
		if (m->state != MEDIUM_REMOVED && streq(m->dev.kname, kname))
			return m;
	return NULL;
}

struct medium *registry_find_visible(struct registry *registry, const char *name)
{
	registry_for_each (m, registry)
		if (m->view == MEDIUM_VISIBLE && streq(m->name, name))
			return m;
	return NULL;
}
