/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting a failing sequence down: leave out ever smaller parts as long as the difference stays.
 *
 * A difference in a call must show at that very call; one in a tree must show after the last call.
 */
#include "difftest.h"

#include <errno.h>
#include <stdlib.h>

#define RUNS_MAX 600

struct cut {
	struct run run;
	struct outcome goal;
	bool *keep;
	uint32_t n; /* calls up to and with the failing one */
	unsigned int runs;
};

/* Does the difference still show? */
static bool still(struct cut *cut)
{
	struct outcome o;
	int r = 0;

	cut->runs++;
	for (enum side i = 0; i < SIDE_MAX && r == 0; i++)
		r = clean_dir(cut->run.dir[i]);
	if (r < 0 || run_calls(&cut->run, &o) < 0)
		return false;
	if (cut->goal.first_in_tree)
		return o.diffs > 0;
	return o.first == cut->goal.first && !o.first_in_tree;
}

static void set_range(struct cut *cut, uint32_t from, uint32_t to, const bool *saved)
{
	for (uint32_t i = from; i < to; i++)
		cut->keep[i] = saved ? saved[i] : false;
}

/* Tries to leave out each part of that size. Returns how many calls went. */
static uint32_t cut_parts(struct cut *cut, uint32_t part, bool *saved)
{
	uint32_t last = cut->goal.first_in_tree ? cut->n : cut->n - 1, gone = 0;

	for (uint32_t at = 0; at < last && cut->runs < RUNS_MAX; at += part) {
		uint32_t end = at + part < last ? at + part : last, here = 0;

		for (uint32_t i = at; i < end; i++)
			here += cut->keep[i];
		if (!here)
			continue;
		memcpy(saved, cut->keep, cut->n * sizeof(*saved));
		set_range(cut, at, end, NULL);
		if (still(cut))
			gone += here;
		else
			set_range(cut, at, end, saved);
	}
	return gone;
}

static void print_kept(const struct cut *cut)
{
	struct gen *g = malloc(sizeof(*g));
	struct call *c = malloc(sizeof(*c));
	char text[4096];

	if (g && c) {
		gen_init(g, cut->run.seed, cut->run.beyond_fuse);
		for (uint32_t no = 0; no < cut->n; no++) {
			gen_next(g, no, c);
			if (!cut->keep[no] || (cut->run.skip && cut->run.skip[c->kind]))
				continue;
			describe_call(c, text, sizeof(text));
			printf("  %s\n", text);
		}
	}
	free(g);
	free(c);
}

/* The last run shows the difference once more. */
static void show(struct cut *cut)
{
	printf("difftest: few calls that show the first difference (%u runs):\n", cut->runs);
	print_kept(cut);
	cut->run.quiet = false;
	if (!still(cut))
		printf("difftest: the difference does not show every time\n");
}

int run_minimize(const struct run *run, const struct outcome *found)
{
	struct cut cut = {.run = *run, .goal = *found, .n = (uint32_t)found->first + 1};
	bool *saved = calloc(cut.n, sizeof(*saved));

	cut.keep = calloc(cut.n, sizeof(*cut.keep));
	if (!saved || !cut.keep) {
		free(saved);
		free(cut.keep);
		return -ENOMEM;
	}
	memset(cut.keep, true, cut.n * sizeof(*cut.keep));
	cut.run.keep = cut.keep;
	cut.run.calls = cut.n;
	cut.run.tree_every = 0;
	cut.run.max_diffs = 0;
	cut.run.quiet = true;
	cut.run.verbose = cut.run.stats = false;
	if (!still(&cut)) {
		printf("difftest: the difference does not show in a second run\n");
	} else {
		for (uint32_t part = (cut.n + 1) / 2; part && cut.runs < RUNS_MAX; part /= 2)
			while (cut_parts(&cut, part, saved) && part == 1 && cut.runs < RUNS_MAX)
				;
		show(&cut);
	}
	free(saved);
	free(cut.keep);
	return 0;
}
