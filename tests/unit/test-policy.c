/* Every rule of the policy, on made-up facts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "device/policy.h"

struct world {
	struct config *config;
	struct blockdev dev;
	struct probe_result probe;
	struct policy_input in;
	struct policy_decision decision;
};

/* A USB stick with one ext4 partition; the tests change what they are about. */
static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	assert_int_equal(config_new(&w->config), 0);
	w->dev = (struct blockdev){.kname = "sdb1",
				   .disk = "sdb",
				   .partno = 1,
				   .size_bytes = 1 << 30,
				   .bus = BLOCKDEV_BUS_USB,
				   .vendor = "Kingston",
				   .model = "DataTraveler 3.0"};
	w->probe = (struct probe_result){.outcome = PROBE_FOUND,
					 .usage = "filesystem",
					 .fstype = "ext4",
					 .label = "BACKUP",
					 .uuid = "1234-ABCD"};
	w->in = (struct policy_input){.config = w->config, .dev = &w->dev, .probe = &w->probe};
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	config_free(w->config);
	free(w);
	return 0;
}

static void include(struct world *w, const char *key, const char *globs)
{
	char error[200];

	assert_int_equal(config_set(w->config, key, globs, error, sizeof(error)), 0);
}

static struct config_rule *add_rule(struct world *w)
{
	struct config_rule *rule = calloc(1, sizeof(*rule));
	struct config_rule **end = &w->config->rules;

	assert_non_null(rule);
	rule->title = strdup("test");
	rule->line = 7;
	rule->read_only = rule->hidden = -1;
	while (*end)
		end = &(*end)->next;
	*end = rule;
	return rule;
}

static void decide(struct world *w)
{
	char reason[LIMIT_REASON] = "";
	bool wanted = policy_wants_probe(&w->in, reason, sizeof(reason));

	policy_decide(&w->in, &w->decision);
	assert_true(reason[0] != '\0');
	assert_true(w->decision.reason[0] != '\0');
	assert_true(wanted || !w->decision.shown);
	/* of what is not removable the probe may know more */
	if (!wanted && !strstr(reason, "not removable"))
		assert_string_equal(reason, w->decision.reason);
}

static void assert_shown(struct world *w, const char *reason)
{
	decide(w);
	assert_true(w->decision.shown);
	assert_non_null(strstr(w->decision.reason, reason));
}

static void assert_not_shown(struct world *w, const char *reason)
{
	decide(w);
	assert_false(w->decision.shown);
	if (!strstr(w->decision.reason, reason))
		fail_msg("\"%s\" lacks \"%s\"", w->decision.reason, reason);
}

static bool wants_probe(struct world *w)
{
	char reason[LIMIT_REASON];

	return policy_wants_probe(&w->in, reason, sizeof(reason));
}

static void shows_media_on_their_buses(void **state)
{
	static const enum blockdev_bus buses[] = {BLOCKDEV_BUS_USB, BLOCKDEV_BUS_FIREWIRE,
						  BLOCKDEV_BUS_MMC, BLOCKDEV_BUS_MEMSTICK};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(buses); i++) {
		w->dev.bus = buses[i];
		assert_shown(w, blockdev_bus_name(buses[i]));
	}
	w->dev.bus = BLOCKDEV_BUS_OTHER;
	w->dev.removable = true;
	assert_shown(w, "removable");
}

static void hides_fixed_disks_unless_included(void **state)
{
	struct world *w = *state;

	w->dev.bus = BLOCKDEV_BUS_OTHER;
	assert_not_shown(w, "not removable; --include sdb1 shows it");
	assert_false(wants_probe(w));
	/* nobody is told to include what is not shown then either */
	(void)STR_COPY(w->probe.usage, "other");
	(void)STR_COPY(w->probe.fstype, "swap");
	assert_not_shown(w, "not a filesystem (swap)");
	w->probe.outcome = PROBE_NOTHING;
	assert_not_shown(w, "not formatted");
	w->probe.outcome = PROBE_FOUND;
	(void)STR_COPY(w->probe.usage, "filesystem");
	(void)STR_COPY(w->probe.fstype, "ext4");
	include(w, "include", "sdc*, sd[ab]?");
	assert_shown(w, "--include sd[ab]?");
	/* the disk's name includes its partitions */
	(void)STR_COPY(w->dev.kname, "sdc1");
	(void)STR_COPY(w->dev.disk, "sdc");
	assert_shown(w, "--include sdc*");
}

static void exclude_wins(void **state)
{
	struct world *w = *state;

	include(w, "include", "sdb1");
	include(w, "exclude", "sdb");
	assert_not_shown(w, "excluded by --exclude sdb");
	assert_false(wants_probe(w));
	add_rule(w)->hidden = 0;
	assert_not_shown(w, "excluded by --exclude sdb");
}

