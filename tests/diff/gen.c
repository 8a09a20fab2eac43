/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generator: names, paths, slots, users, and the choice of the next kind.
 *
 * Names are few, so that calls meet: each class of names is mostly used for one type of file, and
 * deep directories have fewer names than shallow ones.
 */
#include "difftest.h"

#include <fcntl.h>

#define NAME255                                                                                 \
	"long_________________________________________________________________________________" \
	"_____________________________________________________________________________________" \
	"____________________________________________________________________________________x"

static const char *const names_dir[] = {
	"d0", "d1", "d2", "d3", "d4", "dir with blank", "d\xc3\xa9j\xc3\xa0",
};
static const char *const names_file[] = {
	"f0",	   "f1",  "f2",	  "f3",	  "f4",		  "f5",	       "f6",	"f7",	 "f8",
	".hidden", "-rf", "a\\b", "x\ny", "\xff\xfe\x80", "tab\there", NAME255, "*?[$(",
};
static const char *const names_link[] = {"l0", "l1", "l2", "l3", "l4"};
static const char *const names_special[] = {"p0", "p1", "s0", "s1", "c0", "b0"};

_Static_assert(sizeof(NAME255) == 256, "the longest name has 255 bytes");

/* Whole paths that are odd. None leaves the tree: the workers live in a chroot of it. */
static const char *const odd_paths[] = {
	"",	  ".",	      "..",	  "/",	      "d0/..",	  "d0/.",     "./f0",
	"d0//f0", "f0/x",     "f0/",	  "f0/.",     "none/x",	  "../f0",    "l0/",
	"l1/f0",  "d0/../f1", "d0/",	  "d1/../..", "d0/none/", "/.././f0", "p0/x",
	"loop",	  "loop/x",   "l2/../f0", "//f1//",
};

uint32_t gen_below(struct gen *g, uint32_t n)
{
	return rng_below(&g->rng, n);
}

bool gen_chance(struct gen *g, unsigned int percent)
{
	return gen_below(g, 100) < percent;
}

int64_t gen_from(struct gen *g, const int64_t *tab, size_t n)
{
	return tab[gen_below(g, n)];
}

int64_t gen_flags(struct gen *g, const struct flag_odds *tab, size_t n)
{
	int64_t flags = 0;

	for (size_t i = 0; i < n; i++)
		if (gen_chance(g, tab[i].percent))
			flags |= tab[i].flag;
	return flags;
}

/* The first names are taken more often. */
static const char *skewed(struct gen *g, const char *const *tab, uint32_t n)
{
	uint32_t a = gen_below(g, n), b = gen_below(g, n);

	return tab[a < b ? a : b];
}

const char *gen_name(struct gen *g, enum cls cls)
{
	if (cls == CLS_ANY || gen_chance(g, 3))
		cls = gen_below(g, CLS_ANY);
	if (cls == CLS_DIR)
		return skewed(g, names_dir, ARRAY_SIZE(names_dir));
	if (cls == CLS_LINK)
		return skewed(g, names_link, ARRAY_SIZE(names_link));
	if (cls == CLS_SPECIAL)
		return skewed(g, names_special, ARRAY_SIZE(names_special));
	return skewed(g, names_file, ARRAY_SIZE(names_file));
}

/* A path of exactly len bytes that means f0. */
static void long_path(struct path *p, size_t len)
{
	size_t i = 0;

	while (i + 4 < len) {
		p->s[i++] = '.';
		p->s[i++] = '/';
	}
	while (i + 2 < len)
		p->s[i++] = '/';
	memcpy(p->s + i, "f0", 3);
}

static void odd_path(struct gen *g, struct path *p)
{
	static const int64_t lens[] = {4094, 4095, 4096, 4097, 4200};
	uint32_t n = gen_below(g, ARRAY_SIZE(odd_paths) + 4);

	p->base = BASE_CWD;
	if (n < ARRAY_SIZE(odd_paths)) {
		snprintf(p->s, sizeof(p->s), "%s", odd_paths[n]);
	} else if (n == ARRAY_SIZE(odd_paths)) {
		memset(p->s, 'n', 256);
		p->s[256] = '\0';
	} else {
		long_path(p, GEN_FROM(g, lens));
	}
}

static void plain_path(struct gen *g, struct path *p, enum cls cls)
{
	static const uint8_t depths[] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3};
	unsigned int depth = depths[gen_below(g, sizeof(depths))];
	size_t len = strlen(p->s);

	for (unsigned int i = 0; i < depth; i++) {
		const char *name = gen_chance(g, 4)
					   ? gen_name(g, CLS_LINK)
					   : names_dir[gen_below(g, i + depth > 1 ? 2 : 4)];

		if (i && gen_chance(g, 60))
			name = names_dir[0];
		if (gen_chance(g, 3))
			name = gen_name(g, CLS_DIR);
		len += snprintf(p->s + len, sizeof(p->s) - len, "%s/", name);
	}
	len += snprintf(p->s + len, sizeof(p->s) - len, "%s", gen_name(g, cls));
	if (gen_chance(g, 2))
		snprintf(p->s + len, sizeof(p->s) - len, "/");
}

/* Which class a path belongs to, judging by its last name. */
static enum cls class_of(const char *path)
{
	const char *leaf = strrchr(path, '/');

	leaf = leaf ? leaf + 1 : path;
	if (leaf[0] == 'd')
		return CLS_DIR;
	if (leaf[0] == 'l' && leaf[1] != 'o')
		return CLS_LINK;
	return leaf[0] && strchr("pscb", leaf[0]) ? CLS_SPECIAL : CLS_FILE;
}

