/*
 * The broker's parts in one object, and what its files ask of one another. Everything runs in
 * one thread, from callbacks of the event loop; nothing waits for a device or for the server.
 *
 *   watch, udev ─► reconcile ─► probing ─► reconcile (policy) ─► visibility (names, announcer)
 *   server      ─► server_events ─► storage (mount, sync, unmount) ─► staging
 *   control     ─► commands ─► storage
 */
#pragma once

#include "daemon/announcer.h"
#include "daemon/broker.h"
#include "daemon/control.h"
#include "daemon/guard.h"
#include "daemon/notify.h"
#include "daemon/registry.h"
#include "daemon/supervisor.h"
#include "daemon/sysdisk.h"
#include "daemon/udev.h"
#include "daemon/watch.h"
#include "device/names.h"

enum broker_phase {
	BROKER_STARTING, /* the server is not ready */
	BROKER_COLD,	 /* the devices that are there at the start are looked at */
	BROKER_SERVING,
	BROKER_ENDING,
};

/* Whether this program has just taken the place of another one in this process. */
enum broker_takeover {
	TAKEOVER_NONE,
	TAKEOVER_DONE,
	TAKEOVER_RETURNED, /* from one that could not, after it had taken ours */
};

/* Whether the daemon goes before other programs where the CPU is busy. */
enum broker_precedence {
	PRECEDENCE_NEVER, /* not allowed to, or somebody has given it a priority */
	PRECEDENCE_RESTS, /* broker and announcer have it, which do little; the server has not */
	PRECEDENCE_TAKEN, /* the server, too: a disk comes or goes */
};

struct handover;
struct keep;
struct shutdown;
struct upgrade;
struct written;

struct broker {
	const struct broker_args *args;
	struct config *config;
	char *mountpoint;
	char *program; /* where this program is executed from; NULL: not known */
	enum broker_phase phase;
	int sysfs_fd;
	int proc_fd;
	int dev_fd;

	struct loop *loop;
	struct names *names;
	struct staging *staging;
	struct supervisor *server;
	struct announcer *announcer;
	struct control *control; /* NULL once the daemon ends */
	struct watch *watch;
	struct udev_source *udev;
	struct written *written;   /* NULL: events tell of it */
	struct shutdown *shutdown; /* NULL until the daemon ends */
	struct workload *workload; /* COMMAND; NULL: there is none */
	struct guard *guard;	   /* only with a workload */
	int lost;		   /* -errno: the view is gone, COMMAND is to end */
	struct upgrade *upgrade;   /* while another program is to take over */
	struct handover *handover; /* until takeover_commit() */
	bool stored;	   /* handover is from the service manager, and no process is left */
	bool left;	   /* the view is the service manager's */
	uint64_t sequence; /* of the last record that was kept by an earlier program */
	struct keep *keep; /* NULL: nothing is kept */
	int record_fd;	   /* of handover */
	enum broker_takeover takeover; /* until that has been told */
	int events_fd;		       /* an inherited socket of events, of watch; or -EBADF */

	enum broker_precedence precedence;
	uint64_t precedence_until_ms;	     /* while TAKEN */
	struct loop_timer *precedence_timer; /* while TAKEN */

	struct registry registry;
	struct sysdisk sysdisk;
	bool sysdisk_known;
	uint64_t sysdisk_ms; /* when it was read; 0: it is to be read */
	struct list probe_queue;
	struct list drives;  /* of drives.c */
	struct list powers;  /* of power.c */
	uint32_t power_last; /* id of the last one */
	unsigned probes_running;
	bool server_ready; /* the server that was started last */
	bool passthrough;  /* of the connection */
	bool resend;	   /* the same */
	struct loop_timer *ready_timer;
	struct notify_ready ready;
	struct loop_timer *reap_timer;
	struct loop_timer *look_timer; /* until devices that could not be looked at are again */
	unsigned look_tries;	       /* in a row */
};

/* broker.c */

/* The server is ready for the first time, or again. */
void broker_server_ready(struct broker *b);
/* What the staging namespace is made with; borrowed from the broker. */
struct staging_args broker_staging_args(struct broker *b);
/* Says READY once all that was there at the start has been looked at and is visible. */
void broker_check_ready(struct broker *b);

/* reconcile.c: what the devices are -> what is shown */

enum reconcile_mode {
	RECONCILE_EVENT,  /* something happened: look again, also on the device */
	RECONCILE_RELOAD, /* other settings: decide again on what is known to be a disk for us */
};

/* Brings one device up to date with sysfs, whatever an event said of it. */
void reconcile_device(struct broker *b, const char *kname, enum reconcile_mode mode);
/* The same for all devices that there are and all that are known. */
void reconcile_all(struct broker *b, enum reconcile_mode mode);
/* Whether its disk holds a mount or swap of the host, or that is not known. */
bool reconcile_is_hosts(struct broker *b, const struct blockdev *dev);
/* A medium has come to rest; decides what was put off while it was in use. */
void reconcile_put_off(struct broker *b, struct medium *m);
/* A probe ended. */
void reconcile_probed(struct broker *b, struct medium *m, const struct probe_result *result);
/* No longer to be shown, and why. The filesystem must not be mounted. */
void reconcile_conceal(struct broker *b, struct medium *m, const char *reason);

