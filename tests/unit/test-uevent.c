/* Kernel messages as recorded, and the same damaged and forged. */
#include <linux/netlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "device/uevent.h"

#define DISK_PATH \
	"/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sdb"

static const char stick_add[] = "add@" DISK_PATH "\0"
				"ACTION=add\0"
				"DEVPATH=" DISK_PATH "\0"
				"SUBSYSTEM=block\0"
				"MAJOR=8\0"
				"MINOR=16\0"
				"DEVNAME=sdb\0"
				"DEVTYPE=disk\0"
				"DISKSEQ=17\0"
				"SEQNUM=4242";

static const char partition_remove[] = "remove@" DISK_PATH "/sdb1\0"
				       "ACTION=remove\0"
				       "DEVPATH=" DISK_PATH "/sdb1\0"
				       "SUBSYSTEM=block\0"
				       "DEVNAME=sdb1\0"
				       "DEVTYPE=partition\0"
				       "PARTN=1\0"
				       "SEQNUM=4250";

static const char card_change[] = "change@/devices/virtual/block/sdc\0"
				  "ACTION=change\0"
				  "DEVPATH=/devices/virtual/block/sdc\0"
				  "SUBSYSTEM=block\0"
				  "DISK_MEDIA_CHANGE=1\0"
				  "DEVNAME=sdc\0"
				  "DEVTYPE=disk\0"
				  "DISKSEQ=18446744073709551615\0"
				  "SEQNUM=1";

static const char module_add[] = "add@/module/vfat\0"
				 "ACTION=add\0"
				 "DEVPATH=/module/vfat\0"
				 "SUBSYSTEM=module\0"
				 "SEQNUM=3";

static const char raid_add[] = "add@/devices/pci0/block/cciss!c0d0\0"
			       "ACTION=add\0"
			       "DEVPATH=/devices/pci0/block/cciss!c0d0\0"
			       "SUBSYSTEM=block\0"
			       "DEVNAME=cciss/c0d0\0"
			       "SEQNUM=9";

static const char usb_bind[] = "bind@/devices/usb1/1-2\0"
			       "ACTION=bind\0"
			       "DEVPATH=/devices/usb1/1-2\0"
			       "SUBSYSTEM=usb\0"
			       "DEVNAME=bus/usb/001/002\0"
			       "SEQNUM=10";

static void parses_recorded_events(void **state)
{
	struct uevent event;

	(void)state;
	assert_int_equal(uevent_parse(stick_add, sizeof(stick_add), &event), 0);
	assert_int_equal(event.action, UEVENT_ADD);
	assert_string_equal(event.subsystem, "block");
	assert_string_equal(event.devtype, "disk");
	assert_string_equal(event.kname, "sdb");
	assert_int_equal(event.seqnum, 4242);
	assert_int_equal(event.diskseq, 17);
	assert_false(event.media_change);
	/* the last one need not be terminated */
	assert_int_equal(uevent_parse(stick_add, sizeof(stick_add) - 1, &event), 0);
	assert_int_equal(event.seqnum, 4242);

	assert_int_equal(uevent_parse(partition_remove, sizeof(partition_remove), &event), 0);
	assert_int_equal(event.action, UEVENT_REMOVE);
	assert_string_equal(event.kname, "sdb1");
	assert_string_equal(event.devtype, "partition");
	assert_int_equal(event.diskseq, 0);

	assert_int_equal(uevent_parse(card_change, sizeof(card_change), &event), 0);
	assert_int_equal(event.action, UEVENT_CHANGE);
	assert_true(event.media_change);
	assert_true(event.diskseq == UINT64_MAX);
}

static void parses_other_subsystems(void **state)
{
	struct uevent event;

	(void)state;
	assert_int_equal(uevent_parse(module_add, sizeof(module_add), &event), 0);
	assert_string_equal(event.subsystem, "module");
	assert_string_equal(event.kname, "");
	assert_int_equal(uevent_parse(raid_add, sizeof(raid_add), &event), 0);
	assert_string_equal(event.kname, "cciss!c0d0");
	assert_int_equal(uevent_parse(usb_bind, sizeof(usb_bind), &event), 0);
	assert_int_equal(event.action, UEVENT_OTHER);
	assert_string_equal(event.kname, "1-2");
}

#define BAD(text)                  \
	{                          \
		text, sizeof(text) \
	}

