// g++ 12 destroys some temporaries of a co_await expression twice. The check must find every line marked PLANTED, and no
// other.
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace planted {

struct aggregate {
  std::string host;
  int port = 0;
};
struct pair_like {
  std::string a, b;
};
asio::awaitable<int> connect(aggregate to);
asio::awaitable<int> send(std::vector<int> parts);
asio::awaitable<int> run(std::function<void()> f);
asio::awaitable<int> view(std::string_view text);
asio::awaitable<std::string> make();

inline asio::awaitable<int> temporaries(bool c, std::string name) {
  co_await connect({"host", 1});                              // PLANTED braces
  co_await connect(aggregate{.host = "host"});                // PLANTED braces
  co_await send({1, 2, 3});                                   // PLANTED braces
  pair_like const both{co_await make(), co_await make()};     // PLANTED braces
  co_await run([s = name] { (void)s; });                      // PLANTED lambda
  co_await run([name] { (void)name; });                       // PLANTED lambda
  co_await (c ? make() : make());                             // PLANTED choice
  std::string const t = c ? co_await make() : std::string();  // PLANTED choice
  co_return static_cast<int>(both.a.size() + t.size());
}

template <class Thing>
asio::awaitable<int> never_instantiated(Thing thing, bool c) {
  co_await thing.connect({"host", 1});        // PLANTED braces
  co_await thing.connect(Thing{"host"});      // PLANTED braces
  co_await thing.run([thing] { (void)thing; });  // PLANTED lambda
  co_await (c ? thing.a() : thing.b());       // PLANTED choice
  co_return 0;
}

inline void spawn(asio::io_context& io, std::string name) {
  asio::co_spawn(io, [name]() -> asio::awaitable<void> { co_await make(); }, asio::detached);  // PLANTED coroutine lambda
  asio::co_spawn(io, [&name]() -> asio::awaitable<void> {                                      // PLANTED coroutine lambda
    name = co_await make();
  }, asio::detached);
  asio::co_spawn(io, []() -> asio::awaitable<void> { co_await make(); }, asio::detached);
}

inline asio::awaitable<int> allowed(std::string name) {
  aggregate to{"host", 1};
  co_await connect(std::move(to));
  co_await connect(aggregate("host", 2));  // PLANTED braces
  auto const f = [name] { (void)name; };
  co_await run(f);
  co_await run([&name] { name.clear(); });
  co_await run([] {});
  std::vector<int> const parts(3, 1);
  co_await send(parts);
  co_await send(std::vector<int>(3, 1));
  co_await view(std::string_view(name));
  std::string const t = co_await make();
  co_return t.empty() ? 1 : 2;
}

}  // namespace planted
