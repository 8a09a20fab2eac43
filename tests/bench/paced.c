/*
 * paced LOAD DIR [-t CALLERS] [-i MILLISECONDS] [PLACE...]
 *
 * Makes calls in a directory, each caller one every so many milliseconds, until standard input
 * ends. There it takes words: 0 and 1, into which set the durations of calls that begin from now on
 * go; "-", into none; "?" asks how many callers have been in a call for more than a second. Each
 * word is answered by a line. At the end there is a line "COUNT P99.9 LONGEST STEP" for each set,
 * times in nanoseconds. See paced.h.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "paced.h"

#define CALLERS_MAX 1024
#define HANGS_NS    1000000000ULL

static atomic_int set = -1;
static atomic_bool ended;
static uint64_t interval_ns = 20000000;

static void keep(struct samples *samples, uint64_t ns, const char *name)
{
	if (ns >= samples->longest_ns) {
		samples->longest_ns = ns;
		samples->longest = name;
	}
	if (samples->count == samples->room) {
		samples->room = samples->room ? samples->room * 2 : 4096;
		samples->ns = realloc(samples->ns, samples->room * sizeof(*samples->ns));
		if (!samples->ns)
			bench_fail("memory");
	}
	samples->ns[samples->count++] = ns;
}

static void wait_until(uint64_t ns)
{
	struct timespec when = {.tv_sec = (time_t)(ns / 1000000000),
				.tv_nsec = (long)(ns % 1000000000)};

	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
}

static void make(struct caller *c, const struct step *step)
{
	int into = atomic_load(&set);
	uint64_t began = bench_now_ns();
	uint64_t took;

	atomic_store(&c->began_ns, began);
	step->call(c);
	took = bench_now_ns() - began;
	atomic_store(&c->began_ns, 0);
	if (into >= 0)
		keep(&c->samples[into][step->syncs], took, step->name);
}

/* Who comes late does not hurry after. */
static void *call(void *argument)
{
	struct caller *c = argument;
	uint64_t next = bench_now_ns() + interval_ns * (c->number * 7919 % 1000) / 1000;

	for (unsigned i = 0; !atomic_load(&ended); i++) {
		uint64_t now;

		c->turn = i / c->load->step_count;
		wait_until(next);
		make(c, &c->load->steps[i % c->load->step_count]);
		now = bench_now_ns();
		next = next + interval_ns > now ? next + interval_ns : now;
	}
	return NULL;
}

static unsigned hanging(struct caller *const *callers, unsigned count)
{
	uint64_t now = bench_now_ns();
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		uint64_t began = atomic_load(&callers[i]->began_ns);

		n += began && now > began + HANGS_NS;
	}
	return n;
}

/* Until standard input ends. */
static void obey(struct caller *const *callers, unsigned count)
{
	char line[16];

	while (fgets(line, sizeof(line), stdin)) {
		if (*line == '?') {
			(void)printf("%u\n", hanging(callers, count));
		} else {
			atomic_store(&set, *line == '-' ? -1 : *line - '0');
			(void)printf("ok\n");
		}
		(void)fflush(stdout);
	}
	atomic_store(&ended, true);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void add(struct samples *all, const struct samples *more)
{
	for (size_t i = 0; i < more->count; i++)
		keep(all, more->ns[i], more->ns[i] == more->longest_ns ? more->longest : "?");
}

/* Sorts them. */
static unsigned long long late(struct samples *all)
{
	if (all->count == 0)
		return 0;
	qsort(all->ns, all->count, sizeof(*all->ns), compare);
	return all->ns[(all->count - 1) * 999 / 1000];
}

static void tell(struct caller *const *callers, unsigned count, unsigned which)
{
	struct samples all = {.longest = "-"};
	unsigned long long without_syncs;

	for (unsigned i = 0; i < count; i++)
		add(&all, &callers[i]->samples[which][0]);
	without_syncs = late(&all);
	for (unsigned i = 0; i < count; i++)
		add(&all, &callers[i]->samples[which][1]);
	(void)printf("%zu %llu %llu ", all.count, late(&all), without_syncs);
	(void)printf("%llu %s\n", (unsigned long long)all.longest_ns, all.longest);
	free(all.ns);
}

static struct caller *caller_new(const struct load *load, unsigned number, char *const *words)
{
	struct caller *c = aligned_alloc(4096, (sizeof(*c) + 4095) / 4096 * 4096);

	if (!c)
		bench_fail("memory");
	memset(c, 0, sizeof(*c));
	c->load = load;
	c->number = number;
	c->places = words + 1;
	c->dir = open(words[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir < 0)
		bench_fail(words[0]);
	if (load->prepare)
		load->prepare(c);
	return c;
}

static void usage(void)
{
	(void)fputs("Usage: paced files|hang|root DIR [-t CALLERS] [-i MILLISECONDS] [PLACE...]\n",
		    stderr);
	exit(2);
}

static unsigned number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || !value || value > 100000)
		usage();
	return (unsigned)value;
}

static void run(const struct load *load, unsigned count, char *const *words)
{
	static struct caller *callers[CALLERS_MAX];
	static pthread_t threads[CALLERS_MAX];

	for (unsigned i = 0; i < count; i++)
		callers[i] = caller_new(load, i, words);
	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, call, callers[i]))
			bench_fail("thread");
	(void)puts("ready");
	(void)fflush(stdout);
	obey(callers, count);
	for (unsigned i = 0; i < count; i++)
		(void)pthread_join(threads[i], NULL);
	for (unsigned which = 0; which < SETS; which++)
		tell(callers, count, which);
}

int main(int argc, char **argv)
{
	const struct load *load;
	unsigned count = 1;
	int option;

	while ((option = getopt(argc, argv, "t:i:")) != -1) {
		if (option == 't')
			count = number(optarg);
		else if (option == 'i')
			interval_ns = number(optarg) * 1000000ULL;
		else
			usage();
	}
	load = argc - optind >= 2 ? load_find(argv[optind]) : NULL;
	if (!load || count > CALLERS_MAX || (strcmp(load->name, "root") == 0 && argc - optind < 3))
		usage();
	run(load, count, argv + optind + 1);
	return fflush(stdout) ? 1 : 0;
}
