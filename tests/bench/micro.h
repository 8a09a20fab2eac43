/*
 * The loops of the benchmark whose steps are too short for a process each: micro.c has the command
 * line and the clock, the other files one theme each. A failure ends the program.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common.h"

#define MIB (1UL << 20)

struct bench {
	const char *dir;
	unsigned long count; /* files, or random accesses */
	size_t size;	     /* bytes of the big file, whole MiB */
	unsigned threads;    /* of the random accesses, of the synced writes */
	unsigned seconds;    /* of the synced writes */
	unsigned passes;     /* over files that are opened */
	bool requests;	     /* dir is an emptyfs: print what it counted, too */
};

/* One step of a loop: number i, from 0. */
typedef void (*bench_step)(void *state, unsigned long i);

/*
 * Runs a step `count` times and prints a line "NAME NANOSECONDS": the median over chunks of the
 * mean of a chunk, so that an interruption of this process spoils one of them and not the rest.
 * With bench->requests a third word says how many requests that the caller waited for were seen
 * per step, those of file data left out.
 */
void bench_run(const struct bench *bench, const char *name, unsigned long count, unsigned chunks,
	       bench_step step, void *state);

/* Prints such a line for something that was timed otherwise. */
void bench_print(const char *name, double nanoseconds);

/* micro_data.c: each is one test on the big file. */
void bench_read(const struct bench *bench);
void bench_read_cold(const struct bench *bench);
void bench_write(const struct bench *bench);
void bench_write_cold(const struct bench *bench);
void bench_mmap(const struct bench *bench);
void bench_direct_read(const struct bench *bench);
void bench_direct_write(const struct bench *bench);
void bench_random_read(const struct bench *bench);
void bench_random_write(const struct bench *bench);
/* 64 KiB with fdatasync, for some seconds, each thread in a file of its own. */
void bench_sync_write(const struct bench *bench);

/* micro_names.c: a line for each kind of call on many small files; only one of them; and one
 * request, nothing else.
 */
void bench_names(const struct bench *bench);
void bench_open(const struct bench *bench);
void bench_roundtrip(const struct bench *bench);
