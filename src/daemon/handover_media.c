/* A medium in the record that one program leaves to the next one. */
#include <stdio.h>

#include "daemon/handover.h"
#include "daemon/record.h"
#include "staging/programs.h"

#define FIELD(kind, name, member) RECORD_FIELD(struct medium, RECORD_##kind, name, member)

/* States and the like are numbers. */
_Static_assert(MEDIUM_STATE_COUNT == 13 && MEDIUM_VISIBLE == 4 && BLOCKDEV_BUS_VIRTUAL == 5 &&
		       PROBE_CRASHED == 6,
	       "raise HANDOVER_FORMAT");

static const struct record_field fields[] = {
	FIELD(NUMBER, "id", id),
	FIELD(NUMBER, "state", state),
	FIELD(NUMBER, "view", view),
	FIELD(TEXT, "reason", reason),
	/* the device */
	FIELD(TEXT, "kname", dev.kname),
	FIELD(TEXT, "disk", dev.disk),
	FIELD(NUMBER, "devnum", dev.devnum),
	FIELD(NUMBER, "disk_devnum", dev.disk_devnum),
	FIELD(NUMBER, "partno", dev.partno),
	FIELD(NUMBER, "start_sector", dev.start_sector),
	FIELD(NUMBER, "size_bytes", dev.size_bytes),
	FIELD(NUMBER, "diskseq", dev.diskseq),
	FIELD(NUMBER, "bus", dev.bus),
	FIELD(BOOL, "removable", dev.removable),
	FIELD(TEXT, "drive", dev.drive),
	FIELD(BOOL, "dev_read_only", dev.read_only),
	FIELD(BOOL, "has_partitions", dev.has_partitions),
	FIELD(BOOL, "has_holders", dev.has_holders),
	FIELD(BOOL, "hidden", dev.hidden),
	FIELD(BOOL, "unknown_hardware", dev.unknown_hardware),
	FIELD(TEXT, "vendor", dev.vendor),
	FIELD(TEXT, "model", dev.model),
	FIELD(TEXT, "hwid", dev.hwid),
	FIELD(BOOL, "looked_at", looked_at),
	FIELD(BOOL, "udev_waited", udev_waited),
	/* what is on it */
	FIELD(BOOL, "probed", probed),
	FIELD(NUMBER, "probe_outcome", probe.outcome),
	FIELD(NUMBER, "probe_err", probe.err),
	FIELD(TEXT, "usage", probe.usage),
	FIELD(TEXT, "fstype", probe.fstype),
	FIELD(TEXT, "label", probe.label),
	FIELD(TEXT, "uuid", probe.uuid),
	FIELD(TEXT, "part_type", probe.part_type),
	FIELD(NUMBER, "part_flags", probe.part_flags),
	FIELD(BOOL, "has_partition_table", probe.has_partition_table),
	FIELD(NUMBER, "probed_total_bytes", probe.fs_total_bytes),
	FIELD(NUMBER, "probed_free_bytes", probe.fs_free_bytes),
	FIELD(NUMBER, "probed_block_size", probe.fs_block_size),
	/* how it is shown */
	FIELD(BOOL, "shown", decision.shown),
	FIELD(TEXT, "rule", decision.reason),
	FIELD(TEXT, "wanted_name", decision.wanted_name),
	FIELD(TEXT, "extra_options", decision.options),
	FIELD(BOOL, "owned", decision.owner.set),
	FIELD(NUMBER, "owner_uid", decision.owner.uid),
	FIELD(NUMBER, "owner_gid", decision.owner.gid),
	FIELD(BOOL, "wanted_read_only", decision.read_only),
	FIELD(TEXT, "base", base),
	FIELD(TEXT, "name", name),
	FIELD(NUMBER, "appeared_s", appeared_s),
	FIELD(BOOL, "told_appeared", told_appeared),
	FIELD(BOOL, "redecide", redecide),
	FIELD(BOOL, "hide_asked", hide_asked),
	/* its filesystem */
	FIELD(NUMBER, "root_fd", root_fd),
	FIELD(BOOL, "read_only", read_only),
	FIELD(TEXT, "options", options),
	FIELD(BOOL, "written", written),
	FIELD(BOOL, "unsynced", unsynced),
	FIELD(BOOL, "lost", lost),
	FIELD(NUMBER, "umount_err", umount_err),
	FIELD(NUMBER, "total_bytes", total_bytes),
	FIELD(NUMBER, "free_bytes", free_bytes),
	FIELD(NUMBER, "block_size", block_size),
	FIELD(BOOL, "had_failed", had_failed),
};

int handover_leave_medium(struct handover *h, const struct medium *m)
{
	struct json_object *object = json_object_new_object();
	int r = record_pack(fields, ARRAY_SIZE(fields), m, object);

	if (r == 0)
		r = record_add(object, "driver",
			       json_object_new_string(m->driver ? m->driver->kernel_type : ""));
	if (r == 0 && json_object_array_add(h->media, object) < 0)
		r = -ENOMEM;
	if (r < 0) {
		json_object_put(object);
		return r;
	}
	return handover_leave_fd(h, m->root_fd);
}

/* What is shown, and what lives on without a mount point, is dealt with by its driver. */
static bool needs_driver(const struct medium *m)
{
	return m->view != MEDIUM_ABSENT || m->umount_err != 0;
}

static bool is_settled(const struct medium *m)
{
	bool idle = m->state == MEDIUM_IDLE || m->state == MEDIUM_FAILED ||
		    m->state == MEDIUM_HIDDEN || m->state == MEDIUM_EJECTED;
	bool absent = m->view == MEDIUM_ABSENT && *m->name == '\0';
	bool visible = m->view == MEDIUM_VISIBLE && *m->name != '\0';

	return m->id >= 1 && m->id <= LIMIT_MEDIA && (idle || medium_in_use(m)) &&
	       (absent || visible);
}

int handover_take_medium(struct json_object *object, struct medium *m, char *error,
			 size_t error_size)
{
	struct json_object *driver = NULL;
	const char *name;

	if (record_unpack(fields, ARRAY_SIZE(fields), object, m, &name) < 0) {
		(void)snprintf(error, error_size, "missing or wrong in a medium's record: %s",
			       name);
		return -EBADMSG;
	}
	(void)json_object_object_get_ex(object, "driver", &driver);
	m->driver = driver_named(m->probe.fstype, driver ? json_object_get_string(driver) : "");
	if (is_settled(m) && (m->driver || !needs_driver(m)))
		return 0;
	(void)snprintf(error, error_size, "a medium of the record cannot be taken over: %s",
		       m->dev.kname);
	return m->driver ? -EBADMSG : -EPROTONOSUPPORT;
}