/* probing.c: a few probes at a time */

void probing_request(struct broker *b, struct medium *m);
void probing_cancel(struct broker *b, struct medium *m);
/* After some were cancelled: there may be room for others. */
void probing_go_on(struct broker *b);
bool probing_quiet(const struct broker *b);

/* drives.c: drives whose medium can be exchanged, see device/drive.h */

/* Sees to it that an exchange is noticed; dev: the whole disk. */
void drives_watch(struct broker *b, const struct blockdev *dev);
/* The contrary: it stays, and is not of interest any more. */
void drives_unwatch(struct broker *b, const char *kname);
void drives_unwatch_all(struct broker *b);
/* It is gone. */
void drives_forget(struct broker *b, const char *kname);
/* The medium on which this was mounted is out: nothing may reach the next one. */
void drives_cut_off(struct broker *b, const struct blockdev *dev);
void drives_free(struct broker *b);
/* Whether one is being reset or let go of. */
bool drives_busy(const struct broker *b);

/* power.c: hardware that somebody wants switched off, see device/power.h */

/* Ejects all disks of the device that this one is part of, then switches it off; answers peer. */
void power_begin(struct broker *b, struct medium *m, enum medium_asked asked,
		 struct control_peer *peer);
/* An ejection has ended; as commands_eject_done(). */
void power_ejected(struct broker *b, const struct medium *m, int err, const char *text);
/* A medium is gone. */
void power_removed(struct broker *b);
/* Whether one is being switched off. */
bool power_busy(const struct broker *b);
/* The daemon ends. */
void power_stop(struct broker *b);

/* written.c: disks that are not shown, and are formatted while they are there */

/* Without it the daemon works, and says that it cannot watch. */
void written_start(struct broker *b);
/* Accepts NULL, returns NULL. */
struct written *written_free(struct written *w);
/* A probe of the medium found nothing to be shown: another one as soon as it was written to. */
void written_watch(struct broker *b, struct medium *m);

/* precedence.c: before other programs */

void precedence_start(struct broker *b);
/* For as long as it takes until a disk has come or gone. */
void precedence_take(struct broker *b);
/* A server begins without. */
void precedence_server_started(struct broker *b);

/* visibility.c: names in the view */

/* The server knows it: time for the announcer. */
void visibility_added(struct broker *b, struct medium *m);
/* What keep_has_names() had to wait for has come. */
void visibility_kept(struct broker *b);
void visibility_show(struct broker *b, struct medium *m);
/* Fences the medium and takes its name away. */
void visibility_hide(struct broker *b, struct medium *m);
/* The server has fenced it: the name goes. */
void visibility_fenced(struct broker *b, struct medium *m);
/* Tells the server new facts, now or, if that was done just before, a moment later. */
void visibility_update(struct broker *b, struct medium *m);
void visibility_update_soon(struct broker *b, struct medium *m);
/* The announcer's report. */
void visibility_announced(uint32_t id, bool make, int err, void *data);
/* Tells a new server everything. */
void visibility_resend(struct broker *b);

/* storage.c: mounting and using */

void storage_want_mount(struct broker *b, struct medium *m);
void storage_use(struct broker *b, struct medium *m, const struct link_message *message);
/* Starts a mount that was put off. */
void storage_mount_wanted(struct broker *b, struct medium *m);
/* Sets the state that follows from the counts, and arms the sync. */
void storage_settle(struct broker *b, struct medium *m);
int storage_sync(struct broker *b, struct medium *m);
/* What an earlier program may have left mounted: MEDIUM_MOUNTING until it is known. */
void storage_find(struct broker *b, struct medium *m);
/* A new server knows nothing of the filesystem. */
void storage_resend(struct broker *b, struct medium *m);
/* The program that served a medium has ended although it should not have: for staging_new(). */
void storage_driver_died(uint32_t id, const char *fate, void *data);
/* Takes space from a result that knows it. */
void storage_take_space(struct medium *m, const struct staging_result *result);

/* closing.c: unmounting in order */

void closing_start(struct broker *b, struct medium *m, enum medium_purpose purpose);
/* The server's answer to LINK_CLOSE. */
void closing_closed(struct broker *b, struct medium *m, const struct link_message *message);
/* A sync that ran when closing began has ended. */
void closing_next(struct broker *b, struct medium *m);
/* Ejects as soon as that is possible; answers the clients that wait for it. */
void closing_eject(struct broker *b, struct medium *m, enum medium_asked what);
/* Something has ended: ejects if that was asked for meanwhile. Returns whether it was. */
bool closing_asked(struct broker *b, struct medium *m);
/* What somebody has to know who pulls it now that it was unmounted; NULL: nothing. */
const char *closing_flaw(const struct medium *m);
/*
 * It was ejected while somebody else had it: finds out whether that is still so, then answers those
 * who wait for its ejection. Returns false, and does nothing, if nobody had it.
 */
