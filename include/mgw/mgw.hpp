#pragma once

// The whole toolkit. Programs that build often include the headers they need instead.
#include <mgw/body.hpp>
#include <mgw/cache.hpp>
#include <mgw/core.hpp>
#include <mgw/http.hpp>
#include <mgw/mender.hpp>
#include <mgw/net.hpp>
#include <mgw/proxy.hpp>
#include <mgw/route.hpp>
#include <mgw/upstream.hpp>
#include <mgw/version.hpp>
