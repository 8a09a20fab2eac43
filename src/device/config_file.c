#include <ini.h>
#include <stdarg.h>
#include <stdio.h>

#include "device/config_rules.h"
#include "device/config_values.h"
#include "device/config.h"

/*
 * libinih splits lines; the reader that feeds it sees every line before it does, and so knows the
 * line number, refuses what the library would cut without a word (long lines, NUL bytes), notices
 * sections that hold nothing or come again, and takes away the indentation that would make a line
 * continue the one before.
 */
struct reader {
	FILE *file;
	struct config *config;
	struct config_rule **end; /* where the next rule goes */
	struct config_rule *rule; /* of the section being read; NULL: global settings */
	uint64_t seen_global;	  /* settings that the file has had */
	uint64_t seen_rule;
	unsigned line;
	unsigned error_line; /* 0: no error yet */
	int err;
	char error[LIMIT_CONTROL_LINE / 2];
};

static void fail(struct reader *reader, unsigned line, int err, const char *fmt, ...)
	_printf_(4, 5);

/* Only the first mistake is told. */
static void fail(struct reader *reader, unsigned line, int err, const char *fmt, ...)
{
	va_list args;

	if (reader->error_line != 0)
		return;
	reader->error_line = line;
	reader->err = err;
	va_start(args, fmt);
	(void)vsnprintf(reader->error, sizeof(reader->error), fmt, args);
	va_end(args);
}

/* The section that ends here must have been worth writing. */
static void end_section(struct reader *reader)
{
	char error[256];

	if (reader->rule && config_rule_check(reader->rule, error, sizeof(error)) < 0)
		fail(reader, reader->rule->line, -EINVAL, "%s", error);
	reader->rule = NULL;
	reader->seen_rule = 0;
}

static void begin_rule(struct reader *reader, const char *title)
{
	for (const struct config_rule *it = reader->config->rules; it; it = it->next)
		if (streq(it->title, title))
			fail(reader, reader->line, -EINVAL,
			     "[match %s] is there already, in line %u", QUOTE(title), it->line);
	if (reader->error_line != 0)
		return;
	if (config_rule_new(title, reader->line, reader->end) < 0) {
		fail(reader, reader->line, -ENOMEM, "out of memory");
		return;
	}
	reader->rule = *reader->end;
	reader->end = &reader->rule->next;
}

/* The title in "match TITLE", or NULL. */
static const char *rule_title(const char *section)
{
	const char *title = section + strlen("match ");

	if (strncmp(section, "match ", strlen("match ")) != 0)
		return NULL;
	title += strspn(title, " \t");
	return *title ? title : NULL;
}

static void begin_section(struct reader *reader, const char *line)
{
	size_t length = strcspn(line + 1, "]");
	const char *rest = line + 1 + length + 1;
	const char *title;
	char name[256];

	end_section(reader);
	if (line[1 + length] != ']' || length >= sizeof(name) ||
	    !strchr(";#", rest[strspn(rest, " \t\r\n")])) {
		fail(reader, reader->line, -EINVAL,
		     "a section is written as [hotplugfs] or [match TITLE]");
		return;
	}
	(void)str_copy(name, length + 1, line + 1);
	if (streq(name, "hotplugfs"))
		return;
	title = rule_title(name);
	if (title)
		begin_rule(reader, title);
	else
		fail(reader, reader->line, -EINVAL,
		     "unknown section; there are [hotplugfs] and [match TITLE]");
}

/* Returns the length, 0 at the end of the file, or -EINVAL (told). */
static int read_bytes(struct reader *reader, char *buf, int size)
{
	int n = 0;
	int c = 0;

	while (c != '\n' && (c = getc(reader->file)) != EOF) {
		if (c == '\0')
			fail(reader, reader->line, -EINVAL, "a NUL byte");
		else if (n + 3 > size)
			fail(reader, reader->line, -EINVAL, "longer than %d bytes", size - 3);
		if (reader->error_line != 0)
			return -EINVAL;
		buf[n++] = (char)c;
	}
	buf[n] = '\0';
	return n;
}

static char *read_line(char *buf, int size, void *data)
{
	struct reader *reader = data;
	size_t indent;

	reader->line++;
	if (reader->error_line != 0 || read_bytes(reader, buf, size) <= 0)
		return NULL;
	indent = reader->line == 1 && strncmp(buf, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	indent += strspn(buf + indent, " \t");
	memmove(buf, buf + indent, strlen(buf + indent) + 1);
	if (buf[0] == '[')
		begin_section(reader, buf);
	return buf;
}

/* In the file a global setting may come once; the command line adds to it and replaces it. */
static int set_global(struct reader *reader, const char *key, const char *value, char *error,
		      size_t error_size)
{
	int i = config_global_index(key);

	if (i >= 0 && reader->seen_global & 1ull << i) {
		(void)snprintf(error, error_size, "set twice");
		return -EINVAL;
	}
	if (i >= 0)
		reader->seen_global |= 1ull << i;
	return config_set(reader->config, key, value, error, error_size);
}

/* Returns 1 in any case: the library would go on after a 0 as well. */
static int set_value(void *data, const char *section, const char *key, const char *value)
{
	struct reader *reader = data;
	char error[1024] = "";
	int r;

	if (reader->error_line != 0)
		return 1;
	if (reader->rule) {
		r = config_rule_set(reader->rule, key, value, &reader->seen_rule, error,
				    sizeof(error));
		if (streq(key, "options"))
			reader->rule->options_line = reader->line;
	} else {
		r = set_global(reader, key, value, error, sizeof(error));
	}
	if (r == -EINVAL)
		fail(reader, reader->line, -EINVAL, "%s: %s", key, error);
	else if (r == -ENOENT)
		fail(reader, reader->line, -EINVAL, "%s", error);
	else if (r < 0)
		fail(reader, reader->line, r, "out of memory");
	return 1;
}

static int read_all(struct reader *reader)
{
	int r = ini_parse_stream(read_line, reader, set_value, reader);

	if (ferror(reader->file))
		fail(reader, reader->line, -EIO, "cannot be read");
	end_section(reader);
	/* the library's own complaint, about a line that came before ours */
	if (r > 0 && (reader->error_line == 0 || (unsigned)r < reader->error_line)) {
		reader->error_line = 0;
		fail(reader, (unsigned)r, -EINVAL, "not a setting: \"key = value\" is expected");
	} else if (r < 0) {
		fail(reader, reader->line, -ENOMEM, "out of memory");
	}
	return reader->err;
}

int config_read_file(struct config *config, const char *path, char *error, size_t error_size)
{
	struct reader reader = {.config = config, .end = &config->rules};
	int r;

	while (*reader.end)
		reader.end = &(*reader.end)->next;
	reader.file = fopen(path, "re");
	if (!reader.file) {
		r = -errno;
		(void)snprintf(error, error_size, "%s: cannot open: %s", path, strerrordesc_np(-r));
		return r;
	}
	r = read_all(&reader);
	(void)fclose(reader.file);
	if (r < 0)
		(void)snprintf(error, error_size, "%s:%u: %s", path, reader.error_line,
			       reader.error);
	else
		r = config_parse_text(path, &config->file, error, error_size);
	return r;
}
