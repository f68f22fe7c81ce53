#pragma once

// What everything else stands on: result, stream concept, lent buffers, units, the log seam.
#include <mgw/core/any_stream.hpp>
#include <mgw/core/blocking_pool.hpp>
#include <mgw/core/buffers.hpp>
#include <mgw/core/concepts.hpp>
#include <mgw/core/hang_watch.hpp>
#include <mgw/core/lent_buffer.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/progress.hpp>
#include <mgw/core/recent.hpp>
#include <mgw/core/result.hpp>
#include <mgw/core/ring.hpp>
#include <mgw/core/seldom.hpp>
#include <mgw/core/seldom_each.hpp>
#include <mgw/core/units.hpp>
#include <mgw/core/wake_up.hpp>
#include <mgw/core/wall_clock.hpp>
