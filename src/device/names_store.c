#include "device/names_store.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "device/names_text.h"

#define FILE_NAME "names"
#define FILE_NEW  "names.new"
#define HEADER	  "hotplugfs-names 1"

void names_store_free(struct list *records)
{
	list_for_each_safe (it, tmp, records) {
		list_remove(it);
		free(CONTAINER_OF(it, struct name_record, link));
	}
}

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *p = c ? strchr(digits, c) : NULL;

	return p ? (int)(p - digits) : -1;
}

/* Decodes one field of a line and moves on to the next. Returns false if it is damaged. */
static bool decode_field(const char **line, char *ret_text, size_t size)
{
	const char *p = *line;
	size_t n = 0;

	for (; *p && *p != ' '; n++) {
		if (n + 1 >= size)
			return false;
		if (*p == '%') {
			int high = hex_digit(p[1]);
			int low = high < 0 ? -1 : hex_digit(p[2]);

			if (low < 0 || high * 16 + low == 0)
				return false;
			ret_text[n] = (char)(high * 16 + low);
			p += 3;
		} else {
			ret_text[n] = *p++;
		}
	}
	ret_text[n] = '\0';
	*line = *p == ' ' ? p + 1 : p;
	return n > 0;
}

/* A name from the file becomes a directory name: it must still be a safe one. */
static bool name_valid(const char *name)
{
	char safe[LIMIT_NAME + 1];

	name_sanitize_to(name, safe, LIMIT_NAME);
	return *name && streq(name, safe);
}

static int parse_record(const char *line, struct list *records)
{
	struct name_record *record = malloc(sizeof(*record));

	if (!record)
		return -ENOMEM;
	if (!decode_field(&line, record->base, sizeof(record->base)) ||
	    !decode_field(&line, record->name, sizeof(record->name)) ||
	    !decode_field(&line, record->identity, sizeof(record->identity)) || *line ||
	    !name_valid(record->base) || !name_valid(record->name)) {
		free(record);
		return -EBADMSG;
	}
	list_append(records, &record->link);
	return 0;
}

/* Reads a line without its end. Returns false at the end of the file and for a cut line. */
static bool read_line(FILE *file, char *buf, int size)
{
	size_t n;

	if (!fgets(buf, size, file))
		return false;
	n = strlen(buf);
	if (n == 0 || buf[n - 1] != '\n')
		return false;
	buf[n - 1] = '\0';
	return true;
}

static int parse_file(FILE *file, struct list *records)
{
	char line[3 * (2 * LIMIT_NAME + LIMIT_IDENTITY) + 8];
	char end[32];
	size_t count = 0;
	int r = 0;

	if (!read_line(file, line, sizeof(line)) || !streq(line, HEADER))
		return -EBADMSG;
	while (r == 0 && count <= LIMIT_NAME_RECORDS && read_line(file, line, sizeof(line))) {
		(void)snprintf(end, sizeof(end), "end %zu", count);
		if (streq(line, end))
			return 0;
		r = parse_record(line, records);
		count++;
	}
	return r < 0 ? r : -EBADMSG;
}

static void fclosep(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

int names_store_load(int dir_fd, struct list *records)
{
	_cleanup_(fclosep) FILE *file = NULL;
	struct list loaded = LIST_INIT(loaded);
	int fd = openat(dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	file = fdopen(fd, "re");
	if (!file) {
		r = -errno;
		close_fd(fd);
		return r;
	}
	r = parse_file(file, &loaded);
	if (r < 0) {
		names_store_free(&loaded);
		return r;
	}
	list_for_each_safe (it, tmp, &loaded) {
		list_remove(it);
		list_append(records, it);
	}
	return 0;
}

static void write_field(FILE *file, const char *text, char end)
{
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c < 0x80 && (isalnum(c) || strchr("-_.:/+", c)))
			(void)fputc(c, file);
		else
			(void)fprintf(file, "%%%02x", c);
	}
	(void)fputc(end, file);
}

static void write_records(FILE *file, const struct list *records)
{
	size_t count = 0;

	(void)fputs(HEADER "\n", file);
	list_for_each (it, records) {
		const struct name_record *record = CONTAINER_OF(it, struct name_record, link);

		write_field(file, record->base, ' ');
		write_field(file, record->name, ' ');
		write_field(file, record->identity, '\n');
		count++;
	}
	(void)fprintf(file, "end %zu\n", count);
}

int names_store_save(int dir_fd, const struct list *records)
{
	int fd;
	FILE *file;
	bool failed;

	(void)unlinkat(dir_fd, FILE_NEW, 0);
	fd = openat(dir_fd, FILE_NEW, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	file = fdopen(fd, "we");
	if (!file) {
		close_fd(fd);
		return -ENOMEM;
	}
	write_records(file, records);
	errno = EIO;
	failed = ferror(file) != 0;
	failed |= fclose(file) != 0;
	if (!failed)
		failed = renameat(dir_fd, FILE_NEW, dir_fd, FILE_NAME) < 0;
	return failed ? -errno : 0;
}
