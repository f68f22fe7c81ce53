#pragma once

// Objects that were fetched once: keys, stores, fills, single flight.
#include <mgw/cache/crc32c.hpp>
#include <mgw/cache/disk_core.hpp>
#include <mgw/cache/disk_index.hpp>
#include <mgw/cache/disk_layout.hpp>
#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/fill.hpp>
#include <mgw/cache/generation.hpp>
#include <mgw/cache/growth.hpp>
#include <mgw/cache/journal.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/ledger.hpp>
#include <mgw/cache/ledger_file.hpp>
#include <mgw/cache/link_id.hpp>
#include <mgw/cache/memory_part.hpp>
#include <mgw/cache/memory_store.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/cache/part.hpp>
#include <mgw/cache/read_at.hpp>
#include <mgw/cache/sha256.hpp>
#include <mgw/cache/single_flight.hpp>
#include <mgw/cache/store.hpp>
