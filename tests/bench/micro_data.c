/* One big file: 1 MiB at a time from begin to end, and 4 KiB anywhere in it. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "micro.h"

#define PAGE	    4096UL
#define WARM_PASSES 2
#define CHUNKS	    16
#define THREADS_MAX 64

struct big {
	const struct bench *bench;
	int fd;
	char *buffer; /* 1 MiB, aligned for direct I/O */
	char *map;
	unsigned long pieces; /* MiB */
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static int open_in(const struct bench *bench, const char *name, int flags)
{
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", bench->dir, name);
	fd = open(path, flags | O_CLOEXEC, 0644);
	if (fd < 0)
		bench_fail(path);
	return fd;
}

static off_t offset_of(const struct big *big, unsigned long i)
{
	return (off_t)(i % big->pieces * MIB);
}

static void read_step(void *state, unsigned long i)
{
	struct big *big = state;

	if (pread(big->fd, big->buffer, MIB, offset_of(big, i)) != (ssize_t)MIB)
		bench_fail("read");
}

static void write_step(void *state, unsigned long i)
{
	struct big *big = state;

	if (pwrite(big->fd, big->buffer, MIB, offset_of(big, i)) != (ssize_t)MIB)
		bench_fail("write");
}

/* The last one also waits until all is on the disk. */
static void write_out_step(void *state, unsigned long i)
{
	struct big *big = state;

	write_step(state, i);
	if (i == big->pieces - 1 && fdatasync(big->fd) < 0)
		bench_fail("fdatasync");
}

/* Every pass has a new mapping, so page faults are part of it. */
static void map_step(void *state, unsigned long i)
{
	struct big *big = state;
	size_t size = big->pieces * MIB;

	if (i % big->pieces == 0) {
		if (big->map)
			(void)munmap(big->map, size);
		big->map = mmap(NULL, size, PROT_READ, MAP_SHARED, big->fd, 0);
		if (big->map == MAP_FAILED)
			bench_fail("mmap");
	}
	memcpy(big->buffer, big->map + offset_of(big, i), MIB);
}

/* Bytes that a disk in compressed memory cannot make smaller. */
static void fill(char *buffer)
{
	uint64_t random = 88172645463325252ULL;

	for (size_t i = 0; i < MIB / sizeof(random); i++) {
		uint64_t value = next_random(&random);

		memcpy(buffer + i * sizeof(value), &value, sizeof(value));
	}
}

static struct big big_open(const struct bench *bench, const char *name, int flags)
{
	struct big big = {.bench = bench, .pieces = bench->size / MIB};

	if (posix_memalign((void **)&big.buffer, MIB, MIB))
		bench_fail("memory");
	fill(big.buffer);
	big.fd = open_in(bench, name, flags);
	return big;
}

static void big_close(struct big *big)
{
	if (big->map)
		(void)munmap(big->map, big->pieces * MIB);
	if (close(big->fd) < 0)
		bench_fail("close");
	free(big->buffer);
}

/* The file is made once, and is on the disk before anything is measured. */
static void prepare(const struct bench *bench)
{
	struct big big = big_open(bench, "big", O_RDWR | O_CREAT);
	struct stat facts;

	if (fstat(big.fd, &facts) < 0)
		bench_fail("stat");
	if ((size_t)facts.st_size != bench->size) {
		for (unsigned long i = 0; i < big.pieces; i++)
			write_step(&big, i);
		if (ftruncate(big.fd, (off_t)bench->size) < 0)
			bench_fail("truncate");
	}
	if (fsync(big.fd) < 0)
		bench_fail("fsync");
	big_close(&big);
}

/* Drops clean pages of all files. (posix_fadvise() does not reach the file below a FUSE view.) */
static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1", 1) != 1)
		bench_fail("drop_caches");
	(void)close(fd);
}

