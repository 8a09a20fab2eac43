#include "device/policy.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "base/log.h"

/* What we mount (DESIGN section 6). */
static const char *const types_shown[] = {
	"ext2",	 "ext3", "ext4",    "xfs", "btrfs",   "f2fs",	  "vfat",
	"exfat", "ntfs", "iso9660", "udf", "hfsplus", "squashfs", "erofs",
};

/*
 * Partition types that are never shown, whatever is in them. Swap, LVM, RAID and encryption are
 * known by their content instead: the type is often wrong.
 */
static const struct {
	const char *type;
	const char *what;
} partitions_hidden[] = {
	{"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "an EFI system partition"},
	{"0xef", "an EFI system partition"},
	{"21686148-6449-6e6f-744e-656564454649", "a BIOS boot partition"},
	{"e3c9e316-0b5c-4db8-817d-f92df00215ae", "a Microsoft reserved partition"},
	{"de94bba4-06d1-4d40-a16a-bfd50179d6ac", "a Windows recovery partition"},
	{"0x27", "a Windows recovery partition"},
	{"426f6f74-0000-11aa-aa11-00306543ecac", "an Apple boot partition"},
	{"5265636f-7665-11aa-aa11-00306543ecac", "an Apple TV recovery partition"},
	{"0x12", "a diagnostics or recovery partition"},
};

/*
 * Attributes of a GPT entry of the basic data type: "hidden" and "no drive letter"
 * (PARTITION_BASIC_DATA_GPT, winioctl.h).
 */
#define GPT_BASIC_DATA	 "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
#define GPT_FLAGS_HIDDEN (1ull << 62 | 1ull << 63)

/* Usage of the content, where it is not a filesystem. */
static const struct {
	const char *usage;
	const char *what;
} usages[] = {
	{"raid", "a part of a RAID or LVM"},
	{"crypto", "encrypted: unlock it on the host and include the unlocked device"},
	{"other", "not a filesystem"},
};

enum match {
	MATCH_NO,
	MATCH_YES,
	MATCH_UNKNOWN, /* a probe will tell */
};

static enum match match_text(const char *glob, const char *text, bool known, int flags)
{
	if (!glob)
		return MATCH_YES;
	if (!known)
		return MATCH_UNKNOWN;
	return fnmatch(glob, text, flags) == 0 ? MATCH_YES : MATCH_NO;
}

static bool match_kname(const char *glob, const struct blockdev *dev)
{
	return fnmatch(glob, dev->kname, 0) == 0 || fnmatch(glob, dev->disk, 0) == 0;
}

static enum match rule_matches(const struct config_rule *rule, const struct policy_input *in)
{
	const struct probe_result *probe = in->probe;
	const enum match all[] = {
		rule->kname && !match_kname(rule->kname, in->dev) ? MATCH_NO : MATCH_YES,
		match_text(rule->vendor, in->dev->vendor, true, FNM_CASEFOLD),
		match_text(rule->model, in->dev->model, true, FNM_CASEFOLD),
		match_text(rule->label, probe ? probe->label : "", probe, 0),
		match_text(rule->uuid, probe ? probe->uuid : "", probe, FNM_CASEFOLD),
		match_text(rule->fstype, probe ? probe->fstype : "", probe, 0),
	};
	enum match result = MATCH_YES;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (all[i] == MATCH_NO)
			return MATCH_NO;
		if (all[i] == MATCH_UNKNOWN)
			result = MATCH_UNKNOWN;
	}
	return result;
}

/* The first glob that matches, or NULL. */
static const char *globs_match(const struct config_globs *globs, const struct blockdev *dev)
{
	for (size_t i = 0; i < globs->count; i++)
		if (match_kname(globs->globs[i], dev))
			return globs->globs[i];
	return NULL;
}

static const struct config_rule *rule_setting_hidden(const struct policy_input *in, bool *ret_maybe)
{
	*ret_maybe = false;
	for (const struct config_rule *r = in->config->rules; r; r = r->next) {
		enum match match = r->hidden < 0 ? MATCH_NO : rule_matches(r, in);

		if (match == MATCH_YES)
			return r;
		if (match == MATCH_UNKNOWN && r->hidden == 0)
			*ret_maybe = true;
	}
	return NULL;
}