static void refuses_damage(void **state)
{
	static const struct {
		const char *text;
		size_t length;
	} bad[] = {
		BAD(""),
		BAD("libudev\0\xfe\xed\xca\xfe"),
		BAD("add@/x"),
		BAD("add@/x\0ACTION=add\0DEVPATH=/x"),
		BAD("add@/x\0ACTION=add\0SUBSYSTEM=block"),
		BAD("add@/x\0DEVPATH=/x\0SUBSYSTEM=block"),
		BAD("add@/x\0ACTION=remove\0DEVPATH=/x\0SUBSYSTEM=block"),
		BAD("add@/x\0ACTION=add\0DEVPATH=/y\0SUBSYSTEM=block"),
		BAD("add@/x\0ACTION=add\0DEVPATH=/xy\0SUBSYSTEM=block"),
		BAD("addx@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=block"),
		BAD("add@x\0ACTION=add\0DEVPATH=x\0SUBSYSTEM=block\0DEVNAME=x"),
		BAD("add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM="),
		BAD("add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=block\0SEQNUM=x"),
		BAD("add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=block\0SEQNUM=-1"),
		BAD("add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=block\0DISKSEQ=1x"),
		BAD("add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=block\0"
		    "DISKSEQ=18446744073709551616"),
		BAD("add@/a/..\0ACTION=add\0DEVPATH=/a/..\0SUBSYSTEM=block\0DEVNAME=.."),
		BAD("add@/a/\0ACTION=add\0DEVPATH=/a/\0SUBSYSTEM=block\0DEVNAME=a"),
		BAD("\0ACTION=\0DEVPATH=\0SUBSYSTEM=block"),
		BAD("add@/x\0ACTION=add\0DEVPATH=/x\0"
		    "SUBSYSTEM=a-name-that-is-longer-than-any-subsystem-has"),
		BAD("add@/0123456789012345678901234567890123456789012345678901234567890123\0"
		    "ACTION=add\0"
		    "DEVPATH=/0123456789012345678901234567890123456789012345678901234567890123\0"
		    "SUBSYSTEM=block\0DEVNAME=x"),
	};
	struct uevent event = {.seqnum = 77};
	char huge[LIMIT_UEVENT + 1] = "";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (uevent_parse(bad[i].text, bad[i].length, &event) != -EBADMSG)
			fail_msg("%zu: %s", i, bad[i].text);
	assert_int_equal(uevent_parse("", 0, &event), -EBADMSG);
	assert_int_equal(uevent_parse(huge, sizeof(huge), &event), -EBADMSG);
	assert_int_equal(event.seqnum, 77);
}

/* Cut anywhere, in a buffer of exactly that size for the sanitizer. */
static void survives_cuts(void **state)
{
	(void)state;
	for (size_t n = 1; n < sizeof(stick_add); n++) {
		char *copy = malloc(n);
		struct uevent event;

		assert_non_null(copy);
		memcpy(copy, stick_add, n);
		(void)uevent_parse(copy, n, &event);
		free(copy);
	}
}

static void drops_what_is_not_from_the_kernel(void **state)
{
	static const char forged[] = "add@/devices/virtual/block/forged0\0"
				     "ACTION=add\0"
				     "DEVPATH=/devices/virtual/block/forged0\0"
				     "SUBSYSTEM=block\0"
				     "DEVNAME=forged0\0"
				     "SEQNUM=1";
	_cleanup_close_ int sender = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC,
					    NETLINK_KOBJECT_UEVENT);
	_cleanup_close_ int fd = uevent_socket_open();
	struct sockaddr_nl address = {0};
	socklen_t size = sizeof(address);
	struct uevent event;
	int r;

	(void)state;
	if (fd == -EPERM || fd == -EACCES || sender < 0)
		skip();
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	address.nl_groups = 0;
	if (sendto(sender, forged, sizeof(forged), 0, (struct sockaddr *)&address,
		   sizeof(address)) < 0)
		skip();					  /* needs CAP_NET_ADMIN */
	while ((r = uevent_socket_read(fd, &event)) == 0) /* others' real events may come */
		assert_string_not_equal(event.kname, "forged0");
	assert_int_equal(r, -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_recorded_events),
		cmocka_unit_test(parses_other_subsystems),
		cmocka_unit_test(refuses_damage),
		cmocka_unit_test(survives_cuts),
		cmocka_unit_test(drops_what_is_not_from_the_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
