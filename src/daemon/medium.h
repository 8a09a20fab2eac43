/*
 * A block device as the broker sees it, from the first event to its removal: what it is, whether
 * it has a name in the view, and what becomes of its filesystem. One medium per device identity;
 * another stick on an old device number is another medium.
 */
#pragma once

#include "base/list.h"
#include "device/blockdev.h"
#include "device/policy.h"
#include "device/probe.h"
#include "staging/staging.h"

/* What becomes of the filesystem. */
enum medium_state {
	MEDIUM_NEW,	   /* not yet probed */
	MEDIUM_HIDDEN,	   /* not to be shown, reason says why */
	MEDIUM_IDLE,	   /* not mounted: safe to pull */
	MEDIUM_MOUNTING,   /* a mount job runs */
	MEDIUM_CLEAN,	   /* mounted, nothing unwritten */
	MEDIUM_BUSY,	   /* mounted, open for writing */
	MEDIUM_DIRTY,	   /* mounted, written and not yet synced */
	MEDIUM_CLOSING,	   /* idle: the server gives the root back, then it is synced */
	MEDIUM_UNMOUNTING, /* idle: an unmount job runs */
	MEDIUM_EJECTING,   /* the same three steps because somebody asked for it */
	MEDIUM_EJECTED,	   /* not shown again until it is plugged anew */
	MEDIUM_FAILED,	   /* could not be mounted or unmounted, tried again at the next access */
	MEDIUM_REMOVED,	   /* the device is gone; what is left is taken down */
	MEDIUM_STATE_COUNT,
};

/* What becomes of its name in the view. */
enum medium_view {
	MEDIUM_ABSENT,
	MEDIUM_WAITING,	  /* for another name to be gone first */
	MEDIUM_ADDING,	  /* the server is told of it */
	MEDIUM_APPEARING, /* the announcer's mkdir is on its way */
	MEDIUM_VISIBLE,
	MEDIUM_VANISHING, /* the announcer's rmdir is on its way */
};

/* Why a filesystem is being closed, in the states CLOSING, UNMOUNTING and EJECTING. */
enum medium_purpose {
	MEDIUM_CLOSE_IDLE,
	MEDIUM_CLOSE_EJECT,
	MEDIUM_CLOSE_EJECT_FORCE,
	MEDIUM_CLOSE_HIDE, /* the configuration does not show it any more */
	MEDIUM_CLOSE_EXIT, /* the daemon ends */
	MEDIUM_CLOSE_DIED, /* the program that served it has ended */
};

/* How far closing has come. */
enum medium_step {
	MEDIUM_STEP_SERVER, /* the server has been asked to stop using it */
	MEDIUM_STEP_SYNC,
	MEDIUM_STEP_UMOUNT,
};

/* What somebody asks for while something else goes on: it is done after that. More beats less. */
enum medium_asked {
	MEDIUM_ASKED_NOTHING,
	MEDIUM_ASKED_EJECT,
	MEDIUM_ASKED_EJECT_FORCE,
};

enum medium_probing {
	MEDIUM_PROBE_NONE,
	MEDIUM_PROBE_QUEUED,
	MEDIUM_PROBE_RUNNING,
	MEDIUM_PROBE_AGAIN, /* running, and something happened meanwhile: once more afterwards */
};

struct broker;

struct medium {
	struct broker *broker;
	uint32_t id; /* index in the registry, 1..LIMIT_MEDIA */
	enum medium_state state;
	enum medium_view view;
	bool mkdir_queued; /* while APPEARING: the announcer was told */
	bool rmdir_queued; /* while VANISHING: the server has fenced it, the announcer was told */
	char reason[LIMIT_REASON]; /* for people; "" if there is nothing to say */

