/* A driver program that serves a mount, from its start to its end. Internal to staging/. */
#pragma once

#include "base/list.h"
#include "base/loop.h"
#include "staging/program_start.h"

struct program {
	struct list link; /* for its owner */
	uint32_t id;	  /* of the mount, for its owner */
	bool serving;	  /* for its owner: the mount was told to have succeeded */
	const char *name;
	pid_t pid;
	struct loop_child *child;    /* NULL: it has ended */
	int status;		     /* then; as of wait(2) */
	struct program_mount *mount; /* of one that mounts by itself; else NULL */
	int words_fd;
	struct loop_fd *words_source;
	char words[LIMIT_REASON]; /* the last line that it has written */
	char line[LIMIT_REASON];  /* the beginning of the next one */
	bool read_only;		  /* it has mounted so by itself, and said why first: */
	char first_words[LIMIT_REASON];
	size_t line_length;
	void (*ended)(struct program *program, void *data);
	void *data;
};

/*
 * Starts it. ended is called once from the loop, when it has ended and was reaped; program_free()
 * may be called from there. Returns 0 or -errno.
 */
int program_start(struct loop *loop, const struct program_order *order,
		  void (*ended)(struct program *program, void *data), void *data,
		  struct program **ret_program);

/* SIGKILL, unless it has ended. It may be unable to die: ended tells. Whoever uses what it serves
 * gets errors from then on. */
void program_kill(struct program *program);

/* What became of it, for people: how it has ended, and its last words. */
void program_fate(const struct program *program, char fate[LIMIT_REASON]);

/* Whether it has ended by itself and without a complaint. Pure. */
bool program_ended_well(const struct program *program);

/* Forgets it; if it still runs, it is reaped when it ends. Accepts NULL, returns NULL. */
struct program *program_free(struct program *program);
