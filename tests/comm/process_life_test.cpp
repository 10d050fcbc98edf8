#include "comm/shm/process_life.hpp"

#include <csignal>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace moewe {
namespace {

/// A process that waits for signals.
class Child {
 public:
  Child() : process_(fork()) {
    if (process_ != 0) return;
    while (true) pause();
  }
  ~Child() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t get() const { return process_; }

  /// Returns once the signal has done what it does; the process stays in the table.
  void signal(int number, int until) const {
    kill(process_, number);
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(process_), &info, until | WNOWAIT);
  }

 private:
  pid_t process_;
};

TEST(ProcessLife, FollowsTheSignals) {
  const Child child;
  const std::uint64_t start = start_of_process(child.get());
  EXPECT_NE(start, 0U);
  EXPECT_EQ(life_of_process(child.get(), start), Vitality::runs);
  child.signal(SIGSTOP, WSTOPPED);
  EXPECT_EQ(life_of_process(child.get(), start), Vitality::stopped);
  child.signal(SIGCONT, WCONTINUED);
  EXPECT_EQ(life_of_process(child.get(), start), Vitality::runs);
  child.signal(SIGKILL, WEXITED);
  EXPECT_EQ(life_of_process(child.get(), start), Vitality::dead);
}

TEST(ProcessLife, IsOverOnceTheProcessIsGone) {
  pid_t process = 0;
  std::uint64_t start = 0;
  {
    const Child child;
    process = child.get();
    start = start_of_process(process);
  }
  EXPECT_EQ(life_of_process(process, start), Vitality::dead);
  EXPECT_EQ(start_of_process(process), 0U);
}

TEST(ProcessLife, IsNotThatOfALaterProcessOfTheSameNumber) {
  const std::uint64_t start = start_of_process(getpid());
  EXPECT_EQ(life_of_process(getpid(), start), Vitality::runs);
  EXPECT_EQ(life_of_process(getpid(), start + 1), Vitality::dead);
}

}  // namespace
}  // namespace moewe
