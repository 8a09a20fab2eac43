/* SPDX-License-Identifier: Apache-2.0 */
/* Running a sequence, or chosen calls of it, and comparing as it goes. */
#include "difftest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct tally {
	uint32_t ok, failed;
};

struct state {
	const struct run *run;
	struct pool pool;
	struct gen gen;
	struct outcome out;
	struct call call;
	struct seen seen;
	struct tally *tally; /* by kind */
};

static void found(struct state *s, uint32_t n, bool in_tree)
{
	if (n && s->out.first < 0) {
		s->out.first = s->call.no;
		s->out.first_in_tree = in_tree;
	}
	s->out.diffs += n;
}

/* Forgets what can be forgotten, so that the trees are looked up anew. */
static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "2", 1) < 0)
		fprintf(stderr, "difftest: cannot drop caches, ignoring\n");
	close(fd);
}

/* A tree that cannot be read counts as a difference. Returns false then. */
static bool read_tree(struct state *s, enum side side, struct tree *ret_t)
{
	int r = tree_read(s->run->dir[side], s->run->start, ret_t);

	if (r == 0)
		return true;
	if (!s->run->quiet)
		printf("tree after #%u: side %c: %s\n", s->call.no, 'A' + side, strerror(-r));
	found(s, 1, true);
	return false;
}

/* Reads the tree before and after the kernel has forgotten it. */
static bool read_twice(struct state *s, enum side side, struct tree *ret_t)
{
	struct tree before = {0};
	char when[64];
	bool ok;

	snprintf(when, sizeof(when), "tree after #%u, side %c", s->call.no, 'A' + side);
	ok = read_tree(s, side, &before);
	drop_caches();
	if (ok)
		ok = read_tree(s, side, ret_t);
	if (ok)
		found(s, tree_same_inodes(&before, ret_t, s->run->quiet ? NULL : when), true);
	tree_done(&before);
	return ok;
}

static void check_trees(struct state *s)
{
	struct tree t[SIDE_MAX] = {0};
	char when[64];
	bool ok = true;

	for (enum side i = 0; i < SIDE_MAX && ok; i++)
		ok = s->run->drop_caches ? read_twice(s, i, &t[i]) : read_tree(s, i, &t[i]);
	snprintf(when, sizeof(when), "tree after #%u", s->call.no);
	if (ok)
		found(s,
		      tree_compare(&t[SIDE_A], &t[SIDE_B], &s->seen, s->run->quiet ? NULL : when),
		      true);
	for (enum side i = 0; i < SIDE_MAX; i++)
		tree_done(&t[i]);
}

static void count(struct state *s, const struct result *r)
{
	struct tally *t = &s->tally[s->call.kind];

	if (!t->ok && !t->failed)
		s->out.kinds++;
	s->out.done++;
	if (r->ret < 0)
		t->failed++;
	else
		t->ok++;
}

static int one_call(struct state *s)
{
	const struct run *run = s->run;
	const struct result *r[SIDE_MAX];
	int ret = pool_call(&s->pool, &s->call, r);

	if (ret < 0) {
		char text[4096];

		describe_call(&s->call, text, sizeof(text));
		printf("%s: not answered\n", text);
		found(s, 1, false);
		s->out.stuck = true;
		return ret;
	}
	count(s, r[SIDE_A]);
	if (run->verbose)
		result_print(&s->call, r[SIDE_A]);
	if (result_same(r[SIDE_A], r[SIDE_B]) ||
	    (!run->beyond_fuse && result_same_refusal(r[SIDE_A], r[SIDE_B])) ||
	    (run->ignore && run->ignore[s->call.kind]))
		return 0;
	if (!run->quiet)
		result_report(&s->call, r[SIDE_A], r[SIDE_B]);
	found(s, 1, false);
	return 0;
}

static bool wanted(const struct run *run, const struct call *c)
{
	if (c->no < run->from || c->no > run->to || (run->skip && run->skip[c->kind]))
		return false;
	return !run->keep || run->keep[c->no];
}

/* Ends early when a side no longer answers. */
static void run_loop(struct state *s)
{
	const struct run *run = s->run;
	bool checked = false;
	int r = 0;

	for (uint32_t no = 0; no < run->calls && no <= run->to && r == 0; no++) {
		gen_next(&s->gen, no, &s->call);
		if (wanted(run, &s->call))
			r = one_call(s);
		checked = run->tree_every && no % run->tree_every == run->tree_every - 1;
		if (r == 0 && checked)
			check_trees(s);
		if (run->max_diffs && s->out.diffs >= run->max_diffs)
			break;
	}
	if (r == 0 && !checked)
		check_trees(s);
}

static void print_stats(const struct state *s)
{
	for (unsigned int i = 0; i < kind_count(); i++)
		printf("%-18s %6u ok %6u failed\n", kind_at(i)->name, s->tally[i].ok,
		       s->tally[i].failed);
}

int run_calls(const struct run *run, struct outcome *ret_o)
{
	struct state *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return -ENOMEM;
	s->run = run;
	s->out.first = -1;
	s->tally = calloc(kind_count(), sizeof(*s->tally));
	if (!s->tally)
		r = -ENOMEM;
	for (enum side i = 0; i < SIDE_MAX && r == 0; i++)
		r = clean_top(run->dir[i]);
	if (r == 0)
		r = pool_start(&s->pool, run);
	if (r == 0) {
		gen_init(&s->gen, run->seed, run->beyond_fuse);
		run_loop(s);
		pool_stop(&s->pool);
	}
	if (run->stats)
		print_stats(s);
	*ret_o = s->out;
	free(s->seen.hash);
	free(s->tally);
	free(s);
	return r;
}
