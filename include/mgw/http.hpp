#pragma once

// HTTP/1.1 without I/O: heads, framing, bodies, ranges, targets, URIs.
#include <mgw/http/body_decoder.hpp>
#include <mgw/http/chars.hpp>
#include <mgw/http/chunked.hpp>
#include <mgw/http/date.hpp>
#include <mgw/http/error.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/head_lines.hpp>
#include <mgw/http/head_reader.hpp>
#include <mgw/http/hop_by_hop.hpp>
#include <mgw/http/limits.hpp>
#include <mgw/http/range.hpp>
#include <mgw/http/request_parser.hpp>
#include <mgw/http/response_parser.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/http/target.hpp>
#include <mgw/http/uri.hpp>
