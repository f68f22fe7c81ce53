#include <cache/own_store.hpp>

#include <cache/store_conformance.hpp>

// The store that docs/concepts/cache_store.md shows is one.
TEST_CASE_TEMPLATE_INVOKE(cache_store_conformance, mgw::test::own_rig);
