// The verifier's child as the tests start it: the gateway's own, or one that misbehaves, by the name it is started
// under. A program of its own, so that nothing of this is in the gateway.
#include "verifier/child.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>
#include <string>
#include <string_view>

namespace {

/// Shuts itself in and tries one thing. Exit status 0: it was done, 1: it failed, 2: no sandbox.
int try_in_sandbox(std::string_view what) {
  gateway::sandbox_limits const limits{std::size_t{64} << 20U, std::chrono::seconds(20)};
  if (auto const why = gateway::enter_sandbox(limits); !why.empty()) {
    std::fprintf(stderr, "%s\n", why.c_str());
    return 2;
  }
  std::string const text(100, 'x');
  auto const did = [](long rc) { return rc == -1 ? 1 : 0; };
  if (what == "write") return did(::write(1, "x", 1));
  if (what == "memory below the limit") return did(std::malloc(std::size_t{60} << 20U) == nullptr ? -1 : 0);
  if (what == "memory above the limit") return did(std::malloc(std::size_t{65} << 20U) == nullptr ? -1 : 0);
  if (what == "clock") return did(std::chrono::system_clock::now().time_since_epoch().count() == 0 ? -1 : 0);
  if (what == "open") return did(::open("/dev/null", O_RDONLY));
  if (what == "openat") return did(::syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY));
  if (what == "socket") return did(::socket(AF_UNIX, SOCK_STREAM, 0));
  if (what == "execve") return did(::execl("/bin/true", "true", nullptr));
  if (what == "fork") return did(::fork());
  if (what == "kill") return did(::kill(::getppid(), 0));
  if (what == "ptrace") return did(::syscall(SYS_ptrace, 0, 0, 0, 0));
  if (what == "dup") return did(::dup(1));
  if (what == "read 1") return did(::read(1, nullptr, 0));
  if (what == "write 2") return did(::write(2, "x", 1));
  if (what == "ioctl") return did(::syscall(SYS_ioctl, 0, 0x5412, "x"));  // TIOCSTI
  if (what == "prlimit") return did(::syscall(SYS_prlimit64, 0, RLIMIT_CPU, nullptr, nullptr));
  if (what == "prctl") return did(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
  if (what == "sendto") return did(::send(1, "x", 1, 0));
  if (what == "executable memory") {
    void* const p = ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return did(p == MAP_FAILED ? -1 : 0);
  }
  if (what == "made executable") {
    void* const p = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return 2;
    return did(::mprotect(p, 4096, PROT_READ | PROT_EXEC));
  }
  if (what == "another's signal") return did(::syscall(SYS_tgkill, ::getpid() + 1, ::getpid() + 1, SIGABRT));
  if (what == "abort") std::abort();
  return 3;
}

/// A child that takes its input and then does what an artifact must never make one do.
[[noreturn]] void misbehave(std::string_view how, char const* cpu) {
  using gateway::detail::say;
  std::signal(SIGSEGV, SIG_DFL);  // a sanitizer has a handler
  (void)gateway::detail::limit(RLIMIT_CPU, std::strtoull(cpu, nullptr, 10), false);
  if (how == "status 7 before") ::_exit(7);
  if (how == "crash before") std::raise(SIGSEGV);
  if (how == "hangs before")
    for (;;) ::pause();
  if (how == "unable") say("unable to speak of it\x1b[31m\n");
  say("ready\n");
  if (how == "status 7") ::_exit(7);
  if (how == "crash") std::raise(SIGSEGV);
  if (how == "forbidden call") std::raise(SIGSYS);
  if (how == "killed") std::raise(SIGKILL);
  if (how == "good too early") say("good\n");
  if (how == "nonsense") say("hello\n");
  if (how == "no line")
    for (int i = 0; i != 20000; ++i) say("xxxxxxxxxxxxxxxxxxxx");
  if (how == "label without a head") say("about artifact-name 61\n");
  if (how == "label of another name") say("head\nabout imported 31\n");
  if (how == "label twice") say("head\nabout artifact-name 61\nabout artifact-name 62\n");
  if (how == "label in words") say("head\nabout artifact-name name\n");
  if (how == "control characters") say("bad \x1b[31m\xc3\xa4\n");
  if (how == "computes")
    for (bool const volatile forever = true; forever;) {
    }
  if (how == "environment") say(std::getenv("MGW_TEST_SECRET") == nullptr ? "unable it is clean\n" : "bad it is not\n");
  if (how == "hangs")
    for (;;) ::pause();
  static char bytes[32768];
  for (ssize_t n = 0; (n = ::read(0, bytes, sizeof bytes)) > 0;) {
    if (how != "computes now and then") continue;
    auto const end = std::clock() + n * 4 * (CLOCKS_PER_SEC / 1'000'000);
    while (std::clock() < end) {
    }
  }
  if (how == "computes now and then") say(std::clock() > 2 * CLOCKS_PER_SEC ? "head\ngood\n" : "bad arithmetic\n");
  ::_exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--try") == 0) ::_exit(try_in_sandbox(argv[2]));
  std::string_view const name = argv[0];
  std::string_view const misbehaving = "/misbehaving: ";
  if (auto const at = name.find(misbehaving); at != std::string_view::npos)
    misbehave(name.substr(at + misbehaving.size()), argc > 3 ? argv[3] : "");
  if (gateway::is_verifier_child(argc, argv)) return gateway::run_verifier_child(argc, argv);
  return 2;
}
