/*
 * micro TEST DIR [-n COUNT] [-m MIB] [-t THREADS] [-s SECONDS] [-p PASSES] [-r]
 *
 * Runs one test in a directory and prints a line "NAME NANOSECONDS" for each thing measured: the
 * time of one call, or of one MiB. See micro.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "micro.h"

#define CHUNKS_MAX 16

static const struct {
	const char *name;
	void (*run)(const struct bench *bench);
} tests[] = {
	{"read", bench_read},
	{"read-cold", bench_read_cold},
	{"write", bench_write},
	{"write-cold", bench_write_cold},
	{"mmap", bench_mmap},
	{"direct-read", bench_direct_read},
	{"direct-write", bench_direct_write},
	{"random-read", bench_random_read},
	{"random-write", bench_random_write},
	{"sync-write", bench_sync_write},
	{"names", bench_names},
	{"open", bench_open},
	{"roundtrip", bench_roundtrip},
};

void bench_print(const char *name, double nanoseconds)
{
	(void)printf("%s %.1f\n", name, nanoseconds);
}

/* What an emptyfs counted since it was started: it tells in the answer to statfs(2). */
static uint64_t requests_so_far(const struct bench *bench)
{
	struct statvfs facts;

	if (!bench->requests)
		return 0;
	if (statvfs(bench->dir, &facts) < 0)
		bench_fail("statvfs");
	return facts.f_files;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), compare);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void bench_run(const struct bench *bench, const char *name, unsigned long count, unsigned chunks,
	       bench_step step, void *state)
{
	uint64_t requests = requests_so_far(bench);
	double means[CHUNKS_MAX];
	unsigned long i = 0;

	if (chunks > CHUNKS_MAX)
		chunks = CHUNKS_MAX;
	if (chunks > count)
		chunks = (unsigned)count;
	for (unsigned chunk = 0; chunk < chunks; chunk++) {
		unsigned long first = i, end = count * (chunk + 1) / chunks;
		uint64_t start = bench_now_ns();

		for (; i < end; i++)
			step(state, i);
		means[chunk] = (double)(bench_now_ns() - start) / (double)(end - first);
	}
	requests = requests_so_far(bench) - requests;
	if (bench->requests)
		(void)printf("%s %.1f %.3f\n", name, median(means, chunks),
			     (double)requests / (double)count);
	else
		bench_print(name, median(means, chunks));
}

static void usage(void)
{
	(void)fputs("Usage: micro TEST DIR [-n COUNT] [-m MIB] [-t THREADS] [-s SECONDS] [-p "
		    "PASSES] [-r]\nTests:",
		    stderr);
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		(void)fprintf(stderr, " %s", tests[i].name);
	(void)fputc('\n', stderr);
	exit(2);
}

static unsigned long number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || !value || value > 1UL << 30)
		usage();
	return value;
}

int main(int argc, char **argv)
{
	struct bench bench = {
		.count = 1000, .size = 64 * MIB, .threads = 1, .seconds = 1, .passes = 4};
	int option;

	while ((option = getopt(argc, argv, "n:m:t:s:p:r")) != -1) {
		if (option == 'n')
			bench.count = number(optarg);
		else if (option == 'm')
			bench.size = number(optarg) * MIB;
		else if (option == 't')
			bench.threads = (unsigned)number(optarg);
		else if (option == 's')
			bench.seconds = (unsigned)number(optarg);
		else if (option == 'p')
			bench.passes = (unsigned)number(optarg);
		else if (option == 'r')
			bench.requests = true;
		else
			usage();
	}
	if (argc - optind != 2)
		usage();
	bench.dir = argv[optind + 1];
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		if (strcmp(tests[i].name, argv[optind]) != 0)
			continue;
		tests[i].run(&bench);
		return fflush(stdout) ? 1 : 0;
	}
	usage();
}
