#pragma once

// Which request is meant: matchers and their operators.
#include <mgw/route/matcher.hpp>
