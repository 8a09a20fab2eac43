/*
 * emptyfs through io_uring: one ring, and one thread, for each CPU. A command hands over the answer
 * to one request, and completes when there is the next (fs/fuse/dev_uring.c, Linux 6.14).
 */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emptyfs.h"

#define ENTRIES	   8 /* requests of one CPU at a time */
#define REGISTER   1 /* enum fuse_uring_cmd */
#define COMMIT	   2
#define SQE_BYTES  128
#define COMMAND_AT 48 /* offsetof(struct io_uring_sqe, cmd) */
#define HEADER_MAX 128

/* struct fuse_uring_req_header, and what stands behind it in an entry of ours */
struct message {
	_Alignas(8) char in_out[HEADER_MAX];
	_Alignas(8) char argument[HEADER_MAX];
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_bytes;
	uint32_t padding;
	uint64_t reserved;
};

/* struct fuse_uring_cmd_req, at the end of the submission */
struct command {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t queue;
	uint8_t padding[6];
};

struct entry {
	struct message message;
	struct iovec parts[2]; /* the message, and the payload */
};

struct queue {
	struct emptyfs *server;
	unsigned cpu;
	struct io_uring ring;
	struct entry entries[ENTRIES];
};

static void submit(struct queue *queue, struct entry *entry, uint32_t what)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring);
	char *volatile all = (char *)sqe; /* twice as long as the structure: IORING_SETUP_SQE128 */
	struct command command = {.commit_id = entry->message.commit_id,
				  .queue = (uint16_t)queue->cpu};

	memset(all, 0, SQE_BYTES);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = queue->server->fuse;
	sqe->cmd_op = what;
	if (what == REGISTER) {
		sqe->addr = (uint64_t)(uintptr_t)entry->parts;
		sqe->len = 2;
	}
	memcpy(all + COMMAND_AT, &command, sizeof(command));
	io_uring_sqe_set_data(sqe, entry);
}

static int entries_register(struct queue *queue)
{
	for (int i = 0; i < ENTRIES; i++) {
		struct entry *entry = &queue->entries[i];
		void *payload = malloc(EMPTYFS_MAX_WRITE);

		if (!payload)
			return -ENOMEM;
		entry->parts[0] = (struct iovec){&entry->message, sizeof(entry->message)};
		entry->parts[1] = (struct iovec){payload, EMPTYFS_MAX_WRITE};
		submit(queue, entry, REGISTER);
	}
	return io_uring_submit(&queue->ring) < 0 ? -EIO : 0;
}

static void answer(struct queue *queue, struct entry *entry)
{
	struct message *message = &entry->message;
	union emptyfs_answer answer;
	struct fuse_out_header out;
	size_t size = emptyfs_answer(queue->server, (const void *)message->in_out,
				     message->argument, &out, &answer);

	memcpy(message->in_out, &out, sizeof(out));
	memcpy(entry->parts[1].iov_base, &answer, size);
	message->payload_bytes = (uint32_t)size;
	submit(queue, entry, COMMIT);
}

/* Until the kernel gives the commands back, since the connection has ended. */
static void *serve(void *data)
{
	struct queue *queue = data;
	struct io_uring_cqe *cqe;
	cpu_set_t cpu;
	int r;

	CPU_ZERO(&cpu);
	CPU_SET(queue->cpu, &cpu);
	(void)sched_setaffinity(0, sizeof(cpu),
				&cpu); /* one that is not there now has no requests */
	r = io_uring_queue_init(2 * ENTRIES, &queue->ring, IORING_SETUP_SQE128);
	if (r == 0)
		r = entries_register(queue);
	while (r >= 0) {
		if (io_uring_submit_and_wait(&queue->ring, 1) < 0)
			return NULL;
		while (io_uring_peek_cqe(&queue->ring, &cqe) == 0) {
			struct entry *entry = io_uring_cqe_get_data(cqe);
			int result = cqe->res;

			io_uring_cqe_seen(&queue->ring, cqe);
			if (result < 0)
				return NULL;
			answer(queue, entry);
		}
	}
	errno = -r;
	(void)emptyfs_fail("io_uring");
	return NULL;
}

int emptyfs_ring_start(struct emptyfs *server)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);

	for (unsigned cpu = 0; cpu < (unsigned)cpus; cpu++) {
		struct queue *queue = calloc(1, sizeof(*queue));
		pthread_t thread;
		int r;

		if (!queue)
			return -ENOMEM;
		queue->server = server;
		queue->cpu = cpu;
		r = -pthread_create(&thread, NULL, serve, queue);
		if (r < 0)
			return r;
	}
	return 0;
}