/* Remembers what the call makes if it succeeds. */
static void gen_note(struct gen *g, const struct call *c)
{
	char makes = kind_at(c->kind)->makes;
	const struct path *p = makes == 'q' ? &c->q : &c->p;
	struct recent *to;
	enum cls cls;

	if (!makes || (makes == 'o' && !(c->n[0] & O_CREAT)) || strlen(p->s) + 2 > RECENT_LEN)
		return;
	if (p->s[0] != '/' && p->base != BASE_ROOT)
		return;
	cls = makes == 'x' ? CLS_XATTR : class_of(p->s);
	to = &g->recent[cls][g->next[cls]++ % RECENT];
	to->user = c->user;
	snprintf(to->s, sizeof(to->s), "%s%s", p->s[0] == '/' ? "" : "/", p->s);
}

bool gen_recent(struct gen *g, struct path *p, enum cls cls)
{
	const struct recent *r = NULL;

	/* Rather one of the user's own. */
	for (unsigned int i = 0; i < 4; i++) {
		r = &g->recent[cls][gen_below(g, RECENT)];
		if (r->s[0] && r->user == g->user)
			break;
	}
	if (!r->s[0])
		return false;
	p->base = BASE_CWD;
	snprintf(p->s, sizeof(p->s), "%s", r->s);
	return true;
}

void gen_path(struct gen *g, struct path *p, enum cls cls)
{
	p->base = BASE_CWD;
	p->s[0] = '\0';
	if (gen_chance(g, 3)) {
		odd_path(g, p);
		return;
	}
	if (gen_chance(g, 68) && gen_recent(g, p, cls == CLS_ANY ? gen_below(g, CLS_ANY) : cls))
		return;
	if (gen_chance(g, 50))
		memcpy(p->s, "/", 2);
	plain_path(g, p, cls);
}

void gen_path_at(struct gen *g, struct path *p, enum cls cls)
{
	gen_path(g, p, cls);
	if (p->s[0] == '/' && p->s[1] && gen_chance(g, 60)) {
		memmove(p->s, p->s + 1, strlen(p->s));
		p->base = BASE_ROOT;
	}
	if (p->s[0] != '/' && p->base == BASE_CWD && gen_chance(g, 75))
		p->base = gen_chance(g, 70) ? BASE_ROOT : gen_slot(g, HINT_DIR);
}

void gen_path_new(struct gen *g, struct path *p, enum cls cls)
{
	struct path dir;

	if (gen_chance(g, 15)) {
		gen_path_at(g, p, cls);
		return;
	}
	dir.s[0] = '\0';
	if (gen_chance(g, 60))
		(void)gen_recent(g, &dir, CLS_DIR);
	p->base = BASE_ROOT;
	snprintf(p->s, sizeof(p->s), "%s%s%s", dir.s[0] ? dir.s + 1 : "", dir.s[0] ? "/" : "",
		 gen_name(g, cls));
	if (gen_chance(g, 40)) {
		size_t len = strlen(p->s);

		snprintf(p->s + len, sizeof(p->s) - len, "%u", gen_below(g, 10));
	}
}

int gen_slot(struct gen *g, enum hint want)
{
	unsigned int found = 0, first = gen_below(g, SLOTS);

	if (gen_chance(g, 92))
		for (unsigned int i = 0; i < SLOTS; i++) {
			enum hint h;

			found = (first + i) % SLOTS;
			h = g->hint[g->user][found];
			if (h == want || (want == HINT_ANY && h != HINT_NONE))
				return found;
		}
	return gen_below(g, SLOTS);
}

void gen_hint(struct gen *g, int slot, enum hint hint)
{
	g->hint[g->user][slot] = hint;
}

unsigned int gen_user(struct gen *g)
{
	static const int64_t users[] = {
		USER_ROOT, USER_ROOT, USER_ROOT, USER_ROOT, USER_ROOT, USER_ONE,
		USER_ONE,  USER_ONE,  USER_ONE,	 USER_TWO,  USER_TWO,  USER_NOBODY,
	};

	return GEN_FROM(g, users);
}

void gen_data(struct gen *g, struct call *c)
{
	c->data_len = gen_len(g);
	c->data_seed = gen_below(g, UINT32_MAX);
}

static unsigned int choose_kind(struct gen *g)
{
	uint32_t left = gen_below(g, g->total_weight);

	for (unsigned int i = 0; i < kind_count(); i++) {
		const struct kind *k = kind_at(i);

		if (k->beyond_fuse && !g->beyond_fuse)
			continue;
		if (left < k->weight)
			return i;
		left -= k->weight;
	}
	return 0;
}

void gen_init(struct gen *g, uint64_t seed, bool beyond_fuse)
{
	memset(g, 0, sizeof(*g));
	g->rng.s = seed;
	g->beyond_fuse = beyond_fuse;
	for (unsigned int i = 0; i < kind_count(); i++)
		if (beyond_fuse || !kind_at(i)->beyond_fuse)
			g->total_weight += kind_at(i)->weight;
	scene_first(g);
}

void gen_next(struct gen *g, uint32_t no, struct call *ret_c)
{
	if (!g->used && gen_chance(g, 8))
		scene_queue(g);
	if (g->used) {
		*ret_c = g->queue[g->head++];
		if (g->head == g->used)
			g->head = g->used = 0;
	} else {
		memset(ret_c, 0, offsetof(struct call, p));
		memset(&ret_c->p, 0, offsetof(struct path, s) + 1);
		memset(&ret_c->q, 0, offsetof(struct path, s) + 1);
		g->user = ret_c->user = gen_user(g);
		ret_c->kind = choose_kind(g);
		kind_at(ret_c->kind)->gen(g, ret_c);
	}
	ret_c->no = no;
	gen_note(g, ret_c);
}
