/* A medium as the control socket shows it (daemon/control.h: MEDIUM). */
#pragma once

#include <json-c/json.h>

#include "daemon/medium.h"

/* passthrough: of the connection. Returns an object of the caller's, or NULL without memory. */
struct json_object *medium_to_json(const struct medium *medium, bool passthrough);

/*
 * A copy of text as valid UTF-8: each byte that is not part of a valid sequence becomes U+FFFD.
 * out must have room for 3 bytes a byte of text and a NUL. Pure.
 */
void text_to_utf8(const char *text, char *out);
