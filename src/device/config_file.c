#include <stdarg.h>
#include <stdio.h>

#include "device/config_rules.h"
#include "device/config_values.h"
#include "device/config.h"

#define WHITE " \t\r\n\v\f"

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
	if (length >= sizeof(name)) {
		fail(reader, reader->line, -EINVAL,
		     "the name of a section is longer than %zu bytes", sizeof(name) - 1);
		return;
	}
	if (line[1 + length] != ']' || !strchr(";#", rest[strspn(rest, WHITE)])) {
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

static void set_value(struct reader *reader, const char *key, const char *value)
{
	char error[1024] = "";
	int r;

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
}

/* Without the white space around it; the text is changed. */
static char *trim(char *text)
{
	size_t length;

	text += strspn(text, WHITE);
	length = strlen(text);
	while (length > 0 && strchr(WHITE, text[length - 1]))
		length--;
	text[length] = '\0';
	return text;
}

/* Ends the text where a comment begins: at a ';' after a blank. */
static void cut_comment(char *text)
{
	for (size_t i = 1; text[0] && text[i]; i++)
		if (text[i] == ';' && strchr(WHITE, text[i - 1]))
			text[i] = '\0';
}

static void take_setting(struct reader *reader, char *line)
{
	size_t length;

	cut_comment(line);
	length = strcspn(line, "=:");
	if (!line[length]) {
		fail(reader, reader->line, -EINVAL, "not a setting: \"key = value\" is expected");
		return;
	}
	line[length] = '\0';
	set_value(reader, trim(line), trim(line + length + 1));
}

static void take_line(struct reader *reader, char *line)
{
	line = trim(line);
	if (line[0] == '[')
		begin_section(reader, line);
	else if (line[0] && !strchr(";#", line[0]))
		take_setting(reader, line);
}

/* Returns whether there is a line, without its end. What it cannot be is told. */
static bool read_line(struct reader *reader, char line[LIMIT_CONFIG_LINE + 1])
{
	size_t n = 0;
	int c;

	reader->line++;
	while ((c = getc(reader->file)) != EOF && c != '\n' && reader->error_line == 0) {
		if (c == '\0')
			fail(reader, reader->line, -EINVAL, "a NUL byte");
		else if (n == LIMIT_CONFIG_LINE)
			fail(reader, reader->line, -EINVAL, "longer than %d bytes",
			     LIMIT_CONFIG_LINE);
		else
			line[n++] = (char)c;
	}
	line[n] = '\0';
	return reader->error_line == 0 && (n > 0 || c == '\n');
}

static int read_all(struct reader *reader)
{
	static const char mark[] = "\xef\xbb\xbf"; /* some editors begin UTF-8 with it */
	char line[LIMIT_CONFIG_LINE + 1];

	while (read_line(reader, line)) {
		bool marked = reader->line == 1 && strncmp(line, mark, strlen(mark)) == 0;

		take_line(reader, marked ? line + strlen(mark) : line);
		if (reader->error_line != 0)
			break;
	}
	if (ferror(reader->file))
		fail(reader, reader->line, -EIO, "cannot be read");
	end_section(reader);
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
