#include "device/superblock.h"

#include <endian.h>

#define BLOCK_SIZE_MIN 512u
#define BLOCK_SIZE_MAX (32u << 20) /* exFAT clusters may have that much */

static bool read_at(int fd, uint64_t offset, void *buf, size_t size)
{
	return pread(fd, buf, size, (off_t)offset) == (ssize_t)size;
}

static uint16_t le16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t le32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static uint32_t be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static uint64_t be64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static bool block_size_valid(uint64_t size)
{
	return size >= BLOCK_SIZE_MIN && size <= BLOCK_SIZE_MAX && (size & (size - 1)) == 0;
}

/* Whole blocks to bytes; false when the numbers cannot be true. */
static bool set_space(struct superblock_space *space, uint64_t block_size, uint64_t total,
		      uint64_t free_blocks)
{
	if (!block_size_valid(block_size) || free_blocks > total || total > UINT64_MAX / block_size)
		return false;
	space->block_size = (uint32_t)block_size;
	space->total_bytes = total * block_size;
	space->free_bytes = free_blocks * block_size;
	return true;
}

/*
 * Offsets: Documentation/filesystems/ext4/super.rst of the kernel. Like statfs, it does not count
 * the blocks of inode tables, bitmaps and the journal, where the superblock tells how many.
 */
static bool read_ext(int fd, struct superblock_space *space)
{
	uint8_t sb[1024];
	uint64_t total, free_blocks, overhead;

	if (!read_at(fd, 1024, sb, sizeof(sb)) || le16(sb + 56) != 0xef53 || le32(sb + 24) > 6)
		return false;
	total = le32(sb + 4);
	free_blocks = le32(sb + 12);
	if (le32(sb + 96) & 0x80) { /* INCOMPAT_64BIT */
		total |= (uint64_t)le32(sb + 0x150) << 32;
		free_blocks |= (uint64_t)le32(sb + 0x158) << 32;
	}
	overhead = le32(sb + 0x248); /* in clusters, which nearly always are blocks */
	if (le32(sb + 28) == le32(sb + 24) && free_blocks <= total &&
	    overhead <= total - free_blocks)
		total -= overhead;
	return set_space(space, 1024u << le32(sb + 24), total, free_blocks);
}

/* Offsets: struct xfs_dsb, fs/xfs/libxfs/xfs_format.h. The log is not for files. */
static bool read_xfs(int fd, struct superblock_space *space)
{
	uint8_t sb[512];
	uint64_t total, log_blocks;

	if (!read_at(fd, 0, sb, sizeof(sb)) || memcmp(sb, "XFSB", 4) != 0)
		return false;
	total = be64(sb + 8);
	log_blocks = be64(sb + 48) ? be32(sb + 96) : 0; /* 0: the log is on another device */
	if (log_blocks > total)
		return false;
	return set_space(space, be32(sb + 4), total - log_blocks, be64(sb + 144));
}

/* Offsets: struct btrfs_super_block, include/uapi/linux/btrfs_tree.h. */
static bool read_btrfs(int fd, struct superblock_space *space)
{
	uint8_t sb[256];
	uint64_t total, used, sector;

	if (!read_at(fd, 65536, sb, sizeof(sb)) || memcmp(sb + 64, "_BHRfS_M", 8) != 0)
		return false;
	total = le64(sb + 112);
	used = le64(sb + 120);
	sector = le32(sb + 144);
	if (used > total || !block_size_valid(sector))
		return false;
	return set_space(space, sector, total / sector, (total - used) / sector);
}

struct fat {
	uint64_t fat_offset; /* of the first file allocation table, in bytes */
	uint64_t fat_bytes;
	uint32_t clusters;
	uint32_t cluster_size;
	uint32_t sector_size;
	uint32_t info_sector; /* FAT32 */
};

/* Offsets: Microsoft Extensible Firmware Initiative FAT32 File System Specification, 1.03. */
static bool fat_parse(const uint8_t *bs, struct fat *fat)
{
	uint64_t sectors = le16(bs + 19) ? le16(bs + 19) : le32(bs + 32);
	uint64_t fat_sectors = le16(bs + 22) ? le16(bs + 22) : le32(bs + 36);
	uint64_t root_bytes = (uint64_t)le16(bs + 17) * 32;
	uint64_t meta;

	fat->sector_size = le16(bs + 11);
	fat->cluster_size = fat->sector_size * bs[13];
	if (!block_size_valid(fat->sector_size) || fat->sector_size > 4096 ||
	    !block_size_valid(fat->cluster_size))
		return false;
	meta = le16(bs + 14) + bs[16] * fat_sectors +
	       (root_bytes + fat->sector_size - 1) / fat->sector_size;
	if (meta >= sectors || le16(bs + 14) == 0)
		return false;
	fat->clusters = (uint32_t)((sectors - meta) / bs[13]);
	fat->fat_offset = (uint64_t)le16(bs + 14) * fat->sector_size;
	fat->fat_bytes = fat_sectors * fat->sector_size;
	fat->info_sector = le16(bs + 22) == 0 ? le16(bs + 48) : 0;
	return true;
}

