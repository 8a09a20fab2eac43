/* Writers that want every write on the disk. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "micro.h"

#define THREADS_MAX 64
#define PIECE	    (64UL << 10)
#define PIECES	    16

struct writer {
	char path[4096];
	uint64_t end_ns;
	unsigned long writes;
};

static void *write_and_sync(void *argument)
{
	struct writer *writer = argument;
	int fd = open(writer->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	char *piece = malloc(PIECE);

	if (fd < 0 || !piece)
		bench_fail(writer->path);
	memset(piece, 'w', PIECE);
	while (bench_now_ns() < writer->end_ns) {
		off_t offset = (off_t)(writer->writes % PIECES * PIECE);

		if (pwrite(fd, piece, PIECE, offset) != (ssize_t)PIECE || fdatasync(fd) < 0)
			bench_fail("synced write");
		writer->writes++;
	}
	free(piece);
	(void)close(fd);
	return NULL;
}

/* The time of one write is that of all together, divided by their number. */
void bench_sync_write(const struct bench *bench)
{
	unsigned count = bench->threads < THREADS_MAX ? bench->threads : THREADS_MAX;
	struct writer *writers = calloc(count, sizeof(*writers));
	pthread_t threads[THREADS_MAX];
	uint64_t start = bench_now_ns(), took;
	unsigned long writes = 0;

	if (!writers)
		bench_fail("memory");
	for (unsigned i = 0; i < count; i++) {
		(void)snprintf(writers[i].path, sizeof(writers[i].path), "%s/synced%u", bench->dir,
			       i);
		writers[i].end_ns = start + bench->seconds * 1000000000ULL;
		if (pthread_create(&threads[i], NULL, write_and_sync, &writers[i]))
			bench_fail("thread");
	}
	for (unsigned i = 0; i < count; i++) {
		(void)pthread_join(threads[i], NULL);
		writes += writers[i].writes;
	}
	took = bench_now_ns() - start;
	free(writers);
	bench_print("sync-write", (double)took / (double)(writes ? writes : 1));
}
