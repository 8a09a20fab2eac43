/*
 * A file whose name is about to go: what has to be known of it before, since the kernel may go on
 * using it without a name. All of them may block on the device.
 */
#pragma once

#include "ops.h"

/* What the kernel may still hold of a file whose name is about to go. */
struct victim {
	bool known; /* it has a node */
	bool gone;  /* it is its last name */
	struct node_info node;
	struct stat st;
	struct timespec birth; /* where there is no fd, and zero where it is not known */
	int fd;		       /* O_PATH: where the file may live on without a name that we know */
};

/*
 * Before the name goes. dir_fd: the directory. leaves: the file loses the name, so that it may be
 * its last one. To be followed by victim_bury() or victim_spare(), and victim_done().
 */
void victim_catch(struct medium *m, const struct node_info *dir, int dir_fd, const char *name,
		  bool leaves, struct victim *ret_victim);

/* The name is gone: the node loses it, and with the last one becomes a deleted file. */
void victim_bury(struct medium *m, const struct node_info *dir, const char *name,
		 struct victim *victim);

/* It was not removed after all. */
void victim_spare(struct medium *m, const struct victim *victim);

/* Frees what a victim has. */
static inline void victim_done(struct victim *victim)
{
	victim->fd = close_fd(victim->fd);
}