bool closing_claim_again(struct broker *b, struct medium *m);
void closing_resend(struct broker *b, struct medium *m);
/* Goes to BROKER_ENDING's way of closing, whatever was going on. */
void closing_for_exit(struct broker *b, struct medium *m);

/* removal.c: the device is gone */

/* If it is mounted: nothing more may be written to the drive, whose medium is another one. */
void removal_cut_off(struct broker *b, const struct medium *m);
void removal_start(struct broker *b, struct medium *m);
/* Frees it, a little later, once nothing is left of it. */
void removal_finish(struct broker *b, struct medium *m);

/* commands.c: the control socket */

void commands_request(struct control_peer *peer, const struct control_request *request, void *data);
/* Tells monitors and those who wait. */
void commands_event(struct broker *b, struct medium *m, const char *event);
/* Answers those who wait for an ejection; err 0: it is done; else text says why not, or in state
 * EJECTED what is wrong with it. */
void commands_eject_done(struct broker *b, struct medium *m, int err, const char *text);

/* The same for those who wait until a device is switched off. */
void commands_power_done(struct broker *b, uint32_t id, int err, const char *text);

/* Answers those who wait for an upgrade. */
void commands_upgrade_done(struct broker *b, int err, const char *text);

/* server_events.c: what the server says */

extern const struct supervisor_events server_events;
void server_announcer_started(pid_t pid, void *data);
void server_send(struct broker *b, const struct medium *m, enum link_type type, uint32_t flags,
		 int err, int fd);

/* reload.c */

/* Reads it anew; a broken one is refused and changes nothing. */
void reload_config(struct broker *b);

/* running.c: COMMAND; each of them does nothing, or is not to be called, when there is none */

/* Before the view is mounted: prepares for COMMAND. */
int running_prepare(struct broker *b);
/* Adds the signals that are for COMMAND, or end it. */
void running_signals(struct broker *b, sigset_t *set);
/* The view is ready: starts COMMAND. */
void running_start(struct broker *b);
void running_signal(struct broker *b, const struct signalfd_siginfo *info);
/* There is no view any more: ends COMMAND, and then the daemon with err. */
void running_lost(struct broker *b, int err);

/* upgrade.c: another program takes the place of this one */

void upgrade_begin(struct broker *b);
/* The daemon ends: there is nothing to take over. */
void upgrade_cancel(struct broker *b);
/*
 * Whether there is something that the next program could not go on with, and what; or a request
 * hangs on its device: the server could not be killed, and nobody would serve the other media.
 */
bool upgrade_in_flight(struct broker *b, char *ret_why, size_t size);
/* What every record has. Returns 0 or -errno. */
int upgrade_leave_facts(struct broker *b, struct handover *h);

/* keep.c: what the service manager keeps; each does nothing where it keeps nothing */

#define KEEP_PREFIX "hotplugfs-" /* of the descriptors' names */
/* The server is ready. */
void keep_start(struct broker *b);
/* Something changed that the next start has to know. */
void keep_changed(struct broker *b);
/* The same at once, for what somebody is about to be told of. */
void keep_now(struct broker *b);
/*
 * Whether names that are to be shown are kept, so that the next start knows the disk when somebody
 * has used it. Writes if need be; if that has to wait, visibility_kept() is called soon.
 */
bool keep_has_names(struct broker *b);
/* The daemon ends, and the view with it. */
void keep_forget(struct broker *b);
/* The same before there is anything else. */
void keep_forget_all(void);
/* For the next program in this process. */
uint64_t keep_sequence(const struct broker *b);
/* The daemon ends, the view does not. Returns false if that cannot be. */
bool keep_leave(struct broker *b);

/* takeover.c: this program takes the place of another one; each returns 0 or -errno */

/* Reads what that one has left, if there was one. Sets handover, mountpoint and program. */
int takeover_begin(struct broker *b);
/* Instead of making them anew: */
int takeover_workload(struct broker *b);
int takeover_control(struct broker *b);
int takeover_staging(struct broker *b);
int takeover_server(struct broker *b, const struct supervisor_args *args,
		    const struct supervisor_events *events);
int takeover_media(struct broker *b);
/* All has been taken; from now on there is no way back. supervisor_start() is to follow. */
void takeover_commit(struct broker *b);
/* Another server serves. */
void takeover_ready(struct broker *b);

struct name_record;
int takeover_job_pack(const struct staging_left_job *job, struct json_object *into);
int takeover_name_pack(const struct name_record *record, struct json_object *into);

/* restart.c: what the service manager has kept is taken back */

/* Sets handover, mountpoint and stored if there is something. Returns 0 or -errno. */
int restart_begin(struct broker *b);
/* Once there is a loop to come back to: finds out what is mounted, removes names that are to go. */
void restart_find(struct broker *b);

/* shutdown.c */

/* Ends the daemon in order, with this exit code; a second call hurries. */
void shutdown_begin(struct broker *b, int code);
/* A medium has come to rest while the daemon ends. */
void shutdown_medium_rests(struct broker *b);
/* The server has ended. */
void shutdown_server_ended(struct broker *b);
