/*
 * A medium as fs/ sees it, and its gate. Every request that touches the medium's filesystem
 * passes the gate: it waits there until the filesystem is mounted, no more than a few of one
 * medium run at a time, so that a dead disk holds nobody else, and a fence answers for those
 * that are stuck. Lock order: view->media_lock, medium->lock, files, nodes.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "base/list.h"
#include "fs/request.h"
#include "fs/subvolumes.h"
#include "fs/view.h"

enum gate_state {
	GATE_UNMOUNTED, /* nothing asked for yet: the first request asks for a mount */
	GATE_OPENING,	/* asked; requests wait */
	GATE_OPEN,
	GATE_DRAINING, /* closing: running requests end, new ones wait */
	GATE_EJECTING, /* as DRAINING, and then new opens are refused */
	GATE_EJECTED,  /* not mounted and not to be mounted */
	GATE_FENCED,   /* removed: everything ends with fence_err */
};

/*
 * Requests that are counted apart, so that those of one class can all wait for the device and
 * others still run. What the kernel writes may be what a running request waits for: it holds pages
 * locked. What ends something (RELEASE, FORGET of a deleted file) has nobody who waits for it, may
 * come in any state of the medium, must not get lost, and frees blocks of deleted files.
 */
enum gate_class {
	GATE_OTHER,
	GATE_WRITE,
	GATE_END,
	GATE_CLASSES
};

#define MEDIUM_NO_OWNER UINT64_MAX

/* How a medium stands in the root's listing; bits, to ask for several at once. */
enum presence {
	PRESENCE_NEW = 1, /* not announced yet */
	PRESENCE_VISIBLE = 2,
	PRESENCE_LEAVING = 4, /* not listed any more; the announcer still finds it to remove it */
	PRESENCE_GONE = 8,
};

/* An ACL of the root directory. */
struct root_acl {
	int size; /* 0: it has none; ROOT_ACL_UNKNOWN */
	char value[256];
};
#define ROOT_ACL_UNKNOWN (-1)

enum {
	ROOT_ACL_ACCESS,
	ROOT_ACL_DEFAULT,
	ROOT_ACLS
};

struct medium {
	struct view *view;
	uint16_t slot;
	uint32_t id;		/* the daemon's; 0 once forgotten; under view->media_lock */
	enum presence presence; /* under view->media_lock */
	atomic_uint refs;	/* goes down only under view->media_lock */

	_Atomic uint64_t owner; /* of everything in it: uid << 32 | gid, or MEDIUM_NO_OWNER */
	atomic_bool passthrough;

	pthread_mutex_t lock; /* for all below; id and name in facts never change */
	struct view_medium facts;
	enum gate_state state;
	int fence_err;
	bool frozen;	     /* by the fence: its nodes, until nothing runs any more */
	bool close_asked;    /* by view_medium_close(): events.closed when nothing runs any more */
	bool close_forced;   /* then what was being opened is closed, too */
	struct list running; /* requests */
	unsigned running_count;
	unsigned running_of[GATE_CLASSES];
	struct list waiting; /* requests, allocated */
	unsigned waiting_count;
	struct list ending;   /* the same of class GATE_END */
	struct list expiring; /* OPENs that have left the gate: expire.c */
	bool expires;	      /* a thread answers them */
	int coming_fd;	      /* a root that a thread is to look at, or -EBADF */
	unsigned repairs;     /* those among both that must run before others: see gate.c */
	uint64_t last_use_ms;
	struct pace pace;
	unsigned openers;
	unsigned writers;
	bool written;	  /* since the daemon last read it */
	bool use_pending; /* the daemon was told to read the counts */
	bool root_known;  /* root_attr is true although nothing is mounted */
	struct stat root_attr;
	unsigned root_changes; /* what was read before the last one is not kept */
	struct root_acl root_acls[ROOT_ACLS];
	/* Since when: before, the kernel checked access by what we made up. */
	_Atomic uint64_t root_known_ms;
	bool space_known;
	struct statfs space;
	struct subvolumes *subvolumes; /* NULL as long as there is no subvolume */

	/* Stable while the gate is open and the caller's request runs: read without the lock. */
	int root_fd;
	dev_t root_dev; /* the real ones */
	ino_t root_ino;
	bool by_name;	     /* no stable inode numbers */
	uint32_t fstype;     /* statfs.f_type */
	atomic_uint flushes; /* LSEEKs that have the kernel write pages back: proxy_io.c */
	/* Directories being renamed, and how often one was: a path built meanwhile may be wrong. */
	atomic_uint renames_running;
	atomic_uint renames_done;
	/* The same of anything: so may be the name of a file. */
	atomic_uint moves_running;
	atomic_uint moves_done;
	pthread_cond_t renamed; /* with lock */
	/*
	 * Requests that change names: begun, ended; begun when all was written out: proxy_sync.c,
	 * resolve.c.
	 */
	atomic_uint names_begun;
	atomic_uint names_ended;
	atomic_uint names_synced;
};