	/* what it is */
	struct blockdev dev;
	enum medium_probing probing;
	struct probe *probe_job;
	struct list probe_link; /* in the queue */
	bool probed;		/* probe holds a result */
	struct probe_result probe;
	struct loop_timer *probe_timer; /* until the next try of what could not be read */
	unsigned probe_tries;		/* in vain, in a row */
	bool looked_at;			/* a drive: it was opened since its medium was exchanged */
	int node_watch;			/* of written.c; 0: none */
	struct loop_timer *udev_timer;	/* not yet in udev's database */
	bool udev_waited;

	/* how it is shown */
	struct policy_decision decision;
	const struct driver *driver;
	char base[LIMIT_NAME + 1]; /* the name that it would have if it were alone */
	char name[LIMIT_NAME + 1]; /* "" without a name */
	uint64_t appeared_s;	   /* CLOCK_REALTIME */
	bool told_appeared;	   /* the event was sent: removal must send one, too */
	bool redecide;		   /* the configuration or the device changed while it was in use */
	bool hide_asked;	   /* the configuration hides it: as soon as it is in use */

	/* its filesystem */
	struct staging_job *job; /* at most one */
	struct helper *claim;	 /* EJECTING: whether somebody else uses the device is found out */
	bool claimed;		 /* somebody does */
	int root_fd;		 /* O_PATH, until somebody unmounts it; else -EBADF */
	enum medium_purpose purpose;
	enum medium_step step;
	enum medium_asked asked;   /* see closing.c */
	uint32_t power_id;	   /* of power.c, for which it is ejected; 0: none */
	bool seeking;		   /* MOUNTING: whether it is mounted is being found out */
	bool wanted;		   /* requests wait for the mount */
	uint64_t release_until_ms; /* for the last close of its files to arrive, when ejecting */
	bool read_only;		   /* as mounted, or as it would be */
	char options[LIMIT_OPTIONS];
	uint32_t writers;
	uint32_t openers;
	bool written;  /* since the last sync began */
	bool unsynced; /* before it, and it has not succeeded */
	bool lost;     /* some of what was written since it was mounted is not on the disk */
	/*
	 * Why it could not be unmounted: its filesystem lives on, though nobody has its root, or
	 * may do so. 0: it does not. It may still be written to the device, whatever is in there
	 * then.
	 */
	int umount_err;
	uint64_t total_bytes; /* 0: not known */
	uint64_t free_bytes;
	uint32_t block_size;
	bool had_failed; /* the last mount failed, as the log already says */
	struct loop_timer *sync_timer;
	struct loop_timer *close_timer;
	struct loop_timer *update_timer; /* runs while updates pause */
	bool update_pending;
};

/* Whether a change of state is one that the daemon may make. Pure. */
bool medium_may_become(enum medium_state from, enum medium_state to);

/* The one place where a state changes: asserts that it may, logs it at debug. */
void medium_set_state(struct medium *medium, enum medium_state state);

/* The word that users see: "idle", "mounting", "clean" and so on. Static storage. */
const char *medium_state_name(const struct medium *medium);

/* Mounted, and the server has its root. Pure. */
bool medium_in_use(const struct medium *medium);

/* Being mounted, mounted, or being unmounted: not to be decided upon anew. Pure. */
bool medium_is_engaged(const struct medium *medium);

/* Whether the device is the same piece of hardware with the same content slot. Pure. */
bool medium_same_device(const struct blockdev *a, const struct blockdev *b);

/* Whether two probes saw the same filesystem. Pure. */
bool medium_same_content(const struct probe_result *a, const struct probe_result *b);

/*
 * "What disk is this", for names_assign(): UUID and hardware id. Pure.
 */
struct medium_identity {
	char text[LIMIT_UUID + LIMIT_HWID + 2];
};
struct medium_identity medium_identity(const struct medium *medium);

/* The state that follows from the counts: BUSY, DIRTY or CLEAN. Pure. */
enum medium_state medium_mounted_state(const struct medium *medium);

/* What an error of its device means, in words for people. */
const char *medium_error_text(int err);

void medium_set_reason(struct medium *medium, const char *fmt, ...) _printf_(2, 3);