/* FAT12 and FAT16 keep no count; their table is at most 128 KiB. Clusters are numbered from 2. */
static bool fat_count_free(int fd, const struct fat *fat, uint64_t *ret_free)
{
	bool twelve = fat->clusters < 4085;
	size_t entries = fat->clusters + 2;
	size_t size = twelve ? (entries * 3 + 1) / 2 : entries * 2;
	_cleanup_free_ uint8_t *table = NULL;
	uint64_t free_clusters = 0;

	if (fat->clusters >= 65525 || size > fat->fat_bytes)
		return false;
	table = calloc(1, size + 2);
	if (!table || !read_at(fd, fat->fat_offset, table, size))
		return false;
	for (size_t i = 2; i < entries; i++) {
		unsigned entry = le16(table + (twelve ? i * 3 / 2 : i * 2));

		if (twelve)
			entry = i % 2 ? entry >> 4 : entry & 0xfff;
		free_clusters += entry == 0;
	}
	*ret_free = free_clusters;
	return true;
}

static bool read_vfat(int fd, struct superblock_space *space)
{
	uint8_t bs[512], info[512];
	uint64_t free_clusters;
	struct fat fat;

	if (!read_at(fd, 0, bs, sizeof(bs)) || !fat_parse(bs, &fat))
		return false;
	if (fat.info_sector == 0)
		return fat_count_free(fd, &fat, &free_clusters) &&
		       set_space(space, fat.cluster_size, fat.clusters, free_clusters);
	if (!read_at(fd, (uint64_t)fat.info_sector * fat.sector_size, info, sizeof(info)) ||
	    memcmp(info, "RRaA", 4) != 0 || memcmp(info + 484, "rrAa", 4) != 0)
		return false;
	/* 0xffffffff means unknown, and fails as more than there are */
	return set_space(space, fat.cluster_size, fat.clusters, le32(info + 488));
}

/* Offsets: Microsoft exFAT specification, 3.1. Free space is only known in percent. */
static bool read_exfat(int fd, struct superblock_space *space)
{
	uint8_t bs[512];
	uint64_t clusters;

	if (!read_at(fd, 0, bs, sizeof(bs)) || memcmp(bs + 3, "EXFAT   ", 8) != 0)
		return false;
	if (bs[108] < 9 || bs[108] > 12 || bs[109] > 25 - bs[108] || bs[112] > 100)
		return false;
	clusters = le32(bs + 92);
	return set_space(space, 1ull << (bs[108] + bs[109]), clusters,
			 clusters * (100u - bs[112]) / 100);
}

/* Offsets: HFSPlusVolumeHeader, Apple Technical Note TN1150. */
static bool read_hfsplus(int fd, struct superblock_space *space)
{
	uint8_t vh[512];

	if (!read_at(fd, 1024, vh, sizeof(vh)) ||
	    (memcmp(vh, "H+", 2) != 0 && memcmp(vh, "HX", 2) != 0))
		return false;
	return set_space(space, be32(vh + 40), be32(vh + 44), be32(vh + 48));
}

/* NTFS and f2fs count what is free when they are mounted. */
static bool read_nothing(int fd, struct superblock_space *space)
{
	(void)fd;
	(void)space;
	return false;
}

static const struct reader {
	const char *fstype;
	bool (*read)(int fd, struct superblock_space *space);
	bool full; /* nothing is ever written to it */
} readers[] = {
	{"ext2", read_ext, false},	  {"ext3", read_ext, false},
	{"ext4", read_ext, false},	  {"xfs", read_xfs, false},
	{"btrfs", read_btrfs, false},	  {"vfat", read_vfat, false},
	{"exfat", read_exfat, false},	  {"hfsplus", read_hfsplus, false},
	{"ntfs", read_nothing, false},	  {"f2fs", read_nothing, false},
	{"iso9660", read_nothing, true},  {"udf", read_nothing, true},
	{"squashfs", read_nothing, true}, {"erofs", read_nothing, true},
};

static const struct reader *reader_find(const char *fstype)
{
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
		if (streq(readers[i].fstype, fstype))
			return &readers[i];
	return NULL;
}

void superblock_read_space(int fd, const char *fstype, uint64_t device_bytes,
			   struct superblock_space *ret_space)
{
	const struct reader *reader = reader_find(fstype);
	struct superblock_space space = {0};

	if (reader && (!reader->read(fd, &space) || space.total_bytes == 0))
		space = (struct superblock_space){
			.total_bytes = device_bytes,
			.free_bytes = reader->full ? 0 : device_bytes,
		};
	space.total_bytes = MIN(space.total_bytes, device_bytes);
	space.free_bytes = MIN(space.free_bytes, space.total_bytes);
	*ret_space = space;
}
