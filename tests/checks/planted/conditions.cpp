// g++ 12 loses the temporaries of a co_await in a condition. The check must find every line marked PLANTED, and no other.
#include <asio/awaitable.hpp>

#include <string>

namespace planted {

asio::awaitable<bool> yes();
asio::awaitable<int> number();
asio::awaitable<std::string> text();

inline asio::awaitable<int> conditions(bool c) {
  if (co_await yes()) co_return 1;                 // PLANTED condition
  if (c && co_await yes()) co_return 2;            // PLANTED condition
  if (!co_await yes()) co_return 3;                // PLANTED condition
  if (bool const b = co_await yes()) co_return b;  // PLANTED condition
  switch (co_await number()) {                     // PLANTED condition
    case 1: co_return 4;
  }
  while ((co_await text()).empty()) {              // PLANTED condition
  }
  do {                                             // PLANTED condition
  } while (co_await yes());
  for (; co_await yes();) {                        // PLANTED condition
  }
  co_return 0;
}

template <class Thing>
asio::awaitable<int> never_instantiated(Thing thing) {
  if (co_await thing.yes()) co_return 1;  // PLANTED condition
  while (!co_await thing.yes()) {         // PLANTED condition
  }
  co_return 0;
}

inline asio::awaitable<int> allowed(bool c) {
  bool const ok = co_await yes();
  if (ok) co_return 1;
  if (auto const n = co_await number(); n > 1) co_return n;
  for (int i = 0; i < 3; ++i) co_await yes();
  while (c) co_await yes();
  if (c) {
    co_await yes();
  } else {
    co_await number();
  }
  switch (int const n = co_await number(); n) {
    case 1: co_return 2;
  }
  for (char const letter : co_await text()) co_return letter;
  co_return 0;
}

}  // namespace planted
