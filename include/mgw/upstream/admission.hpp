#pragma once

#include <mgw/upstream/address_rules.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/resolver.hpp>

#include <asio/awaitable.hpp>

#include <memory>
#include <system_error>
#include <utility>

namespace mgw::upstream {

/// Leaves of the addresses that were found for `where` those that the rules allow: only they may be connected to.
///
/// Where private ones pass for their home's sake, `where` is widened: such a connection is not for those who come when
/// the home is elsewhere. Errors: error::private_address and error::loop where none is left; those of looking the home
/// up, if it hangs on that. Precondition: at least one address. Thread rule: the resolver's.
inline asio::awaitable<std::error_code> admit(address_rules const& rules, resolver& names, endpoint& where,
                                              resolver::answer& found, give_up* giver = nullptr) {
  std::error_code home_unknown;
  if (where.within == reach::outside && !rules.home.host.empty() && rules.any_private(*found.addresses)) {
    resolver::answer const home = co_await names.resolve(rules.home.host, rules.home.port, giver);
    home_unknown = home.ec;
    if (!home.ec && rules.all_private(*home.addresses)) where.within = reach::elsewhere;
  }
  auto allowed = std::make_shared<resolver::list>();
  bool ours = true;
  for (auto const& a : *found.addresses) {
    if (rules.allows(where.within, a)) allowed->push_back(a);
    ours = ours && !rules.allows(reach::elsewhere, a);
  }
  if (!allowed->empty()) {
    found.addresses = std::move(allowed);
    co_return std::error_code();
  }
  if (ours) co_return make_error_code(error::loop);
  if (home_unknown) co_return home_unknown;
  if (rules.refused) rules.refused(where, found.addresses->front().address());
  co_return make_error_code(error::private_address);
}

}  // namespace mgw::upstream