static bool say(char *reason, size_t size, const char *fmt, ...) _printf_(3, 4);

/* Writes the reason; returns false, for the rules that refuse. */
static bool say(char *reason, size_t size, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(reason, size, fmt, args);
	va_end(args);
	return false;
}

/* What no inclusion can change, as far as it is known without a probe. */
static bool never_shown(const struct policy_input *in, char *reason, size_t size)
{
	const struct blockdev *dev = in->dev;

	if (dev->hidden)
		return !say(reason, size, "hidden by the kernel (a path of a multipath device)");
	if (dev->has_partitions)
		return !say(reason, size, "has partitions, which are judged by themselves");
	if (dev->size_bytes == 0)
		return !say(reason, size, "no medium in it");
	if (in->system_disk)
		return !say(reason, size, "the host uses this disk (mounted or swap on it)");
	if (dev->has_holders)
		return !say(reason, size, "in use by a device built on it (LVM, RAID, encryption)");
	if (in->udisks_ignore)
		return !say(reason, size, "udev says UDISKS_IGNORE=1");
	return false;
}

static bool bus_is_for_media(enum blockdev_bus bus)
{
	return bus == BLOCKDEV_BUS_USB || bus == BLOCKDEV_BUS_FIREWIRE || bus == BLOCKDEV_BUS_MMC ||
	       bus == BLOCKDEV_BUS_MEMSTICK;
}

static bool content_allows(const struct policy_input *in, char *reason, size_t size);

/* Nobody is told to include what would not be shown then. */
static bool is_not_removable(const struct policy_input *in, char *reason, size_t size)
{
	if (in->probe && !content_allows(in, reason, size))
		return false;
	return say(reason, size, "not removable; --include %s shows it%s", in->dev->kname,
		   in->probe ? "" : " if it holds a filesystem");
}

/* Whether this kind of device is wanted; the reason is set either way. */
static bool is_wanted(const struct policy_input *in, char *reason, size_t size)
{
	const struct blockdev *dev = in->dev;
	const char *glob = globs_match(&in->config->exclude, dev);
	const struct config_rule *rule;
	bool maybe;

	if (glob)
		return say(reason, size, "excluded by --exclude %s", glob);
	rule = rule_setting_hidden(in, &maybe);
	if (rule && rule->hidden == 1 && !maybe)
		return say(reason, size, "hidden by [match %s] in line %u of the configuration",
			   rule->title, rule->line);
	glob = globs_match(&in->config->include, dev);
	if (rule && rule->hidden == 0)
		(void)say(reason, size, "shown by [match %s] in line %u of the configuration",
			  rule->title, rule->line);
	else if (maybe)
		(void)say(reason, size, "a rule of the configuration may show it");
	else if (glob)
		(void)say(reason, size, "shown by --include %s", glob);
	else if (bus_is_for_media(dev->bus))
		(void)say(reason, size, "a medium on %s", blockdev_bus_name(dev->bus));
	else if (dev->removable)
		(void)say(reason, size, "a removable medium");
	else
		return is_not_removable(in, reason, size);
	return true;
}

/* Nobody but an open makes the kernel look whether a medium has come. */
static bool is_empty_drive(const struct blockdev *dev)
{
	return dev->size_bytes == 0 && dev->partno == 0 && dev->removable && !dev->has_partitions &&
	       !dev->hidden;
}

bool policy_wants_probe(const struct policy_input *in, char *reason, size_t reason_size)
{
	struct policy_input before = *in;

	before.probe = NULL;
	if (never_shown(in, reason, reason_size) && !is_empty_drive(in->dev))
		return false;
	return is_wanted(&before, reason, reason_size);
}

bool policy_wants_asking(const struct policy_input *in)
{
	struct policy_input before = *in;
	char reason[LIMIT_REASON];

	before.probe = NULL;
	return !in->system_disk && !in->dev->hidden && is_wanted(&before, reason, sizeof(reason));
}

