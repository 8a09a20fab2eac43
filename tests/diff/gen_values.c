/* SPDX-License-Identifier: Apache-2.0 */
/* The generator: numbers, flags, times, ACLs and capabilities. */
#include "difftest.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/capability.h>

#define ACL_VERSION 2
#define ACL_NO_ID   0xffffffffu

enum acl_tag {
	TAG_USER_OBJ = 0x01,
	TAG_USER = 0x02,
	TAG_GROUP_OBJ = 0x04,
	TAG_GROUP = 0x08,
	TAG_MASK = 0x10,
	TAG_OTHER = 0x20,
};

struct acl_entry {
	uint16_t tag;
	uint16_t perm;
	uint32_t id;
};

int64_t gen_mode(struct gen *g)
{
	static const int64_t modes[] = {
		0777, 0777, 0755, 0755, 0666, 0666, 0666,  0644,  0644,	 0644,	0700,  0600,
		0775, 0664, 0640, 0444, 0555, 0000, 04755, 02755, 06777, 01777, 02775, 02644,
		0111, 0222, 0604, 0060, 0007, 0750, 04711, 02666, 07777, 01644,
	};

	return GEN_FROM(g, modes);
}

int64_t gen_mode_dir(struct gen *g)
{
	static const int64_t modes[] = {
		0777,  0777, 0777, 0777, 0777, 0755, 0755, 01777, 02777, 02775,
		03777, 0700, 0711, 0733, 0555, 0770, 0500, 0300,  04777,
	};

	return GEN_FROM(g, modes);
}

int64_t gen_len(struct gen *g)
{
	static const int64_t lens[] = {
		0,    1,    7,	  100,	511,   512,   513,   1000,  4095,   4096,   4096,
		4097, 8192, 8192, 9999, 12288, 16384, 20000, 65536, 131072, 262144, 300000,
	};
	uint32_t n = ARRAY_SIZE(lens);

	/* Long ones are rare. */
	return lens[gen_chance(g, 90) ? gen_below(g, n - 5) : gen_below(g, n)];
}

int64_t gen_off(struct gen *g)
{
	static const int64_t near[] = {
		0,    0,    0,	  0,	0,    1,     7,	    100,   512,	  1024,	  4095,
		4096, 4096, 4097, 8192, 8192, 12288, 16384, 20000, 65536, 100000, 262144,
	};
	static const int64_t far[] = {
		1048576,    1048577,	   16777216,  0x7fffffff,
		0x80000000, 0x100000005LL, 1LL << 40, (1LL << 40) + 4097,
	};

	if (gen_chance(g, 1))
		return -1 - (int64_t)gen_below(g, 5000);
	return gen_chance(g, 3) ? GEN_FROM(g, far) : GEN_FROM(g, near);
}

int64_t gen_id(struct gen *g)
{
	static const int64_t ids[] = {
		-1,   -1,   0,	  0,	1001,  1001,   1001,	     1002,
		1002, 2000, 2000, 2001, 65534, 100000, 4294967294LL,
	};

	return GEN_FROM(g, ids);
}

/* Seconds and nanoseconds of access and modification, each explicit, UTIME_NOW or UTIME_OMIT. */
void gen_times(struct gen *g, int64_t n[4])
{
	static const int64_t secs[] = {
		0,
		1,
		1000000000,
		1234567890,
		1262304000,
		981173106,
		-1,
		-2000000000,
		2147483647,
		2147483648LL,
		4294967296LL,
		6000000000LL,
		253402300799LL,
	};
	static const int64_t nsecs[] = {0, 0, 1, 123456789, 999999999, 500000000, 1000};

	for (unsigned int i = 0; i < 4; i += 2) {
		n[i] = GEN_FROM(g, secs);
		n[i + 1] = GEN_FROM(g, nsecs);
		if (gen_chance(g, 15))
			n[i + 1] = UTIME_NOW;
		else if (gen_chance(g, 15))
			n[i + 1] = UTIME_OMIT;
		else if (gen_chance(g, 1))
			n[i + 1] = 1000000000;
	}
}