static void warm_passes(const struct bench *bench, const char *name, int flags, bench_step step)
{
	struct big big;

	prepare(bench);
	big = big_open(bench, "big", flags);
	for (unsigned long i = 0; i < big.pieces; i++)
		step(&big, i);
	bench_run(bench, name, WARM_PASSES * big.pieces, CHUNKS, step, &big);
	big_close(&big);
}

void bench_read(const struct bench *bench)
{
	warm_passes(bench, "read", O_RDONLY, read_step);
}

void bench_write(const struct bench *bench)
{
	warm_passes(bench, "write", O_RDWR, write_step);
}

void bench_mmap(const struct bench *bench)
{
	warm_passes(bench, "mmap", O_RDONLY, map_step);
}

void bench_direct_read(const struct bench *bench)
{
	warm_passes(bench, "direct-read", O_RDONLY | O_DIRECT, read_step);
}

void bench_direct_write(const struct bench *bench)
{
	warm_passes(bench, "direct-write", O_RDWR | O_DIRECT, write_step);
}

void bench_read_cold(const struct bench *bench)
{
	struct big big;

	prepare(bench);
	drop_caches();
	big = big_open(bench, "big", O_RDONLY);
	bench_run(bench, "read-cold", big.pieces, 1, read_step, &big);
	big_close(&big);
}

void bench_write_cold(const struct bench *bench)
{
	struct big big;
	char path[4096];

	drop_caches();
	big = big_open(bench, "new", O_RDWR | O_CREAT | O_TRUNC);
	bench_run(bench, "write-cold", big.pieces, 1, write_out_step, &big);
	big_close(&big);
	(void)snprintf(path, sizeof(path), "%s/new", bench->dir);
	if (unlink(path) < 0)
		bench_fail(path);
}

struct walker {
	struct big *big;
	pthread_barrier_t *start;
	bool write;
	uint64_t random;
};

static void *walk(void *argument)
{
	struct walker *walker = argument;
	struct big *big = walker->big;
	char page[PAGE];

	memcpy(page, big->buffer, PAGE);
	(void)pthread_barrier_wait(walker->start);
	for (unsigned long i = 0; i < big->bench->count; i++) {
		uint64_t number = next_random(&walker->random) % (big->pieces * MIB / PAGE);
		off_t offset = (off_t)(number * PAGE);
		ssize_t n = walker->write ? pwrite(big->fd, page, PAGE, offset)
					  : pread(big->fd, page, PAGE, offset);

		if (n != (ssize_t)PAGE)
			bench_fail("random access");
	}
	return NULL;
}

/* All threads on one descriptor; the time is that of all calls together, divided by their number.
 */
static void random_accesses(const struct bench *bench, const char *name, bool write)
{
	unsigned count = bench->threads < THREADS_MAX ? bench->threads : THREADS_MAX;
	struct walker walkers[THREADS_MAX];
	pthread_t threads[THREADS_MAX];
	pthread_barrier_t start;
	uint64_t began;
	struct big big;

	prepare(bench);
	big = big_open(bench, "big", O_RDWR);
	for (unsigned long i = 0; i < big.pieces; i++)
		read_step(&big, i);
	(void)pthread_barrier_init(&start, NULL, count + 1);
	for (unsigned i = 0; i < count; i++) {
		walkers[i] = (struct walker){&big, &start, write, 7919 + i};
		if (pthread_create(&threads[i], NULL, walk, &walkers[i]))
			bench_fail("thread");
	}
	(void)pthread_barrier_wait(&start);
	began = bench_now_ns();
	for (unsigned i = 0; i < count; i++)
		(void)pthread_join(threads[i], NULL);
	bench_print(name,
		    (double)(bench_now_ns() - began) / ((double)bench->count * (double)count));
	(void)pthread_barrier_destroy(&start);
	big_close(&big);
}

void bench_random_read(const struct bench *bench)
{
	random_accesses(bench, "random-read", false);
}

void bench_random_write(const struct bench *bench)
{
	random_accesses(bench, "random-write", true);
}
