/*
 * What has a st_dev of its own within a medium: subvolumes. Each has a small number, which is a
 * part of node_key and of st_ino, and stays that one's as long as the medium has its slot: over an
 * unmount, after which it has another st_dev, and over the death of a server.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct medium;
struct stat;

/* Numbers 1..SUBVOLUMES_MAX; 0 is the medium's own device. */
#define SUBVOLUMES_MAX	 2046
#define SUBVOLUMES_OTHER (SUBVOLUMES_MAX + 1) /* one number for all further ones */

struct subvolumes {
	uint64_t ids[SUBVOLUMES_MAX + 1]; /* which they are on every mount; 0: free */
	dev_t devs[SUBVOLUMES_MAX + 1];	  /* of this mount; 0: not seen yet */
};

/* In the store: to whom a number was given. */
struct subvolume_record {
	uint32_t live; /* slab_head.live */
	uint16_t slot;
	uint16_t number;
	uint64_t id;
};

/*
 * The small number of a file's st_dev within its medium. fd, name: the file, asked for its
 * subvolume when the device is new. Returns 0 for the medium's own device, else
 * 1..SUBVOLUMES_MAX, or SUBVOLUMES_OTHER, where inode numbers may not tell files apart. May block
 * on the device.
 */
uint16_t subvolume_number(struct medium *medium, dev_t dev, int fd, const char *name);

/* Whether a device may have this number: true also where that one was not seen on this mount. */
bool subvolume_is(struct medium *medium, dev_t dev, uint16_t number);

/*
 * A medium has got its slot; kept: it had it with an earlier server, and has its numbers again.
 * Under view->media_lock. Returns 0 or -ENOMEM.
 */
int subvolumes_begin(struct medium *medium, bool kept);
/* The slot is free again. Under view->media_lock. */
void subvolumes_forget(struct medium *medium);

/* The next mount has other device numbers. Under medium->lock. */
void subvolumes_unmounted(struct medium *medium);