static void never_shows(void **state)
{
	struct world *w = *state;
	const struct world clean = *w;

	include(w, "include", "*");
	w->in.system_disk = true;
	assert_not_shown(w, "the host uses this disk");
	w->in = clean.in;
	w->in.udisks_ignore = true;
	assert_not_shown(w, "UDISKS_IGNORE=1");
	w->in = clean.in;
	w->dev.has_holders = true;
	assert_not_shown(w, "in use by a device built on it");
	w->dev = clean.dev;
	w->dev.hidden = true;
	assert_not_shown(w, "hidden by the kernel");
	w->dev = clean.dev;
	w->dev.has_partitions = true;
	assert_not_shown(w, "has partitions");
	w->dev = clean.dev;
	w->dev.size_bytes = 0;
	w->probe.outcome = PROBE_NO_MEDIUM;
	assert_not_shown(w, "no medium");
	w->probe = clean.probe;
	w->dev = clean.dev;
	assert_shown(w, "--include *");
}

/* They are opened, so that the kernel looks; the facts that it then tells decide. */
static void empty_drives_are_probed(void **state)
{
	struct world *w = *state;

	w->dev.partno = 0;
	w->dev.size_bytes = 0;
	w->dev.removable = true;
	w->probe.outcome = PROBE_NO_MEDIUM;
	assert_true(wants_probe(w));
	assert_not_shown(w, "no medium in it");
	w->probe.outcome = PROBE_FOUND;
	assert_not_shown(w, "no medium in it");
	w->dev.removable = false;
	assert_false(wants_probe(w));
}

static void drives_of_media_are_asked(void **state)
{
	struct world *w = *state;

	w->dev.partno = 0;
	w->dev.has_partitions = true; /* judged by themselves, and exchanged with the medium */
	assert_true(policy_wants_asking(&w->in));
	w->in.system_disk = true;
	assert_false(policy_wants_asking(&w->in));
	w->in.system_disk = false;
	w->dev.hidden = true;
	assert_false(policy_wants_asking(&w->in));
	w->dev.hidden = false;
	include(w, "exclude", "sdb");
	assert_false(policy_wants_asking(&w->in));
}

static void tells_what_the_probe_found(void **state)
{
	static const struct {
		enum probe_outcome outcome;
		const char *reason;
	} outcomes[] = {
		{PROBE_NOTHING, "no filesystem recognised"},
		{PROBE_AMBIVALENT, "wipefs /dev/sdb1"},
		{PROBE_NO_MEDIUM, "no medium"},
		{PROBE_ERROR, "cannot be read (EIO)"},
		{PROBE_TIMEOUT, "did not answer"},
		{PROBE_CRASHED, "the probe crashed"},
	};
	struct world *w = *state;

	w->probe.err = -EIO;
	for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++) {
		w->probe.outcome = outcomes[i].outcome;
		assert_not_shown(w, outcomes[i].reason);
		assert_true(wants_probe(w));
	}
	w->probe.outcome = PROBE_ERROR;
	w->probe.err = -EPERM;
	assert_not_shown(w, "needs a device rule");
	w->probe.outcome = PROBE_NOTHING;
	w->probe.has_partition_table = true;
	assert_not_shown(w, "partx --add /dev/sdb1");
}

static void judges_the_content(void **state)
{
	static const struct {
		const char *usage;
		const char *fstype;
		const char *reason;
	} contents[] = {
		{"raid", "linux_raid_member", "RAID or LVM (linux_raid_member)"},
		{"raid", "LVM2_member", "RAID or LVM (LVM2_member)"},
		{"crypto", "crypto_LUKS", "encrypted"},
		{"other", "swap", "not a filesystem (swap)"},
		{"", "", "not a filesystem"},
		{"filesystem", "zfs_member", "type zfs_member is not supported"},
		{"filesystem", "vmfs", "not supported"},
		{"filesystem", "ext4dev", "not supported"},
	};
	static const char *const good[] = {"ext2", "ext3",    "ext4",  "xfs",	  "btrfs",
					   "f2fs", "vfat",    "exfat", "ntfs",	  "iso9660",
					   "udf",  "hfsplus", "erofs", "squashfs"};
	struct world *w = *state;

	include(w, "include", "sdb1");
	for (size_t i = 0; i < ARRAY_SIZE(contents); i++) {
		(void)snprintf(w->probe.usage, sizeof(w->probe.usage), "%s", contents[i].usage);
		(void)snprintf(w->probe.fstype, sizeof(w->probe.fstype), "%s", contents[i].fstype);
		assert_not_shown(w, contents[i].reason);
	}
	(void)snprintf(w->probe.usage, sizeof(w->probe.usage), "filesystem");
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		(void)snprintf(w->probe.fstype, sizeof(w->probe.fstype), "%s", good[i]);
		assert_shown(w, "");
	}
}