int64_t gen_open_flags(struct gen *g)
{
	static const int64_t access[] = {
		O_RDWR,	  O_RDWR,   O_RDWR,   O_RDWR,	O_RDWR,	  O_RDWR,   O_RDWR,
		O_RDONLY, O_RDONLY, O_RDONLY, O_RDONLY, O_WRONLY, O_WRONLY, O_WRONLY,
	};
	static const struct flag_odds odds[] = {
		{O_CREAT, 45},	  {O_EXCL, 8},	  {O_TRUNC, 12}, {O_APPEND, 14}, {O_NOFOLLOW, 6},
		{O_DIRECTORY, 4}, {O_NOATIME, 5}, {O_DIRECT, 5}, {O_SYNC, 3},	 {O_DSYNC, 4},
		{O_NONBLOCK, 50}, {O_NOCTTY, 2},  {O_PATH, 1},	 {O_ACCMODE, 1}, {O_ASYNC, 1},
	};

	int64_t flags = GEN_FROM(g, access);

	return flags | GEN_FLAGS(g, odds);
}

static unsigned int acl_entries(struct gen *g, struct acl_entry *e)
{
	unsigned int n = 0;
	bool named = false;

	e[n++] = (struct acl_entry){TAG_USER_OBJ, gen_below(g, 8), ACL_NO_ID};
	for (uint32_t id = 1001; id <= 1002; id++)
		if (gen_chance(g, 40)) {
			e[n++] = (struct acl_entry){TAG_USER, gen_below(g, 8), id};
			named = true;
		}
	e[n++] = (struct acl_entry){TAG_GROUP_OBJ, gen_below(g, 8), ACL_NO_ID};
	for (uint32_t id = 2000; id <= 2001; id++)
		if (gen_chance(g, 30)) {
			e[n++] = (struct acl_entry){TAG_GROUP, gen_below(g, 8), id};
			named = true;
		}
	if (named || gen_chance(g, 30))
		e[n++] = (struct acl_entry){TAG_MASK, gen_below(g, 8), ACL_NO_ID};
	e[n++] = (struct acl_entry){TAG_OTHER, gen_below(g, 8), ACL_NO_ID};
	return n;
}

/* Breaks one thing; returns the new number of entries. */
static unsigned int acl_spoil(struct gen *g, struct acl_entry *e, unsigned int n)
{
	unsigned int at = gen_below(g, n);

	switch (gen_below(g, 8)) {
	case 0: /* no final entry */
		return n - 1;
	case 1: /* twice the same */
		e[n] = e[at];
		return n + 1;
	case 2: /* unsorted */
		e[n] = e[0];
		e[0] = e[n - 1];
		e[n - 1] = e[n];
		return n;
	case 3:
		e[at].perm |= 0x48;
		return n;
	case 4:
		e[at].tag = 0x40;
		return n;
	case 5:
		e[at].tag = TAG_USER;
		e[at].id = ACL_NO_ID;
		return n;
	case 6:
		e[at].id = 77777;
		return n;
	default: /* only the header, which removes the ACL */
		return 0;
	}
}

/* An ACL in the kernel's xattr form. Half of the bad ones are bad in their length or version. */
void gen_acl(struct gen *g, struct call *c, bool valid, bool dflt)
{
	struct acl_entry e[12];
	unsigned int n = acl_entries(g, e);
	uint32_t version = ACL_VERSION;

	snprintf(c->name, sizeof(c->name), "system.posix_acl_%s", dflt ? "default" : "access");
	if (!valid && gen_chance(g, 60))
		n = acl_spoil(g, e, n);
	else if (!valid && gen_chance(g, 40))
		version = gen_below(g, 4);
	version = htole32(version);
	memcpy(c->blob, &version, sizeof(version));
	for (unsigned int i = 0; i < n; i++) {
		e[i].tag = htole16(e[i].tag);
		e[i].perm = htole16(e[i].perm);
		e[i].id = htole32(e[i].id);
	}
	memcpy(c->blob + sizeof(version), e, n * sizeof(e[0]));
	c->blob_len = sizeof(version) + n * sizeof(e[0]);
	if (!valid && gen_chance(g, 30))
		c->blob_len = gen_below(g, c->blob_len);
}

void gen_cap(struct gen *g, struct call *c)
{
	struct vfs_cap_data cap = {.magic_etc = htole32(VFS_CAP_REVISION_2)};

	if (gen_chance(g, 50))
		cap.magic_etc |= htole32(VFS_CAP_FLAGS_EFFECTIVE);
	cap.data[0].permitted = htole32(1u << gen_below(g, 32));
	if (gen_chance(g, 30))
		cap.data[0].inheritable = htole32(1u << gen_below(g, 32));

	if (gen_chance(g, 8))
		cap.magic_etc = htole32(gen_below(g, UINT32_MAX));
	snprintf(c->name, sizeof(c->name), "security.capability");
	memcpy(c->blob, &cap, sizeof(cap));
	c->blob_len = gen_chance(g, 5) ? gen_below(g, sizeof(cap)) : sizeof(cap);
}
