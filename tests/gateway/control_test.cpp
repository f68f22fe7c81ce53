#include "control/server.hpp"

#include "control/client.hpp"
#include "control/protocol.hpp"
#include "control/socket_path.hpp"

#include "gateway/support.hpp"
#include "verifier_support.hpp"

#include <support/blocking_socket.hpp>
#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <boost/json/object.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace gateway::control_test {
namespace {

using gateway::test::has;
using mgw::test::temporary_directory;
using std::chrono::milliseconds;

/// What one thread waits for until another one gives it.
class signal_flag {
public:
  void set() {
    std::lock_guard const lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [this] { return set_; });
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

/// A server in a directory of its own.
struct rig {
  temporary_directory directory;
  std::string path = (directory.path() / "control.sock").string();
  std::mutex mutex;
  std::vector<std::string> lines;  // logged
  control_server server;

  explicit rig(control_handler handler, control_options options = {})
      : server(
            std::move(handler),
            [this](mgw::log_level, std::string_view text) {
              std::lock_guard const lock(mutex);
              lines.emplace_back(text);
            },
            options) {
    server.listen(path);
  }
  bool idle() {
    return mgw::test::eventually([this] { return server.idle(); });
  }
  control_channel connect() const {
    auto socket = connect_control(control_address(path));
    REQUIRE(socket);
    return control_channel(std::move(*socket));
  }
  boost::json::object ask(cache_request const& r, int file = -1, step_function const& step = always) const {
    auto client = control_client::connect(path);
    REQUIRE(client);
    return client->ask(r, file, step);
  }
  static bool always(std::uint64_t, std::uint64_t, std::string_view) { return true; }
};

cache_request request(std::string command, std::vector<std::string> objects = {}) {
  cache_request r;
  r.command = std::move(command);
  r.objects = std::move(objects);
  return r;
}

boost::json::object echo(cache_request const& r, int, step_function const&) {
  boost::json::array objects;
  for (auto const& o : r.objects) objects.emplace_back(json_view(o));
  return {{"status", 0}, {"command", r.command}, {"objects", std::move(objects)}};
}

/// What comes back for these bytes, all of it.
std::string answered(rig const& r, std::string_view bytes) {
  auto channel = r.connect();
  CHECK_FALSE(channel.send(bytes, -1, milliseconds(10'000)));
  ::shutdown(channel.fd(), SHUT_WR);
  std::string out;
  for (auto line = channel.read_line(max_control_answer, milliseconds(30'000)); line;
       line = channel.read_line(max_control_answer, milliseconds(30'000)))
    out += *line + '\n';
  return out;
}
}  // namespace

TEST_CASE("control: a request and its answer, whatever is in them") {
  rig r(echo);
  std::vector<std::string> const objects{"release 2", "\"\\\n\x01", "ä", ""};
  auto const answer = r.ask(request("list", objects));
  CHECK(number_in(answer, "status") == 0);
  CHECK(text_in(answer, "command") == "list");
  auto const& back = answer.at("objects").as_array();
  REQUIRE(back.size() == objects.size());
  for (std::size_t i = 0; i != objects.size(); ++i) CHECK(back[i].as_string() == json_view(objects[i]));
  CHECK(r.idle());
}

TEST_CASE("control: the socket is the user's alone, and goes when the gateway drains") {
  rig r(echo);
  struct stat s{};
  REQUIRE(::stat(r.path.c_str(), &s) == 0);
  CHECK(S_ISSOCK(s.st_mode));
  CHECK((s.st_mode & 0777U) == 0600);
  CHECK(r.server.listening());
  r.server.drain();
  r.server.close();
  CHECK_FALSE(std::filesystem::exists(r.path));
  CHECK(connect_control(control_address(r.path)).error() == std::errc::no_such_file_or_directory);
  CHECK(r.lines.empty());
}

TEST_CASE("control: only the gateway's user and root are served") {
  CHECK(may_command(1000, 1000));
  CHECK(may_command(0, 1000));
  CHECK(may_command(0, 0));
  CHECK_FALSE(may_command(1000, 0));
  CHECK_FALSE(may_command(1001, 1000));
}

TEST_CASE("control: what a dead gateway left is replaced; a living one's, or a file, is not") {
  temporary_directory directory;
  std::string const path = (directory.path() / "control.sock").string();
  auto const address = control_address(path);
  {
    int const fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(::bind(fd, reinterpret_cast<sockaddr const*>(&address), sizeof address) == 0);
    ::close(fd);  // its name stays
    REQUIRE(std::filesystem::exists(path));
  }
  {
    auto first = named_socket::listen(path, address, 8);
    REQUIRE(first);
    CHECK(connect_control(address));
    auto const second = named_socket::listen(path, address, 8);
    CHECK(second.error() == std::errc::address_in_use);
    CHECK(connect_control(address));
  }
  CHECK_FALSE(std::filesystem::exists(path));
  {
    auto const busy = named_socket::listen(path, address, 0);
    REQUIRE(busy);
    auto const waiting = connect_control(address);
    REQUIRE(waiting);
    CHECK(connect_control(address).error() == std::errc::resource_unavailable_try_again);  // and does not wait
    CHECK(named_socket::listen(path, address, 8).error() == std::errc::address_in_use);
  }
  std::ofstream(path) << "precious";
  CHECK(named_socket::listen(path, address, 8).error() == std::errc::address_in_use);
  CHECK(std::filesystem::file_size(path) == 8);
  std::filesystem::remove(path);
  {
    auto mine = named_socket::listen(path, address, 8);
    REQUIRE(mine);
    std::filesystem::remove(path);
    std::ofstream(path) << "somebody else's";
  }
  CHECK(std::filesystem::exists(path));
}

TEST_CASE("control: a path that no socket can have is an error, a directory that is not there a line in the log") {
  CHECK_NOTHROW(control_address(std::string(sizeof(sockaddr_un::sun_path) - 1, 'x')));
  CHECK_THROWS_AS(control_address(std::string(sizeof(sockaddr_un::sun_path), 'x')), config_error);
  temporary_directory directory;
  std::vector<std::string> lines;
  control_server server(echo, [&](mgw::log_level, std::string_view text) { lines.emplace_back(text); });
  CHECK_THROWS_AS(server.listen(std::string(200, 'x')), config_error);
  server.listen((directory.path() / "missing" / "control.sock").string());
  CHECK_FALSE(server.listening());
  CHECK(server.idle());
  REQUIRE(lines.size() == 1);
  CHECK(has(lines[0], "no commands will be taken"));
}

TEST_CASE("control: what is no request is refused with a sentence") {
  std::atomic<int> calls{0};
  rig r([&](cache_request const& q, int file, step_function const& step) {
    ++calls;
    return echo(q, file, step);
  });
  struct {
    std::string sent;
    std::string_view said;
  } const table[] = {
      {"\n", "is no JSON object"},
      {"list\n", "is no JSON object"},
      {"[1]\n", "is no JSON object"},
      {"{\"mgw\":1,\"command\":\"li\xff\"}\n", "is no JSON object"},
      {std::string(60'000, '[') + "\n", "is no JSON object"},
      {"{\"command\":\"list\"}\n", "speaks version 1"},
      {"{\"mgw\":2,\"command\":\"list\"}\n", "speaks version 1"},
      {"{\"mgw\":1,\"command\":\"list\",\"objects\":\"a\"}\n", "objects"},
      {"{\"mgw\":1,\"command\":\"list\",\"objects\":[1]}\n", "objects"},
      {"{\"mgw\":1,\"command\":\"import\"}\n", "no descriptor came"},
      {"{\"mgw\":1,\"command\":\"export\",\"objects\":[\"a\"]}\n", "no descriptor came"},
      {std::string(max_control_request, ' ') + "\n", "at most 65536 bytes"},
      {std::string(max_control_request, ' '), "at most 65536 bytes"},
  };
  for (auto const& [sent, said] : table) {
    CAPTURE(sent.substr(0, 100));
    std::string const answer = answered(r, sent);
    CHECK(has(answer, "{\"mgw\":1,\"status\":2,\"error\":\""));
    CHECK(has(answer, said));
  }
  std::string many = "{\"mgw\":1,\"command\":\"verify\",\"objects\":[";
  for (std::size_t i = 0; i != max_control_objects; ++i) many += "\"a\",";
  CHECK(has(answered(r, many + "\"a\"]}\n"), "objects: at most 1000"));
  CHECK(calls == 0);
  many.back() = ']';
  (void)answered(r, many + "}\n");
  CHECK(calls == 1);
  // The longest that there may be, and nobody who says nothing gets an answer.
  CHECK(has(answered(r, "{\"mgw\":1,\"command\":\"list\"}" + std::string(max_control_request - 27, ' ') + "\n"),
            "\"accepted\":true"));
  CHECK(answered(r, "").empty());
  CHECK(answered(r, "{\"mgw\":1").empty());
}

TEST_CASE("control: what changes something is logged with what came of it") {
  boost::json::object const done{{"status", 0}};
  CHECK(log_text(request("list"), done).empty());
  CHECK(log_text(request("stats"), failure("no")).empty());
  CHECK(log_text(request("remove", {"a", "b"}), done) == "command remove a b: done");
  CHECK(log_text(request("remove", {"a"}), failure("there is none")) == "command remove a: there is none");
  CHECK(log_text(request("verify"), {{"status", exit_status::bad}}) == "command verify: damage found");
  auto import = request("import");
  import.file = "a.mender";
  CHECK(log_text(import, done) == "command import a.mender: done");
  CHECK(log_text(request("pin", std::vector<std::string>(1000, "release")), done).size() < 400);
}

TEST_CASE("control: a handler that throws is a failure of its command") {
  rig r([](cache_request const&, int, step_function const&) -> boost::json::object {
    throw std::runtime_error("it broke");
  });
  auto const answer = r.ask(request("list"));
  CHECK(number_in(answer, "status") == exit_status::undone);
  CHECK(text_in(answer, "error") == "it broke");
}

TEST_CASE("control: the file comes as a descriptor, all others are closed") {
  std::string content;
  rig r([&](cache_request const&, int file, step_function const&) -> boost::json::object {
    char block[100];
    ssize_t const n = ::pread(file, block, sizeof block, 0);
    content.assign(block, static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    return {{"status", 0}, {"number", file}};
  });
  std::string const name = (r.directory.path() / "file").string();
  std::ofstream(name) << "hello";
  int const fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
  auto const before = open_descriptors();
  auto const answer = r.ask(request("import"), fd);
  CHECK(number_in(answer, "status") == 0);
  CHECK(content == "hello");
  CHECK(number_in(answer, "number") != fd);
  CHECK(number_in(r.ask(request("list"), fd), "number") == -1);  // it takes none
  CHECK(r.idle());
  CHECK(open_descriptors() == before);

  // Several at once, in the way that send() does not.
  auto channel = r.connect();
  std::string const line = write_request(request("import"));
  iovec part{const_cast<char*>(line.data()), line.size()};
  alignas(cmsghdr) char room[CMSG_SPACE(3 * sizeof(int))] = {};
  msghdr m{};
  m.msg_iov = &part;
  m.msg_iovlen = 1;
  m.msg_control = room;
  m.msg_controllen = sizeof room;
  cmsghdr* const c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(3 * sizeof(int));
  int const three[] = {fd, fd, fd};
  std::memcpy(CMSG_DATA(c), three, sizeof three);
  REQUIRE(::sendmsg(channel.fd(), &m, 0) == static_cast<ssize_t>(line.size()));
  CHECK(channel.read_line(1000, milliseconds(30'000)));
  CHECK(has(*channel.read_line(1000, milliseconds(30'000)), "\"status\":0"));
  CHECK(r.idle());
  CHECK(open_descriptors() == before + 1);  // the channel
  ::close(fd);
}

TEST_CASE("control: a descriptor that a thread would have to wait for is refused") {
  temporary_directory directory;
  std::string const name = (directory.path() / "file").string();
  std::ofstream(name) << "hello";
  int pipe[2];
  REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
  int const in = ::open(name.c_str(), O_RDONLY | O_CLOEXEC), out = ::open(name.c_str(), O_WRONLY | O_CLOEXEC);
  int const folder = ::open(directory.path().c_str(), O_RDONLY | O_CLOEXEC),
            nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  int const path = ::open(name.c_str(), O_PATH | O_CLOEXEC);
  CHECK(unfit_file("import", in).empty());
  CHECK(unfit_file("export", out).empty());
  CHECK(has(unfit_file("import", out), "for reading"));
  CHECK(has(unfit_file("export", in), "for writing"));
  CHECK(has(unfit_file("import", folder), "is not a file"));
  CHECK(has(unfit_file("import", nothing), "is not a file"));
  CHECK(has(unfit_file("export", nothing), "neither a file nor a pipe"));
  CHECK(has(unfit_file("import", pipe[0]), "is not a file"));
  CHECK(has(unfit_file("export", pipe[1]), "neither a file nor a pipe"));
  CHECK_FALSE(unfit_file("import", path).empty());
  CHECK_FALSE(unfit_file("import", -1).empty());
  CHECK(::fcntl(pipe[1], F_SETFL, O_NONBLOCK) == 0);
  CHECK(unfit_file("export", pipe[1]).empty());
  for (int const fd : {pipe[0], pipe[1], in, out, folder, nothing, path}) ::close(fd);
}

TEST_CASE("control: progress is told, and a client that goes away ends what it asked for") {
  signal_flag begun, ended;
  rig r([&](cache_request const& q, int, step_function const& step) -> boost::json::object {
    if (q.command == "verify") {
      for (std::uint64_t i = 0; i != 5; ++i) CHECK(step(i, 5, "release-2"));
      return {{"status", 0}};
    }
    begun.set();
    while (step(1, 2, "x")) std::this_thread::yield();
    ended.set();
    return failure("ended");
  });
  std::vector<std::string> seen;
  auto const answer =
      r.ask(request("verify"), -1, [&](std::uint64_t done, std::uint64_t total, std::string_view object) {
        seen.push_back(std::to_string(done) + '/' + std::to_string(total) + ' ' + std::string(object));
        return true;
      });
  CHECK(number_in(answer, "status") == 0);
  REQUIRE(!seen.empty());
  CHECK(seen[0] == "0/5 release-2");

  SUBCASE("it closes") {
    auto channel = r.connect();
    REQUIRE_FALSE(channel.send(write_request(request("list")), -1, milliseconds(10'000)));
    CHECK(begun.wait());
  }
  SUBCASE("it says more") {
    auto channel = r.connect();
    REQUIRE_FALSE(channel.send(write_request(request("list")), -1, milliseconds(10'000)));
    CHECK(begun.wait());
    REQUIRE_FALSE(channel.send("x", -1, milliseconds(10'000)));
    CHECK(ended.wait());
  }
  SUBCASE("it does not want to know") {
    auto const given_up =
        r.ask(request("list"), -1, [](std::uint64_t, std::uint64_t, std::string_view) { return false; });
    CHECK(text_in(given_up, "error") == "interrupted");
  }
  CHECK(ended.wait());
  CHECK(r.idle());
}

TEST_CASE("control: so many commands at once, one more is told to come back") {
  control_options options;
  options.max_connections = 2;
  signal_flag go;
  std::atomic<int> running{0};
  rig r(
      [&](cache_request const& q, int file, step_function const& step) {
        ++running;
        CHECK(go.wait());
        return echo(q, file, step);
      },
      options);
  std::vector<std::thread> both;
  std::atomic<int> good{0};
  for (int i = 0; i != 2; ++i)
    both.emplace_back([&] {
      auto client = control_client::connect(r.path);
      if (client && number_in(client->ask(request("list"), -1, rig::always), "status") == 0) ++good;
    });
  CHECK(mgw::test::eventually([&] { return running == 2; }));
  CHECK(has(text_in(r.ask(request("list")), "error"), "too many commands at once"));
  go.set();
  for (auto& t : both) t.join();
  CHECK(good == 2);
  CHECK(r.idle());
  CHECK(number_in(r.ask(request("list")), "status") == 0);
}

TEST_CASE("control: a client that sends no request is let go") {
  control_options options;
  options.request_time = milliseconds(30);
  rig r(echo, options);
  auto channel = r.connect();
  CHECK_FALSE(channel.send("{", -1, milliseconds(10'000)));
  auto const said = channel.read_line(1000, milliseconds(30'000));
  REQUIRE(said);
  CHECK(has(*said, "did not come in time"));
  CHECK(r.idle());
}

TEST_CASE("control: a stop ends what is under way, draining lets it finish") {
  signal_flag begun, go;
  std::atomic<bool> was_ended{false};
  rig r([&](cache_request const& q, int file, step_function const& step) {
    begun.set();
    if (q.command == "export") CHECK(go.wait());
    while (q.command != "export" && step(1, 2, {})) std::this_thread::yield();
    was_ended = !step(1, 2, {});
    return echo(q, file, step);
  });
  auto channel = r.connect();
  SUBCASE("drained") {
    int const fd = ::open((r.directory.path() / "out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE_FALSE(channel.send(write_request(request("export", {"a"})), fd, milliseconds(10'000)));
    ::close(fd);
    CHECK(begun.wait());
    r.server.drain();
    CHECK_FALSE(r.server.idle());
    go.set();
    CHECK(channel.read_line(1000, milliseconds(30'000)));
    auto line = channel.read_line(1000, milliseconds(30'000));
    if (line && has(*line, "progress")) line = channel.read_line(1000, milliseconds(30'000));
    REQUIRE(line);
    CHECK(has(*line, "\"status\":0"));
    CHECK_FALSE(was_ended);
  }
  SUBCASE("stopped") {
    REQUIRE_FALSE(channel.send(write_request(request("list")), -1, milliseconds(10'000)));
    CHECK(begun.wait());
    CHECK(r.server.close_for(std::chrono::seconds(30)));
    CHECK(was_ended);
  }
  SUBCASE("hanging") {
    int const fd = ::open((r.directory.path() / "out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE_FALSE(channel.send(write_request(request("export", {"a"})), fd, milliseconds(10'000)));
    ::close(fd);
    CHECK(begun.wait());
    CHECK_FALSE(r.server.close_for(milliseconds(20)));
    go.set();
    CHECK(r.server.close_for(std::chrono::seconds(30)));
  }
  r.server.close();
}

TEST_CASE("control: a gateway that is gone, or says nonsense, is told of in a sentence") {
  temporary_directory directory;
  std::string const path = (directory.path() / "control.sock").string();
  CHECK(control_client::connect(path).error() == std::errc::no_such_file_or_directory);
  auto listener = named_socket::listen(path, control_address(path), 8);
  REQUIRE(listener);
  {
    auto client = control_client::connect(path, milliseconds(20));
    REQUIRE(client);
    CHECK(has(text_in(client->ask(request("list"), -1, rig::always), "error"),
              "the gateway, process " + std::to_string(::getpid()) + ", does not answer at " + path));
    ::close(::accept4(listener->fd(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  for (std::string const said : {"", "nonsense\n", "{\"mgw\":1,\"accepted\":true}\n", "{\"mgw\":1"}) {
    CAPTURE(said);
    auto client = control_client::connect(path);
    REQUIRE(client);
    int const fd = ::accept4(listener->fd(), nullptr, nullptr, SOCK_CLOEXEC);
    REQUIRE(fd >= 0);
    CHECK(::send(fd, said.data(), said.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(said.size()));
    ::close(fd);
    CHECK(has(text_in(client->ask(request("list"), -1, rig::always), "error"), "broke off"));
  }
}

TEST_CASE("control: lines come whole, whatever pieces they are sent in") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  control_channel to(std::make_unique<mgw::cache::file const>(ends[0])),
      from(std::make_unique<mgw::cache::file const>(ends[1]));
  std::string const long_line(300'000, 'x');
  std::thread sender([&] {
    for (std::string const piece : {"a", "b\nc\n\nd", "\n"}) (void)to.send(piece, -1, milliseconds(10'000));
    (void)to.send(long_line + "\n", -1, milliseconds(30'000));
  });
  for (std::string const& wanted : {std::string("ab"), std::string("c"), std::string(), std::string("d"), long_line}) {
    auto const line = from.read_line(std::size_t{1} << 20, milliseconds(30'000));
    REQUIRE(line);
    CHECK((*line == wanted));
  }
  sender.join();
  CHECK(from.read_line(10, milliseconds(1)).error() == std::errc::timed_out);
  CHECK_FALSE(to.send("123456789\n123456789x\n", -1, milliseconds(10'000)));
  CHECK(*from.read_line(10, milliseconds(10'000)) == "123456789");
  CHECK(from.read_line(10, milliseconds(10'000)).error() == std::errc::message_size);
}

}  // namespace gateway::control_test