/* The probe recognised nothing that could be shown. */
static bool outcome_allows(const struct policy_input *in, char *reason, size_t size)
{
	const struct probe_result *probe = in->probe;
	const char *kname = in->dev->kname;

	switch (probe->outcome) {
	case PROBE_FOUND:
		return true;
	case PROBE_NOTHING:
		if (probe->has_partition_table)
			return say(reason, size,
				   "has a partition table that the kernel has not read; "
				   "partx --add /dev/%s makes it do so",
				   kname);
		return say(reason, size, "no filesystem recognised: not formatted, or encrypted");
	case PROBE_AMBIVALENT:
		return say(reason, size,
			   "holds signatures of several filesystems; wipefs /dev/%s lists them",
			   kname);
	case PROBE_NO_MEDIUM:
		return say(reason, size, "no medium in it");
	case PROBE_ERROR:
		return say(reason, size, "cannot be read (%s)%s", errno_name(-probe->err),
			   probe->err == -EPERM || probe->err == -EACCES
				   ? "; this container needs a device rule for it"
				   : "");
	case PROBE_TIMEOUT:
		return say(reason, size, "did not answer in time; plug it in again");
	case PROBE_CRASHED:
		return say(reason, size,
			   "the probe crashed on it: a damaged or hostile filesystem");
	}
	return say(reason, size, "not probed");
}

static bool usage_allows(const struct policy_input *in, char *reason, size_t size)
{
	const struct probe_result *probe = in->probe;
	const char *what = "not a filesystem";

	if (!streq(probe->usage, "filesystem")) {
		for (size_t i = 0; i < ARRAY_SIZE(usages); i++)
			if (streq(probe->usage, usages[i].usage))
				what = usages[i].what;
		return say(reason, size, "%s (%s)", what, probe->fstype);
	}
	for (size_t i = 0; i < ARRAY_SIZE(types_shown); i++)
		if (streq(probe->fstype, types_shown[i]))
			return true;
	return say(reason, size, "filesystem type %s is not supported", probe->fstype);
}

/* Windows hides a partition by its attributes, and so do we unless somebody asks for it. */
static bool partition_allows(const struct policy_input *in, char *reason, size_t size)
{
	const struct probe_result *probe = in->probe;
	bool maybe;

	for (size_t i = 0; i < ARRAY_SIZE(partitions_hidden); i++)
		if (strcasecmp(probe->part_type, partitions_hidden[i].type) == 0)
			return say(reason, size, "%s, which is never shown",
				   partitions_hidden[i].what);
	if (strcasecmp(probe->part_type, GPT_BASIC_DATA) != 0 ||
	    !(probe->part_flags & GPT_FLAGS_HIDDEN))
		return true;
	if (globs_match(&in->config->include, in->dev) || rule_setting_hidden(in, &maybe))
		return true;
	return say(reason, size, "marked as hidden in the partition table; --include %s shows it",
		   in->dev->kname);
}

/* What the probe found can be shown; else the reason is set. */
static bool content_allows(const struct policy_input *in, char *reason, size_t size)
{
	return outcome_allows(in, reason, size) && usage_allows(in, reason, size) &&
	       partition_allows(in, reason, size);
}

/* Each setting comes from the first matching rule that has it. */
static void apply_rules(const struct policy_input *in, struct policy_decision *decision)
{
	int read_only = -1;

	for (const struct config_rule *r = in->config->rules; r; r = r->next) {
		if (rule_matches(r, in) != MATCH_YES)
			continue;
		if (r->name && !decision->wanted_name[0])
			(void)str_copy(decision->wanted_name, sizeof(decision->wanted_name),
				       r->name);
		if (r->options && !decision->options[0])
			(void)str_copy(decision->options, sizeof(decision->options), r->options);
		if (r->owner.set && !decision->owner.set)
			decision->owner = r->owner;
		if (read_only < 0)
			read_only = r->read_only;
	}
	if (!decision->owner.set)
		decision->owner = in->config->owner;
	decision->read_only = read_only < 0 ? in->config->read_only : read_only == 1;
	decision->read_only |= in->dev->read_only;
}

void policy_decide(const struct policy_input *in, struct policy_decision *ret_decision)
{
	struct policy_decision decision = {0};
	const size_t size = sizeof(decision.reason);
	char why_not[LIMIT_REASON];

	decision.shown = false;
	if (!never_shown(in, decision.reason, size) && is_wanted(in, decision.reason, size)) {
		decision.shown = content_allows(in, why_not, size);
		if (!decision.shown)
			(void)STR_COPY(decision.reason, why_not);
	}
	if (decision.shown)
		apply_rules(in, &decision);
	*ret_decision = decision;
}
