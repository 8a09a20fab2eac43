/* SPDX-License-Identifier: Apache-2.0 */
/* The command line. */
#include "difftest.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

enum opt {
	OPT_SEED = 256,
	OPT_CALLS,
	OPT_FROM,
	OPT_TO,
	OPT_TREE,
	OPT_MAX,
	OPT_IGNORE,
	OPT_SKIP,
	OPT_BEYOND,
	OPT_DROP,
	OPT_ROOT,
	OPT_STATS,
	OPT_KEEP,
	OPT_MINIMIZE,
	OPT_KINDS,
};

static const struct option options[] = {
	{"seed", required_argument, NULL, OPT_SEED},
	{"calls", required_argument, NULL, OPT_CALLS},
	{"from", required_argument, NULL, OPT_FROM},
	{"to", required_argument, NULL, OPT_TO},
	{"tree-every", required_argument, NULL, OPT_TREE},
	{"max-diffs", required_argument, NULL, OPT_MAX},
	{"ignore", required_argument, NULL, OPT_IGNORE},
	{"skip", required_argument, NULL, OPT_SKIP},
	{"beyond-fuse", no_argument, NULL, OPT_BEYOND},
	{"reflink", no_argument, NULL, OPT_BEYOND},
	{"drop-caches", no_argument, NULL, OPT_DROP},
	{"root-only", no_argument, NULL, OPT_ROOT},
	{"stats", no_argument, NULL, OPT_STATS},
	{"keep", no_argument, NULL, OPT_KEEP},
	{"minimize", no_argument, NULL, OPT_MINIMIZE},
	{"kinds", no_argument, NULL, OPT_KINDS},
	{"verbose", no_argument, NULL, 'v'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static const char usage_text[] =
	"Usage: difftest [options] DIR_A DIR_B\n"
	"Runs one sequence of system calls in two empty directories and compares the results.\n"
	"  --seed N         the sequence (default 1)\n"
	"  --calls N        how many calls (default 20000)\n"
	"  --from N --to N  execute only these calls of the sequence\n"
	"  --tree-every N   compare the trees after N calls (default 500; 0: only at the end)\n"
	"  --max-diffs N    stop after so many differences (default 100; 0: never)\n"
	"  --ignore K[,K]   do not compare the results of these kinds\n"
	"  --skip K[,K]     do not even execute them\n"
	"  --beyond-fuse    with what FUSE cannot do: reflinks (also --reflink), statx "
	"attributes,\n"
	"                   mapping of append-only files, O_DIRECT with unaligned memory\n"
	"  --drop-caches    drop the kernel's inode caches before the trees are compared\n"
	"  --root-only      all users are root, for servers that do not act as the caller\n"
	"  --minimize       cut the sequence down to few calls that show the first difference\n"
	"  --keep           leave the trees in place\n"
	"  --kinds          list the kinds of calls\n"
	"  --stats          how often each kind succeeded and failed\n"
	"  -v, --verbose    print every call\n"
	"Exit status: 0 no difference, 1 differences, 2 wrong use or no run possible.\n";

struct args {
	struct run run;
	bool keep, minimize;
};

static uint64_t number(const char *s)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(s, &end, 0);
	if (errno || !*s || *end)
		errx(2, "not a number: %s", s);
	return n;
}

/* Marks each kind of a comma separated list. */
static void mark_kinds(bool **marks, char *list)
{
	char *state = NULL;

	if (!*marks)
		*marks = calloc(kind_count(), sizeof(**marks));
	for (char *k = strtok_r(list, ",", &state); k; k = strtok_r(NULL, ",", &state)) {
		int i = kind_lookup(k);

		if (i < 0 || !*marks)
			errx(2, "unknown kind: %s", k);
		(*marks)[i] = true;
	}
}

static void list_kinds(void)
{
	for (unsigned int i = 0; i < kind_count(); i++)
		printf("%s%s\n", kind_at(i)->name,
		       kind_at(i)->beyond_fuse ? " (--beyond-fuse)" : "");
	exit(0);
}

/* Options that take a number. Returns false when o is none of them. */
static bool number_option(struct run *run, int o, const char *arg)
{
	const struct {
		enum opt opt;
		uint32_t *to;
	} tab[] = {
		{OPT_CALLS, &run->calls},     {OPT_FROM, &run->from},	  {OPT_TO, &run->to},
		{OPT_TREE, &run->tree_every}, {OPT_MAX, &run->max_diffs},
	};

	for (size_t i = 0; i < ARRAY_SIZE(tab); i++)
		if ((int)tab[i].opt == o) {
			uint64_t n = number(arg);

			*tab[i].to = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
			return true;
		}
	if (o == OPT_SEED)
		run->seed = number(arg);
	return o == OPT_SEED;
}

static bool flag_option(struct args *a, int o)
{
	const struct {
		int opt;
		bool *to;
	} tab[] = {
		{OPT_BEYOND, &a->run.beyond_fuse},
		{OPT_DROP, &a->run.drop_caches},
		{OPT_ROOT, &a->run.root_only},
		{OPT_STATS, &a->run.stats},
		{OPT_KEEP, &a->keep},
		{OPT_MINIMIZE, &a->minimize},
		{'v', &a->run.verbose},
	};

	for (size_t i = 0; i < ARRAY_SIZE(tab); i++)
		if (tab[i].opt == o) {
			*tab[i].to = true;
			return true;
		}
	return false;
}

static void parse(int argc, char **argv, struct args *a)
{
	int o;

	while ((o = getopt_long(argc, argv, "vh", options, NULL)) >= 0) {
		if (number_option(&a->run, o, optarg) || flag_option(a, o))
			continue;
		if (o == OPT_IGNORE || o == OPT_SKIP) {
			mark_kinds(o == OPT_SKIP ? &a->run.skip : &a->run.ignore, optarg);
		} else if (o == OPT_KINDS) {
			list_kinds();
		} else {
			fputs(usage_text, o == 'h' ? stdout : stderr);
			exit(o == 'h' ? 0 : 2);
		}
	}
	if (argc - optind != 2) {
		fputs(usage_text, stderr);
		exit(2);
	}
}

/* Everything in them is going to be removed: they must be empty, and two. */
static void check_dirs(struct run *run)
{
	struct stat st[SIDE_MAX];

	for (enum side s = 0; s < SIDE_MAX; s++) {
		int r = clean_needed(run->dir[s]);

		if (r < 0 || stat(run->dir[s], &st[s]) < 0)
			errx(2, "%s: %s", run->dir[s], strerror(r < 0 ? -r : errno));
		if (r > 0)
			errx(2, "%s: not empty", run->dir[s]);
	}
	if (st[SIDE_A].st_dev == st[SIDE_B].st_dev && st[SIDE_A].st_ino == st[SIDE_B].st_ino)
		errx(2, "both directories are the same");
	if (geteuid() != 0)
		errx(2, "must be run by root");
}

int main(int argc, char **argv)
{
	struct args a = {
		.run = {.seed = 1,
			.calls = 20000,
			.to = UINT32_MAX,
			.tree_every = 500,
			.max_diffs = 100},
	};
	struct outcome o;
	int r;

	parse(argc, argv, &a);
	a.run.dir[SIDE_A] = argv[optind];
	a.run.dir[SIDE_B] = argv[optind + 1];
	a.run.start = time(NULL);
	umask(0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	check_dirs(&a.run);
	r = run_calls(&a.run, &o);
	if (r < 0)
		errx(2, "the run failed: %s", strerror(-r));
	printf("difftest: %u calls, %u kinds, %u differences\n", o.done, o.kinds, o.diffs);
	if (o.first >= 0 && a.minimize && !o.stuck)
		(void)run_minimize(&a.run, &o);
	for (enum side s = 0; s < SIDE_MAX && !a.keep && !o.stuck; s++) {
		r = clean_dir(a.run.dir[s]);
		if (r < 0)
			warnx("%s: cannot be emptied: %s", a.run.dir[s], strerror(-r));
	}
	free(a.run.ignore);
	free(a.run.skip);
	return o.diffs ? 1 : 0;
}
