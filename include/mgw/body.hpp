#pragma once

// Bodies on their way: sources, sinks, the pump between them.
#include <mgw/body/pump.hpp>
#include <mgw/body/sink.hpp>
#include <mgw/body/source.hpp>
