/* SPDX-License-Identifier: Apache-2.0 */
/* Scenes: calls that only mean something together, queued as a group. */
#include "difftest.h"

#include <assert.h>
#include <fcntl.h>

static const struct scene_set *const sets[] = {&scenes_file, &scenes_meta, &scenes_dir};

void scene_first(struct gen *g)
{
	scenes_dir.scenes[0].play(g);
}

void scene_queue(struct gen *g)
{
	unsigned int total = 0, left;

	for (size_t s = 0; s < ARRAY_SIZE(sets); s++)
		for (size_t i = 0; i < sets[s]->n; i++)
			total += sets[s]->scenes[i].weight;
	left = gen_below(g, total);
	for (size_t s = 0; s < ARRAY_SIZE(sets); s++)
		for (size_t i = 0; i < sets[s]->n; i++) {
			const struct scene *scene = &sets[s]->scenes[i];

			if (left < scene->weight) {
				scene->play(g);
				return;
			}
			left -= scene->weight;
		}
}

struct call *scene_call(struct gen *g, unsigned int user, const char *kind)
{
	struct call *c = &g->queue[g->used];

	assert(g->used < QUEUE_CAP);
	g->used++;
	memset(c, 0, offsetof(struct call, p));
	c->kind = kind_find(kind);
	c->user = user;
	c->p.base = c->q.base = BASE_CWD;
	c->p.s[0] = c->q.s[0] = '\0';
	return c;
}

struct call *scene_any(struct gen *g, unsigned int user, const char *kind)
{
	struct call *c = scene_call(g, user, kind);

	g->user = user;
	kind_at(c->kind)->gen(g, c);
	return c;
}

struct call *scene_path(struct gen *g, unsigned int user, const char *kind, const char *p,
			int64_t n0)
{
	struct call *c = scene_call(g, user, kind);

	snprintf(c->p.s, sizeof(c->p.s), "%s", p);
	c->n[0] = n0;
	return c;
}

struct call *scene_two(struct gen *g, unsigned int user, const char *kind, const char *p,
		       const char *q)
{
	struct call *c = scene_path(g, user, kind, p, 0);

	snprintf(c->q.s, sizeof(c->q.s), "%s", q);
	return c;
}

struct call *scene_slot(struct gen *g, unsigned int user, const char *kind, int slot)
{
	struct call *c = scene_any(g, user, kind);

	c->slot = slot;
	return c;
}

struct call *scene_open(struct gen *g, unsigned int user, int slot, const char *p, int64_t flags,
			int64_t mode)
{
	struct call *c = scene_path(g, user, "open", p, flags);

	c->n[1] = mode;
	c->slot = slot;
	g->user = user;
	gen_hint(g, slot, flags & O_PATH ? HINT_PATH : flags & O_DIRECTORY ? HINT_DIR : HINT_FILE);
	return c;
}

struct call *scene_write(struct gen *g, unsigned int user, int slot, int64_t len)
{
	struct call *c = scene_call(g, user, "write");

	c->slot = slot;
	c->data_len = (uint32_t)len;
	c->data_seed = gen_below(g, UINT32_MAX);
	return c;
}

struct call *scene_mutate(struct gen *g, unsigned int user, const char *p, int slot)
{
	static const char *const by_slot[] = {
		"write",       "pwrite",       "ftruncate",	  "fallocate", "fchmod",
		"fchown",      "futimens",     "fsetxattr",	  "pwritev2",  "splice_write",
		"mmap_shared", "fremovexattr", "copy_file_range",
	};
	static const char *const by_path[] = {
		"truncate", "chmod", "chown", "setxattr", "acl_set", "cap_set", "removexattr",
	};
	struct call *c;

	if (gen_chance(g, 65)) {
		c = scene_slot(g, user, by_slot[gen_below(g, ARRAY_SIZE(by_slot))], slot);
		c->slot2 = slot;
		return c;
	}
	c = scene_any(g, user, by_path[gen_below(g, ARRAY_SIZE(by_path))]);
	c->p.base = BASE_CWD;
	snprintf(c->p.s, sizeof(c->p.s), "%s", p);
	return c;
}

struct name scene_name(struct gen *g, enum cls cls)
{
	static const char *const tops[] = {"/", "/", "/d0/", "/d1/", "/d0/d0/"};
	const char *top = tops[gen_below(g, ARRAY_SIZE(tops))];
	struct name n;

	snprintf(n.s, sizeof(n.s), "%s%s", top, gen_name(g, cls));
	return n;
}