enum gate_verdict {
	GATE_GO,      /* handle it now, then call gate_leave() */
	GATE_WAITS,   /* a copy waits in the gate, the request is not the caller's any more */
	GATE_REFUSED, /* it was answered with an error */
};

/* Asks to handle a request now. opens: the request would open a file or a directory. */
enum gate_verdict gate_enter(struct medium *medium, struct request *req, bool opens);

/*
 * The request has been handled. Returns the next one that the caller must handle in turn (it
 * runs already), or NULL.
 */
struct request *gate_leave(struct medium *medium, struct request *req);

enum gate_view {
	GATE_HAS_ROOM, /* a request can run at once */
	GATE_IS_BUSY,  /* it would wait, or be refused; others may be changing the root */
	GATE_IS_IDLE,  /* nothing is mounted, and nothing of it changes */
};
enum gate_view gate_look(struct medium *medium);
/* Whether something may be opened in it, mounted or not: not when it goes or is ejected. */
bool gate_may_open(struct medium *medium);

/* An open file more or less. The daemon is told at the first change after it last looked. */
void medium_opened(struct medium *medium, bool writer);
void medium_closed(struct medium *medium, bool writer);
/* Something of the medium was changed. */
void medium_written(struct medium *medium);

/*
 * Closes the files that no request uses, and the root once nothing runs; the kernel's handles
 * give EIO from now on. On a thread of its own, since closing may wait for the device.
 */
void medium_abandon(struct medium *medium);
/*
 * The same, after the kernel has been told to forget the name, so that nobody finds it in the
 * cache even before the announcer's rmdir; then events.fenced is called. The notification takes
 * the root's inode lock (fuse_reverse_inval_entry() in fs/fuse/dir.c), which a client holds while
 * its LOOKUP waits for a reader: the caller may be the one that is to start the first reader.
 */
void medium_conceal(struct medium *medium);
/*
 * Once the daemon has told of all media that an earlier server had: what that one had open on
 * others is closed, on a thread, and their slots are free as soon as the kernel has forgotten them.
 */
void media_abandon_orphans(struct view *view);
/* What gate_leave() does at the end of a fenced or closing medium. May block on the device. */
void gate_settle(struct medium *medium);
/*
 * For what may wait for the device, or for a program that serves it, in place of somebody who
 * serves other media, too. fn gets a reference. Without a thread to be had the caller does it.
 */
void medium_on_a_thread(struct medium *medium, void *(*fn)(void *medium));

/* Whether every file belongs to one owner, whatever the disk says; then who. Takes no lock. */
static inline bool medium_owner(const struct medium *medium, uint32_t *ret_uid, uint32_t *ret_gid)
{
	uint64_t owner = atomic_load(&medium->owner);

	if (owner == MEDIUM_NO_OWNER)
		return false;
	*ret_uid = (uint32_t)(owner >> 32);
	*ret_gid = (uint32_t)owner;
	return true;
}

/* What is said of its directory while it is not mounted. May block on the device. */
void medium_remember_root(struct medium *medium, int root_fd);

/* Around a rename; dir: paths that lead through what moves change. */
void medium_rename_begin(struct medium *medium, bool dir);
void medium_rename_end(struct medium *medium, bool dir);
/* Waits until no directory is being renamed. */
void medium_rename_wait(struct medium *medium);
/* Waits until nothing is being renamed or one rename more than done has ended. */
void medium_move_wait(struct medium *medium, unsigned done);

/* By slot or by the daemon's id, with a reference; NULL if there is none. */
struct medium *medium_get(struct view *view, uint16_t slot);
struct medium *medium_by_id(struct view *view, uint32_t id);
/* One more, for somebody who has one. Takes no lock. */
void medium_ref(struct medium *medium);
struct medium *medium_put(struct medium *medium);
static inline void medium_putp(struct medium **medium)
{
	if (*medium)
		*medium = medium_put(*medium);
}
/* By its name in the root, among those of the given presences. With a reference, or NULL. */
struct medium *medium_by_name(struct view *view, const char *name, unsigned presences);
/* Changes the presence, and with it the times of the root. */
void medium_set_presence(struct medium *medium, enum presence presence);

/* st_ino in the view: never the same for two files of any media. */
uint64_t medium_ino(const struct medium *medium, uint16_t dev, uint64_t ino);