static void judges_the_partition(void **state)
{
	static const char *const never[] = {
		"c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
		"C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
		"21686148-6449-6e6f-744e-656564454649",
		"e3c9e316-0b5c-4db8-817d-f92df00215ae",
		"de94bba4-06d1-4d40-a16a-bfd50179d6ac",
		"0xef",
		"0x27",
	};
	static const char *const fine[] = {"", "0x0c", "0x83", "0x82",
					   "0fc63daf-8483-4772-8e79-3d69d8477de4"};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
		(void)snprintf(w->probe.part_type, sizeof(w->probe.part_type), "%s", fine[i]);
		assert_shown(w, "");
	}
	(void)STR_COPY(w->probe.part_type, "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
	assert_shown(w, "");
	w->probe.part_flags = 1ull << 63;
	assert_not_shown(w, "marked as hidden");
	include(w, "include", "sdb1");
	assert_shown(w, "--include");
	for (size_t i = 0; i < ARRAY_SIZE(never); i++) {
		(void)snprintf(w->probe.part_type, sizeof(w->probe.part_type), "%s", never[i]);
		assert_not_shown(w, "never shown");
	}
}

static void rules_hide_and_show(void **state)
{
	struct world *w = *state;
	struct config_rule *rule = add_rule(w);

	rule->kname = strdup("sdb*");
	rule->hidden = 1;
	assert_not_shown(w, "hidden by [match test] in line 7");
	assert_false(wants_probe(w));
	include(w, "include", "sdb1");
	assert_not_shown(w, "hidden by [match test]");
	rule->hidden = 0;
	w->dev.bus = BLOCKDEV_BUS_OTHER;
	assert_shown(w, "shown by [match test]");
	(void)STR_COPY(w->dev.kname, "sdc1");
	(void)STR_COPY(w->dev.disk, "sdc");
	assert_not_shown(w, "not removable");
}

static void rules_on_content_need_a_probe(void **state)
{
	struct world *w = *state;
	struct config_rule *show = add_rule(w);
	struct config_rule *hide = add_rule(w);

	show->label = strdup("BACK*");
	show->hidden = 0;
	hide->hidden = 1;
	assert_true(wants_probe(w));
	assert_shown(w, "shown by [match test]");
	(void)STR_COPY(w->probe.label, "OTHER");
	assert_true(wants_probe(w));
	policy_decide(&w->in, &w->decision);
	assert_false(w->decision.shown);
	assert_string_equal(w->decision.reason,
			    "hidden by [match test] in line 7 of the configuration");
	/* a fixed disk is probed for the sake of such a rule, and only then */
	hide->hidden = -1;
	w->dev.bus = BLOCKDEV_BUS_OTHER;
	assert_true(wants_probe(w));
	show->hidden = 1;
	assert_false(wants_probe(w));
}

static void rules_match_all_their_conditions(void **state)
{
	struct world *w = *state;
	struct config_rule *rule = add_rule(w);

	rule->name = strdup("work");
	rule->vendor = strdup("king*");
	rule->model = strdup("*traveler*");
	rule->uuid = strdup("1234-abcd");
	rule->fstype = strdup("ext?");
	rule->label = strdup("BACKUP");
	rule->kname = strdup("sdb");
	assert_shown(w, "");
	assert_string_equal(w->decision.wanted_name, "work");
	(void)STR_COPY(w->probe.uuid, "1234-ABCE");
	assert_shown(w, "");
	assert_string_equal(w->decision.wanted_name, "");
}

static void settings_come_from_the_first_rule_that_has_them(void **state)
{
	struct world *w = *state;
	struct config_rule *first = add_rule(w);
	struct config_rule *second = add_rule(w);

	first->options = strdup("noatime");
	first->read_only = 0;
	second->options = strdup("data=journal");
	second->name = strdup("second");
	second->owner = (struct owner){true, 7, 8};
	second->read_only = 1;
	w->config->owner = (struct owner){true, 1, 1};
	w->config->read_only = true;
	assert_shown(w, "");
	assert_string_equal(w->decision.options, "noatime");
	assert_string_equal(w->decision.wanted_name, "second");
	assert_int_equal(w->decision.owner.uid, 7);
	assert_int_equal(w->decision.owner.gid, 8);
	assert_false(w->decision.read_only);
	first->read_only = second->read_only = -1;
	second->owner.set = false;
	assert_shown(w, "");
	assert_true(w->decision.read_only);
	assert_int_equal(w->decision.owner.uid, 1);
	w->config->read_only = false;
	assert_shown(w, "");
	assert_false(w->decision.read_only);
	w->dev.read_only = true;
	assert_shown(w, "");
	assert_true(w->decision.read_only);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(shows_media_on_their_buses),
		WORLD_TEST(hides_fixed_disks_unless_included),
		WORLD_TEST(exclude_wins),
		WORLD_TEST(never_shows),
		WORLD_TEST(empty_drives_are_probed),
		WORLD_TEST(drives_of_media_are_asked),
		WORLD_TEST(tells_what_the_probe_found),
		WORLD_TEST(judges_the_content),
		WORLD_TEST(judges_the_partition),
		WORLD_TEST(rules_hide_and_show),
		WORLD_TEST(rules_on_content_need_a_probe),
		WORLD_TEST(rules_match_all_their_conditions),
		WORLD_TEST(settings_come_from_the_first_rule_that_has_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
